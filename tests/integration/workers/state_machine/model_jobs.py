"""The model of jobs: what the scripts of workers/io/scripts/jobs and requests must do and answer, in plain Python.

Counts, quotas and what waits are not stored but counted from the images each time, so they cannot be wrong here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

LANES = ("interactive", "bulk")
ACTIVE = {"queued", "running"}
OPEN = ACTIVE | {"canceling"}
AHEAD = 10**12  # ms by which a duty that somebody waits for is due before other duties


def name_of(index: int) -> str:
    """Return the name that the rules give to an image of a job."""
    return f"{index}.jpg"


@dataclass
class Item:
    """One image of a job."""

    state: str = "queued"
    attempt: int = 0
    starts: int = 0
    result: str | None = None


@dataclass
class JobModel:
    """A job with its images."""

    document: dict[str, Any]
    items: list[Item]
    state: str = "queued"
    fed: int = 0
    ending: str = ""
    retried_as: str = ""
    given_up: int = 0
    versions: set[int] = field(default_factory=set)
    sealed: set[int] = field(default_factory=set)

    def count(self, state: str) -> int:
        return sum(item.state == state for item in self.items)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter({state: count for state in ("succeeded", "failed", "canceled") if (count := self.count(state))})

    @property
    def unfinished(self) -> int:
        return self.count("queued") + self.count("running")


@dataclass
class Entry:
    """One entry of a lane. `consumer` claimed it, '' if nobody did, and gave no sign of life for `idle` ms."""

    stream: str
    job: str
    index: int
    attempt: int
    faults: int
    name: str
    ref: str
    custom_id: str
    consumer: str = ""
    idle: int = 0
    entry: str = ""  # the id that Redis gave to it, known from the first claim on


class JobsModel:
    """Jobs, duties and idempotency keys. `run` takes and returns what RedisLink.run does. Times are in ms."""

    def __init__(self, segment: int) -> None:
        self.segment = segment
        self.now, self.uptime = 0, 1 << 40
        self.jobs: dict[str, JobModel] = {}
        self.lanes: dict[str, list[Entry]] = {}
        self.due: dict[str, int] = {}
        self.gone: dict[str, str] = {}
        self.outcomes_before: Counter[str] = Counter()  # of the jobs that are gone
        self.keys: dict[str, dict[str, str]] = {}

    def run(self, name: str, *args: object) -> Any:
        method: Callable[..., Any] = getattr(self, name.rpartition("/")[2])
        return method(*map(str, args))

    def age(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now += milliseconds
        self.uptime += milliseconds
        for lane in self.lanes.values():
            for entry in lane:
                entry.idle += milliseconds

    # What is counted

    def open(self) -> Counter[str]:
        """Return what `sl:open` must hold."""
        counts: Counter[str] = Counter()
        for job in self.jobs.values():
            document = job.document
            owner, left = document["owner"], job.unfinished
            counts["images"] += left
            counts[f"lane:{document['model']}:{document['lane']}"] += left
            counts["bytes"] += int(document["bytes"])
            if owner:
                counts[f"images:{owner}"] += left
                counts[f"bytes:{owner}"] += int(document["bytes"])
        return +counts

    def outcomes(self) -> Counter[str]:
        """Return how many images got which result, with those of deleted jobs."""
        return sum((job.outcomes for job in self.jobs.values()), self.outcomes_before)

    def waiting(self, job: str) -> int:
        """Count the entries of a job that nobody has claimed."""
        return sum(entry.job == job and not entry.consumer for lane in self.lanes.values() for entry in lane)

    def finished_prefix(self, job: str) -> list[str]:
        lines: list[str] = []
        for item in self.jobs[job].items:
            if item.result is None:
                break
            lines.append(item.result)
        return lines

    # Jobs

    def create(self, text: str, *flat: str) -> list[str]:
        new = json.loads(text)
        answer = self._existing(new) or self._refused(new)
        if answer:
            return answer
        key = new["id"]
        self.jobs[key] = JobModel(new, [Item() for _ in range(int(new["total"]))])
        if new["source"]:
            self.jobs[key].state = "enumerating"
            self.add_due(f"enumerate:{key}", self.now - AHEAD)
        for draft in _drafts(new):
            del self.due[draft]
        self.add_due(f"expire:{key}", self.now + int(new["deadline_ms"]))
        if new["retry_of"]:
            self.jobs[new["retry_of"]].retried_as = key
        if new["reservation"]:
            self.keys[new["reservation"]] = {"job": key, "fingerprint": new["fingerprint"]}
        self._feed(key, flat)
        return ["ok", key]

    def images_listed(self, text: str, *flat: str) -> list[str]:
        new = json.loads(text)
        key, duty, lease = new["id"], new["duty"], int(new["lease"])
        job = self.jobs.get(key)
        if job is None or job.state != "enumerating":
            if job is None:
                self.need_again(f"purge:jobs/{key}")
            self.drop_duty(duty, lease)
            return ["over"]
        if full := self._full(new["quotas"]):
            return full
        job.state, job.items = "queued", [Item() for _ in range(int(new["total"]))]
        job.document["lane"] = new["lane"]
        self._feed(key, flat)
        self.drop_duty(duty, lease)
        return ["ok"]

    def listing_failed(self, duty: str, lease: str, key: str, _why: str) -> None:
        job = self.jobs.get(key)
        if job and job.state == "enumerating":
            self._end_unlisted(key, "failed")
        self.drop_duty(duty, int(lease))

    def _end_unlisted(self, key: str, ending: str) -> None:
        job = self.jobs[key]
        job.state, job.ending = "finishing", ending
        self.due.pop(f"expire:{key}", None)
        self.add_due(f"finish:{key}", self.now - AHEAD)

    def _existing(self, new: dict[str, Any]) -> list[str] | None:
        """Return the answer for a job that exists already, or was retried already."""
        if new["id"] in self.jobs:
            return ["ok", new["id"]]
        parent = self.jobs.get(new["retry_of"])
        return ["ok", parent.retried_as] if parent and parent.retried_as else None

    def _refused(self, new: dict[str, Any]) -> list[str] | None:
        if new["retry_of"] and new["retry_of"] not in self.jobs:
            return ["parent_gone"]
        if new["reservation"] and self.keys.get(new["reservation"], {}).get("token") != new["token"]:
            return ["not_reserved"]
        if full := self._full(new["quotas"]):
            return full
        drafts = _drafts(new)
        if drafts <= self.due.keys():
            return None
        for draft in drafts:
            self.due.pop(draft, None)
            self.need_again(draft.replace("draft:", "purge:"))
        return ["upload_gone"]

    def _full(self, quotas: list[list[str]]) -> list[str] | None:
        used = self.open()
        for field_name, more, limit in quotas:
            if used[field_name] + int(more) > int(limit):
                return ["full", field_name, str(used[field_name]), more, limit]
        return None

    def draft(self, quotas: str, milliseconds: str, *paths: str) -> list[str]:
        if full := self._full(json.loads(quotas)):
            return full
        self.due.update({f"draft:{path}": self.now + int(milliseconds) for path in paths})
        return ["ok"]

    def forget_draft(self, *paths: str) -> None:
        for path in paths:
            self.due.pop(f"draft:{path}", None)

    def _feed(self, key: str, flat: Sequence[str]) -> None:
        job = self.jobs[key]
        stream = f"sl:lane:{job.document['model']}:{job.document['lane']}"
        lane = self.lanes.setdefault(stream, [])
        for name, ref, custom_id in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            lane.append(Entry(stream, key, job.fed, 0, 0, name, ref, custom_id))
            job.fed += 1

    def cancel(self, key: str, ending: str) -> str | None:
        job = self.jobs.get(key)
        if job is None:
            return None
        if job.state in ACTIVE:
            self._give_up_rest(key, ending)
        elif job.state == "enumerating":
            self._end_unlisted(key, ending)
        return job.state

    def _give_up_rest(self, key: str, ending: str) -> bool:
        job = self.jobs[key]
        job.state, job.ending = "canceling", ending
        for item in job.items:
            if item.state == "queued":
                self._give_up_item(job, item)
        return self._finish_if_done(key)

    def delete(self, key: str, _remembered: str, which: str) -> str | None:
        job = self.jobs.get(key)
        if job is None:
            return None
        if which == "over" and job.state in OPEN | {"finishing", "enumerating"}:
            return job.state
        self.outcomes_before += job.outcomes
        del self.jobs[key]
        self.gone[key] = job.state
        for duty in (f"topup:{key}", f"finish:{key}", f"expire:{key}", f"retire:{key}"):
            self.due.pop(duty, None)
        self.need_again(f"purge:jobs/{key}")
        if job.document["upload"]:
            self.need_again(f"purge:uploads/{job.document['upload']}")
        return job.state

    @staticmethod
    def _give_up_item(job: JobModel, item: Item) -> None:
        item.state = "failed" if job.ending == "expired" else "canceled"
        job.given_up += 1

    def _give_up(self, entry: Entry) -> None:
        job = self.jobs[entry.job]
        item = job.items[entry.index]
        item.attempt += 1
        self._give_up_item(job, item)
        self._finish_if_done(entry.job)

    def _finish_if_done(self, key: str, retention: str = "") -> bool:
        """End the job if no image is left. Return whether a duty became due: it is not if nothing must be written."""
        job = self.jobs[key]
        if job.state not in OPEN or job.unfinished:
            return False
        job.state = "finishing"
        self.due.pop(f"expire:{key}", None)
        self.due.pop(f"topup:{key}", None)
        if (
            retention
            and len(job.items) <= self.segment
            and not job.given_up
            and "output" not in job.document.get("rules", [])[::2]
        ):
            self._end(key, retention)
            return False
        self.add_due(f"finish:{key}", self.now - AHEAD)
        return True

    def _end(self, key: str, retention: str) -> None:
        job = self.jobs[key]
        states = {item.state for item in job.items}
        job.state = job.ending if job.given_up or not states else states.pop() if len(states) == 1 else "partial"
        self.add_due(f"retire:{key}", self.now + int(retention))

    # What is due

    def add_due(self, duty: str, at: int) -> bool:
        """Add a duty unless it is there; return whether it is new."""
        new = duty not in self.due
        self.due.setdefault(duty, at)
        return new

    def need_again(self, duty: str) -> None:
        """Make a duty due again, even while it is being done: its record must then not be removed."""
        self.due[duty] = self.now

    def drop_duty(self, duty: str, lease: int) -> None:
        """Remove the record of a duty, unless the duty was made due again."""
        if self.due.get(duty) == lease:
            del self.due[duty]

    # Idempotency keys

    def reserve(self, key: str, token: str, _lease: str) -> list[str]:
        stored = self.keys.setdefault(key, {"token": token})
        if "job" in stored:
            return ["done", stored["job"], stored["fingerprint"]]
        return ["reserved"] if stored["token"] == token else ["in_flight"]

    def release(self, key: str, token: str) -> None:
        if self.keys.get(key, {}).get("token") == token:
            del self.keys[key]


def _drafts(new: dict[str, Any]) -> set[str]:
    """Return the duties that would delete the blobs from which a job is about to be created."""
    return {f"draft:jobs/{new['id']}"} | ({f"draft:uploads/{new['upload']}"} if new["upload"] else set())
