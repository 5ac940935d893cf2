"""The loop of a run: send the run parts, follow their jobs, fetch finished results and merge them in order."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.detect.journal import Journal, Part
from api.commands.detect.line_files import SUCCEEDED, writing
from api.commands.detect.sending import Sender, Sent, Sharing
from serving.errors import ShelflineError
from workers.io.folders import printable

SENDING = 4  # parallel uploads
AHEAD = 8  # parts that are being sent or processed; each is a job, and the jobs share the workers
_LOOK_SECONDS = 0.25
_FETCH_SECONDS = 1.0  # between fetches of one running job's results
_GONE = {"job_not_found", "job_gone"}
_IMAGE_MISSING = "image_missing"


@dataclass
class Tally:
    """The progress of a run, in numbers of photos."""

    total: int = 0
    done: int = 0
    failed: int = 0
    sent: int = 0  # photos whose job was accepted


@dataclass
class _Following:
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
        self._following: dict[int, _Following] = {}
        self._sending: set[int] = set()
        self._outcomes: queue.SimpleQueue[Sent | Exception] = queue.SimpleQueue()
        self._turn = 0

    def run(self) -> None:
        """Run to the end; raises ApiError, ConnectionFailedError, OutputError, StackError. Fetched results are kept."""
        self._merge()
        self._plan()
        while self._arrived or self._unfinished():
            self._send()
            if not self._take(wait=not self._following):
                self._follow()
            self._merge()
            if self._arrived and self._arrived():
                self._plan()
            self._show(self.tally())

    def tally(self) -> Tally:
        """Return the progress."""
        journal = self._journal
        done = journal.done + sum(max(0, one.settled - one.part.fetched) for one in self._following.values())
        failed = journal.failed + sum(part.failed for part in journal.parts.values())
        failed += sum(max(0, one.failed - one.part.failed) for one in self._following.values())
        sent = sum(part.size for part in journal.parts.values() if part.job)
        return Tally(len(journal.photos), done, failed, sent)

    def rescue(self, client: ShelflineClient) -> None:
        """Fetch the finished results with `client`, which gives up soon, since the command and its stack are ending."""
        self._client = client
        for one in self._following.values():
            with suppress(ShelflineError):
                self._fetch(one)

    def recount(self) -> None:
        """Count the results on disk again, because the run may have ended in the middle of a write."""
        for one in self._following.values():
            self._journal.recount(one.part)

    def _unfinished(self) -> bool:
        return self._journal.merged < len(self._journal.photos)

    def _plan(self) -> None:
        """Put photos that are in no part into new parts, and follow the parts that already have jobs."""
        for start, end in list(self._journal.gaps()):
            first = start
            for behind in self._sender.ends(start, end):
                self._journal.add_part(first, behind)
                first = behind
        for part in self._journal.parts.values():
            if part.job and not part.complete and part.start not in self._following:
                self._following[part.start] = _Following(part)

    def _send(self) -> None:
        # Send only one part until a part is accepted: only then is it known whether the server reads the files itself.
        asking = self._sender.sharing is not Sharing.NO and not any(one.job for one in self._journal.parts.values())
        most = 1 if asking else SENDING
        for part in sorted(self._journal.parts.values(), key=lambda one: one.start):
            if len(self._sending) >= most or len(self._sending) + len(self._following) >= AHEAD:
                return
            if not part.job and part.start not in self._sending:
                self._sending.add(part.start)
                threading.Thread(target=self._send_one, args=(part,), daemon=True).start()

    def _send_one(self, part: Part) -> None:
        try:
            self._outcomes.put(self._sender.send(part))
        except Exception as error:  # noqa: BLE001  it is raised where the run is
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
            self._following[sent.part.start] = _Following(sent.part)
        return True

    def _replan(self) -> None:
        """Plan the unsent parts anew, with the sizes that the sender can send now."""
        for part in list(self._journal.parts.values()):
            if not part.job and part.start not in self._sending:
                self._journal.cut(part)
        self._plan()

    def _follow(self) -> None:
        """Look at the first job, because the merge waits for its results, and at one of the others in turn."""
        active = sorted(self._following.values(), key=lambda one: one.part.start)
        self._look(active[:1], wait=_LOOK_SECONDS)
        if len(active) > 1:
            self._turn = self._turn % (len(active) - 1) + 1
            self._look(active[self._turn : self._turn + 1], wait=0.0)

    def _look(self, which: list[_Following], *, wait: float) -> None:
        for one in which:
            try:
                job = self._client.job(one.part.job, wait=wait)
                one.settled = job.counts.succeeded + job.counts.failed + job.counts.canceled
                one.failed = job.counts.failed + job.counts.canceled
                if job.state.terminal or self._worth_fetching(one):
                    self._fetch(one)
            except ApiError as error:
                if error.code not in _GONE or self._own_names:
                    raise
                self._lost(one)
                continue
            if job.state.terminal and job.error:
                self._say(f"{job.id} ended early: {job.error.detail}")
            if one.part.complete:
                del self._following[one.part.start]
            elif job.state.terminal:
                raise ConnectionFailedError(
                    f"{self._client.base_url} sent {one.part.fetched} of {one.part.size} results of {job.id}."
                )

    def _worth_fetching(self, one: _Following) -> bool:
        return one.settled > one.part.fetched and time.monotonic() - one.fetched_at > _FETCH_SECONDS

    def _fetch(self, one: _Following) -> None:
        """Fetch the finished results of a part and append them to its file."""
        part, file = one.part, self._journal.part_file(one.part)
        one.fetched_at = time.monotonic()
        lines = self._client.result_lines(part.job, start=part.fetched)
        with writing(file), file.open("a", encoding="utf-8") as out:
            for line in lines:
                if part.complete:
                    break
                kept = self._kept(part, line)
                out.write(kept + "\n")
                part.fetched += 1
                part.failed += SUCCEEDED.decode() not in kept

    def _kept(self, part: Part, line: str) -> str:
        """Return a result line with the index and name that the image has in the run."""
        try:
            result = json.loads(line)
        except ValueError as error:
            raise ConnectionFailedError(
                f"{self._client.base_url} sent a result that is not JSON: {line[:80]!r}."
            ) from error
        index = part.start + part.fetched
        result["index"] = index
        if not self._own_names:
            result["name"] = printable(self._journal.photos[index].name)
        if index in part.unreadable:
            why = f"The file cannot be read: {part.unreadable[index]}."
            told = {"code": _IMAGE_MISSING, "detail": why, "retryable": False}
            result = {"index": index, "name": result["name"], "state": "failed", "error": told}
        return json.dumps(result, ensure_ascii=False, separators=(",", ":"))

    def _lost(self, one: _Following) -> None:
        """Handle a job that the server no longer has: keep the fetched results and send the other photos again."""
        del self._following[one.part.start]
        self._journal.cut(one.part)
        self._plan()

    def _merge(self) -> None:
        parts = self._journal.merge()
        for part in parts:
            # Its uploaded images occupy the server's storage, which the next uploads need.
            if len(self._journal.parts) > 1 and part.job and not part.by_reference:
                with suppress(ShelflineError):
                    self._client.delete(part.job)
        if parts:
            self._on_merged()
