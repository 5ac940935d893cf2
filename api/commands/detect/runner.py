"""The loop of a run: send the run parts, follow their jobs, fetch finished results and merge them in order."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.detect.journal import Journal, Part
from api.commands.detect.line_files import SUCCEEDED, writing
from api.commands.detect.sending import Sender, Sent, Sharing
from serving.errors import ShelflineError
from workers.io.names import printable

SENDING = 4  # parallel uploads
AHEAD = 8  # parts that are being sent or processed; each is a job, and the jobs share the workers
_LOOK_SECONDS = 0.25
_FETCH_SECONDS = 1.0  # between fetches of one running job's results
_JOB_MISSING = {"job_not_found", "job_gone"}
_IMAGE_MISSING = "image_missing"


@dataclass
class Tally:
    """The progress of a run, in numbers of photos."""

    total: int = 0
    done: int = 0
    failed: int = 0
    sent: int = 0  # photos whose job was accepted


@dataclass
class _Followed:
    """A part whose job was accepted and whose results are not complete yet."""

    part: Part
    settled: int = 0
    failed: int = 0
    fetched_at: float = field(default_factory=lambda: float("-inf"))


class Runner:
    """Runs until all photos of the journal have results.

    `show` is called with the progress. `arrived`, if given, adds new photos to the journal and returns whether there
    were any; then the run goes on until the command is stopped. `merged` is called after results were merged. `say`
    is called with the reason if a job ended early.
    """

    def __init__(
        self,
        client: ShelflineClient,
        journal: Journal,
        sender: Sender,
        *,
        show: Callable[[Tally], None],
        arrived: Callable[[], bool] | None = None,
        merged: Callable[[], None] = lambda: None,
        own_names: bool = False,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Create a runner; with `own_names` the results keep the server's names, since there are no local photos."""
        self._client = client
        self._journal = journal
        self._sender = sender
        self._show = show
        self._arrived = arrived
        self._on_merged = merged
        self._own_names = own_names
        self._say = say
        self._following: dict[int, _Followed] = {}
        self._sending: set[int] = set()
        self._outcomes: queue.SimpleQueue[Sent | Exception] = queue.SimpleQueue()
        self._turn = 0

    def run(self) -> None:
        """Run to the end; raises ApiError, ConnectionFailedError, OutputError, StackError. Fetched results are kept."""
        self._merge()
        self._plan()
        while self._arrived or self._journal.merged < len(self._journal.photos):
            self._send()
            if not self._take(wait=not self._following):
                self._follow()
            self._merge()
            if self._arrived and self._arrived():
                self._plan()
            self._show(self.tally())

    def tally(self) -> Tally:
        """Return the progress."""
        journal, following = self._journal, self._following.values()
        done = journal.done + sum(max(0, followed.settled - followed.part.fetched) for followed in following)
        failed = journal.failed + sum(part.failed for part in journal.parts.values())
        failed += sum(max(0, followed.failed - followed.part.failed) for followed in following)
        sent = sum(part.size for part in journal.parts.values() if part.job)
        return Tally(len(journal.photos), done, failed, sent)

    def rescue(self, client: ShelflineClient) -> None:
        """Fetch the finished results with `client`, which gives up soon, since the command and its stack are ending."""
        self._client = client
        for followed in self._following.values():
            with suppress(ShelflineError):
                self._fetch(followed)

    def recount(self) -> None:
        """Count the results on disk again, because the run may have ended in the middle of a write."""
        for followed in self._following.values():
            self._journal.recount(followed.part)

    def _plan(self) -> None:
        """Put photos that are in no part into new parts, and follow the parts that already have jobs."""
        for start, end in list(self._journal.gaps()):
            first = start
            for part_end in self._sender.ends(start, end):
                self._journal.add_part(first, part_end)
                first = part_end
        for part in self._journal.parts.values():
            if part.job and not part.complete and part.start not in self._following:
                self._following[part.start] = _Followed(part)

    def _send(self) -> None:
        # Send only one part until a part is accepted: only then is it known whether the server reads the files itself.
        asking = self._sender.sharing is not Sharing.NO and not any(part.job for part in self._journal.parts.values())
        at_once = 1 if asking else SENDING
        for part in sorted(self._journal.parts.values(), key=lambda part: part.start):
            if len(self._sending) >= at_once or len(self._sending) + len(self._following) >= AHEAD:
                return
            if not part.job and part.start not in self._sending:
                self._sending.add(part.start)
                threading.Thread(target=self._send_one, args=(part,), daemon=True).start()

    def _send_one(self, part: Part) -> None:
        try:
            self._outcomes.put(self._sender.send(part))
        except Exception as error:  # noqa: BLE001  `_take` raises it again, in the thread of the run
            self._outcomes.put(error)

    def _take(self, *, wait: bool) -> bool:
        """Record a part that was sent and return whether there was one; raises the error if sending failed."""
        try:
            sent = self._outcomes.get(timeout=_LOOK_SECONDS if wait else 0.001)
        except queue.Empty:
            return False
        if isinstance(sent, Exception):
            raise sent
        self._sending.discard(sent.part.start)
        if sent.job is None:
            self._replan()
        else:
            self._journal.accepted(sent.part, sent.job.id, sent.unreadable, by_reference=sent.by_reference)
            self._following[sent.part.start] = _Followed(sent.part)
        return True

    def _replan(self) -> None:
        """Plan the unsent parts anew, with the sizes that the sender can send now."""
        for part in list(self._journal.parts.values()):
            if not part.job and part.start not in self._sending:
                self._journal.cut(part)
        self._plan()

    def _follow(self) -> None:
        """Look at the first job, because the merge waits for its results, and at one of the others in turn."""
        active = sorted(self._following.values(), key=lambda followed: followed.part.start)
        self._look(active[:1], wait=_LOOK_SECONDS)
        if len(active) > 1:
            self._turn = self._turn % (len(active) - 1) + 1
            self._look(active[self._turn : self._turn + 1], wait=0.0)

    def _look(self, which: list[_Followed], *, wait: float) -> None:
        for followed in which:
            part = followed.part
            try:
                job = self._client.job(part.job, wait=wait)
                followed.settled = job.counts.succeeded + job.counts.failed + job.counts.canceled
                followed.failed = job.counts.failed + job.counts.canceled
                due = time.monotonic() - followed.fetched_at > _FETCH_SECONDS
                if job.state.terminal or (due and followed.settled > part.fetched):
                    self._fetch(followed)
            except ApiError as error:
                if error.code not in _JOB_MISSING or self._own_names:
                    raise
                # Keep the fetched results of the job that is gone, and send its other photos again.
                del self._following[part.start]
                self._journal.cut(part)
                self._plan()
                continue
            if job.state.terminal and job.error:
                self._say(f"The job {job.id} ended early: {job.error.detail}")
            if part.complete:
                del self._following[part.start]
            elif job.state.terminal:
                raise ConnectionFailedError(
                    f"{self._client.base_url} sent {part.fetched} of {part.size} results of {job.id}, though it has "
                    "ended. Run the same command again."
                )

    def _fetch(self, followed: _Followed) -> None:
        """Fetch the finished results of a part and append them to its file."""
        part, file = followed.part, self._journal.part_file(followed.part)
        followed.fetched_at = time.monotonic()
        results = self._client.results(part.job, start=part.fetched)
        with writing(file), file.open("a", encoding="utf-8") as out:
            for result in results:
                if part.complete:
                    break
                line = self._own_line(part, result)
                out.write(line + "\n")
                part.fetched += 1
                part.failed += SUCCEEDED.decode() not in line

    def _own_line(self, part: Part, result: dict[str, Any]) -> str:
        """Return a result as a line, with the index and name that the image has in the run."""
        index = part.start + part.fetched
        result["index"] = index
        if not self._own_names:
            result["name"] = printable(self._journal.photos[index].name)
        if index in part.unreadable:
            detail = f"The file cannot be read: {part.unreadable[index]}."
            error = {"code": _IMAGE_MISSING, "detail": detail, "retryable": False}
            result = {"index": index, "name": result["name"], "state": "failed", "error": error}
        return json.dumps(result, ensure_ascii=False, separators=(",", ":"))

    def _merge(self) -> None:
        parts = self._journal.merge()
        for part in parts:
            # Its uploaded images occupy the server's storage, which the next uploads need.
            if len(self._journal.parts) > 1 and part.job and not part.by_reference:
                with suppress(ShelflineError):
                    self._client.delete(part.job)
        if parts:
            self._on_merged()
