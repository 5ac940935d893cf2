"""The model of the queue: what the scripts of workers/io/scripts/lanes, results and duties must do and answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.integration.workers.state_machine.model_jobs import (
    ACTIVE,
    AHEAD,
    LANES,
    OPEN,
    Entry,
    JobModel,
    JobsModel,
    name_of,
)
from workers.jobs import result as results
from workers.jobs.job import ImageSource


class QueueModel(JobsModel):
    """Lanes, claims, results and duties, on the model of jobs."""

    # Claimed images

    def _unsettled(self, key: str, index: int, attempt: int, states: set[str]) -> bool:
        job = self.jobs.get(key)
        if job is None or job.state not in states or index // self.segment in job.sealed:
            return False
        item = job.items[index]
        return item.attempt == attempt and item.result is None

    def _live(self, entry: Entry) -> bool:
        return self._unsettled(entry.job, entry.index, entry.attempt, ACTIVE)

    def _counts(self, entry: Entry) -> bool:
        return self._unsettled(entry.job, entry.index, entry.attempt, OPEN)

    def _is_active(self, key: str) -> bool:
        return key in self.jobs and self.jobs[key].state in ACTIVE

    def _find(self, stream: str, entry_id: str) -> Entry | None:
        return next((entry for entry in self.lanes.get(stream, []) if entry.entry == entry_id), None)

    def _entries(self) -> list[Entry]:
        return [entry for lane in self.lanes.values() for entry in lane]

    def _drop(self, entry: Entry) -> None:
        self.lanes[entry.stream].remove(entry)

    def _describe(self, entry: Entry) -> dict[str, Any]:
        job = self.jobs[entry.job]
        return {
            "stream": entry.stream,
            "entry": entry,  # PairedLink replaces it by the id in Redis
            "job": entry.job,
            "index": entry.index,
            "attempt": str(entry.attempt),
            "faults": entry.faults,
            "name": entry.name,
            "ref": entry.ref,
            "custom_id": entry.custom_id,
            "starts": job.items[entry.index].starts,
            "options": job.document["options"],
            "rows": 1,  # no job here has tiles
        }

    def _lanes_of(self, model: str) -> Iterator[list[Entry]]:
        for lane in LANES:
            yield self.lanes.get(f"sl:lane:{model}:{lane}", [])

    def claim(
        self, model: str, consumer: str, interactive: str, max_rows: str, kept_for_bulk: str, window: str
    ) -> dict[str, Any]:
        items: list[dict[str, Any]] = []
        due = False

        def take(name: str, count: int) -> bool:
            nonlocal due
            lane, want = self.lanes.get(f"sl:lane:{model}:{name}", []), len(items) + count
            for entry in [unclaimed for unclaimed in lane if not unclaimed.consumer]:
                if len(items) == want:
                    break
                job = self.jobs.get(entry.job)
                if job and self._live(entry):
                    entry.consumer, entry.idle = consumer, 0
                    job.state = job.items[entry.index].state = "running"
                    items.append(self._describe(entry))
                else:
                    self._drop(entry)
                if job and self.waiting(entry.job) < int(window) / 2 and job.fed < len(job.items):
                    due = self.add_due(f"topup:{entry.job}", self.now - AHEAD) or due
            return count > 0 and len(items) == want

        take("bulk", int(kept_for_bulk))
        more = take("interactive", int(interactive))
        more = take("bulk", max(0, int(max_rows) - len(items))) or more
        return {"items": items, "due": due, "more": more}

    def start(self, consumer: str, *flat: str) -> list[str]:
        lost: list[str] = []
        for stream, entry_id, key, index, attempt, starts in _by(6, flat):
            entry = self._find(stream, entry_id)
            mine = entry is not None and entry.consumer == consumer
            if mine and self._unsettled(key, int(index), int(attempt), ACTIVE):
                self.jobs[key].items[int(index)].starts = int(starts) + 1
                continue
            if entry and mine and self._counts(entry):
                self._give_up(entry)
                self._drop(entry)
            lost.append(f"{stream} {entry_id}")
        return lost

    def settle(self, _busy: str, retention: str, *flat: str) -> list[int]:
        settled, due = 0, 0
        for stream, entry_id, key, index, attempt, outcome, version, result, _rows in _by(9, flat):
            if self._unsettled(key, int(index), int(attempt), OPEN):
                job = self.jobs[key]
                item = job.items[int(index)]
                item.state, item.result = outcome, result
                if version:
                    job.versions.add(int(version))
                number = int(index) // self.segment
                mates = job.items[number * self.segment : (number + 1) * self.segment]
                if len(job.items) > self.segment and all(mate.result is not None for mate in mates):
                    self.add_due(f"seal:{key}:{number}", self.now - AHEAD)
                    due = 1
                if outcome == "failed" and self._is_hopeless(job):
                    due = 1 if self._give_up_rest(key, "failed") else due
                due = 1 if self._finish_if_done(key, retention) else due
                settled += 1
            entry = self._find(stream, entry_id)
            if entry:
                self._drop(entry)
        return [settled, due]

    @staticmethod
    def _is_hopeless(job: JobModel) -> bool:
        rules = dict(zip(job.document.get("rules", [])[::2], job.document.get("rules", [])[1::2], strict=True))
        if not rules or job.state not in ACTIVE or not job.unfinished:
            return False
        failed = job.count("failed")
        done = failed + job.count("succeeded")
        return done >= int(rules["failure_least"]) and failed > float(rules["failure_rate"]) * done

    def handback(self, consumer: str, *flat: str) -> int:
        count = 0
        for stream, entry_id, started, fault, _ref in _by(5, flat):
            entry = self._find(stream, entry_id)
            if entry is None or entry.consumer != consumer:
                continue
            again = self._live(entry)
            if not again and self._counts(entry):
                self._give_up(entry)
            self._drop(entry)
            if again:
                item = self.jobs[entry.job].items[entry.index]
                item.attempt += 1
                item.starts -= 1 if started == "1" and item.starts else 0
                item.state = "queued"
                self.lanes[stream].append(
                    replace(
                        entry,
                        attempt=item.attempt,
                        faults=entry.faults + int(fault),
                        consumer="",
                        entry="",
                    )
                )
                count += 1
        return count

    def takeover(self, model: str, consumer: str, lease: str, max_rows: str, *held: str) -> list[dict[str, Any]]:
        if self.uptime < int(lease):
            return []
        items: list[dict[str, Any]] = []
        alone = False
        for lane in self._lanes_of(model):
            for entry in [claimed for claimed in lane if claimed.consumer and claimed.idle >= int(lease)]:
                if alone or len(items) >= int(max_rows):
                    break
                if f"{entry.stream} {entry.entry}" in held:
                    continue
                if not self._live(entry):
                    if self._counts(entry):
                        self._give_up(entry)
                    self._drop(entry)
                elif not items or not self.jobs[entry.job].items[entry.index].starts:
                    entry.consumer, entry.idle = consumer, 0
                    items.append(self._describe(entry))
                    alone = items[-1]["starts"] > 0
        return items

    def renew(self, consumer: str, *flat: str) -> list[str]:
        lost: list[str] = []
        for stream, entry_id in _by(2, flat):
            entry = self._find(stream, entry_id)
            if entry and entry.consumer == consumer:
                entry.idle = 0
            else:
                lost.append(f"{stream} {entry_id}")
        return lost

    # Duties

    def lease_duty(self, lease: str) -> list[str] | None:
        ready = sorted((at, duty) for duty, at in self.due.items() if at <= self.now)
        if not ready:
            return None
        duty = ready[0][1]
        self.due[duty] = self.now + int(lease)
        return [duty, str(self.due[duty])]

    def end_duty(self, duty: str, lease: str) -> None:
        self.drop_duty(duty, int(lease))

    def renew_duty(self, duty: str, lease: str, milliseconds: str) -> str | None:
        if self.due.get(duty) != int(lease):
            return None
        self.due[duty] = self.now + int(milliseconds)
        return str(self.due[duty])

    def topup(self, duty: str, lease: str, key: str, fed: str, window: str, _offset: str, *flat: str) -> int:
        job = self.jobs.get(key)
        if job and job.state in ACTIVE and job.fed == int(fed):
            self._feed(key, flat)
        if job and job.state in ACTIVE and job.fed < len(job.items) and self.waiting(key) < int(window) / 2:
            if not flat:
                return 0
            self.due[duty] = self.now - AHEAD
        else:
            self.end_duty(duty, lease)
        return 1

    def seal_segment(self, key: str, number: str) -> None:
        job = self.jobs.get(key)
        if job is None:
            self.need_again(f"purge:jobs/{key}")
        elif job.state in OPEN | {"finishing"}:
            job.sealed.add(int(number))
            first = int(number) * self.segment
            for index, item in enumerate(job.items[first : first + self.segment], first):
                if item.result is None:
                    item.result = results.given_up(
                        index, ImageSource(name_of(index), ""), expired=job.ending == "expired"
                    )

    def fill_given_up(self, key: str, *flat: str) -> None:
        job = self.jobs.get(key)
        if job and job.state == "finishing":
            for index, result in _by(2, flat):
                item = job.items[int(index)]
                item.result = item.result or result

    def end_job(self, duty: str, lease: str, key: str, retention: str) -> None:
        job = self.jobs.get(key)
        if job and job.state == "finishing":
            self._end(key, retention)
        self.end_duty(duty, lease)

    def give_up_draft(self, duty: str, lease: str, path: str) -> None:
        if self.due.get(duty) == int(lease):
            del self.due[duty]
            self.need_again(f"purge:{path}")

    def tidy(self) -> None:
        """Do what a sweep does once a minute: drop unclaimed images of ended jobs, and empty lanes of versions."""
        for entry in self._entries():
            if not entry.consumer and not self._is_active(entry.job):
                self._drop(entry)
        for model in {stream.split(":")[2] for stream in self.lanes}:
            if "@" in model and not any(self._lanes_of(model)):
                for name in LANES:
                    self.lanes.pop(f"sl:lane:{model}:{name}", None)

    def sweep(self, lease: str) -> list[Any]:
        if self.uptime >= int(lease):
            for entry in self._entries():
                if entry.consumer and entry.idle >= int(lease) and not self._is_active(entry.job):
                    if self._counts(entry):
                        self._give_up(entry)
                    self._drop(entry)
        models = [
            model
            for model in sorted({stream.split(":")[2] for stream in self.lanes})
            if any(
                not waiting.consumer or waiting.idle >= int(lease) for lane in self._lanes_of(model) for waiting in lane
            )
        ]
        return [models, int(any(at <= self.now for at in self.due.values()))]


def _by(size: int, flat: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(flat), size):
        yield tuple(flat[start : start + size])
