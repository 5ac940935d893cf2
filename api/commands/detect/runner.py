"""The loop of a run: send the run parts, follow their jobs, fetch finished results and merge them in order."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from api.client.client import ShelflineClient
from api.client.errors import ApiError, ConnectionFailedError
from api.commands.detect.journal import Journal, Part
from api.commands.detect.line_files import SUCCEEDED, writing
from api.commands.detect.sending import Sender, Sent, Sharing
from api.commands.progress import WaitingReason
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
class Runner:
    """Runs until all photos of the journal have results.

    `show` is called with the progress. `arrived`, if given, adds new photos to the journal and returns whether there
    were any; it is called after each merge, and the run goes on until the command is stopped. With `own_names` the
    results keep the server's names, since there are no local photos. `say` is called with the reason if a job ended
    early, or if the first job waits for something (`waiting`).
    """

    client: ShelflineClient
    journal: Journal
    sender: Sender
    _: KW_ONLY
    show: Callable[[Tally], None]
    arrived: Callable[[], bool] | None = None
    own_names: bool = False
    say: Callable[[str], None] = lambda _text: None
    waiting: WaitingReason = field(default_factory=WaitingReason)
    _sending: set[int] = field(init=False, default_factory=set)
    _outcomes: queue.SimpleQueue[Sent | Exception] = field(init=False, default_factory=queue.SimpleQueue)
    _turn: int = field(init=False, default=0)

    @property
    def _following(self) -> list[Part]:
        """The parts whose jobs were accepted and whose results are not complete yet, in order."""
        return [part for part in self.journal.in_order() if part.job and not part.complete]

    def run(self) -> None:
        """Run to the end; raises ApiError, ConnectionFailedError, OutputError, StackError. Fetched results are kept."""
        self._merge()
        self._plan()
        while self.arrived or self.journal.merged < len(self.journal.photos):
            self._send()
            if not self._take(wait=not self._following):
                self._follow()
            self._merge()
            if self.arrived and self.arrived():
                self._plan()
            self.show(self.tally())

    def tally(self) -> Tally:
        """Return the progress."""
        journal, following = self.journal, self._following
        done = journal.done + sum(max(0, part.settled - part.fetched) for part in following)
        failed = journal.failed + sum(part.failed for part in journal.parts.values())
        failed += sum(max(0, part.settled_badly - part.failed) for part in following)
        sent = sum(part.size for part in journal.parts.values() if part.job)
        return Tally(len(journal.photos), done, failed, sent)

    def rescue(self, client: ShelflineClient) -> None:
        """Fetch the finished results with `client`, which gives up soon, since the command and its stack are ending."""
        self.client = client
        for part in self._following:
            with suppress(ShelflineError):
                self._fetch(part)

    def _plan(self) -> None:
        """Put photos that are in no part into new parts."""
        for start, end in list(self.journal.gaps()):
            first = start
            for part_end in self.sender.ends(start, end):
                self.journal.add_part(first, part_end)
                first = part_end

    def _send(self) -> None:
        # Send only one part until a part is accepted: only then is it known whether the server reads the files itself.
        asking = self.sender.sharing is not Sharing.NO and not any(part.job for part in self.journal.parts.values())
        most = min(1 if asking else SENDING, AHEAD - len(self._following))
        for part in self.journal.in_order():
            if len(self._sending) >= most:
                return
            if not part.job and part.start not in self._sending:
                self._sending.add(part.start)
                threading.Thread(target=self._send_one, args=(part,), daemon=True).start()

    def _send_one(self, part: Part) -> None:
        try:
            self._outcomes.put(self.sender.send(part))
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
            self.journal.accepted(sent.part, sent.job.id, sent.unreadable, by_reference=sent.by_reference)
        return True

    def _replan(self) -> None:
        """Plan the unsent parts anew, with the sizes that the sender can send now."""
        for part in list(self.journal.parts.values()):
            if not part.job and part.start not in self._sending:
                self.journal.cut(part)
        self._plan()

    def _follow(self) -> None:
        """Look at the first job, because the merge waits for its results, and at one of the others in turn."""
        active = self._following
        if active:
            reason = self._look(active[0], wait=_LOOK_SECONDS)
            if self.waiting.is_news(reason):
                self.say(f"Waiting. {reason}")
        if len(active) > 1:
            self._turn = self._turn % (len(active) - 1) + 1
            self._look(active[self._turn], wait=0.0)

    def _look(self, part: Part, *, wait: float) -> str | None:
        """Fetch what is due of a part's results. Return what its job waits for, None if it goes on."""
        try:
            job = self.client.job(part.job, wait=wait)
            part.settled_badly = job.counts.failed + job.counts.canceled
            part.settled = job.counts.succeeded + part.settled_badly
            due = time.monotonic() - part.fetched_at > _FETCH_SECONDS
            if job.state.terminal or (due and part.settled > part.fetched):
                self._fetch(part)
        except ApiError as error:
            if error.code not in _JOB_MISSING or self.own_names:
                raise
            # Keep the fetched results of the job that is gone, and send its other photos again.
            self.journal.cut(part)
            self._plan()
            return None
        if job.state.terminal and job.error:
            self.say(f"The job {job.id} ended early: {job.error.detail}")
        if job.state.terminal and not part.complete:
            raise ConnectionFailedError(
                f"{self.client.base_url} sent {part.fetched} of {part.size} results of {job.id}, though it has "
                "ended. Run the same command again."
            )
        return job.waiting_for

    def _fetch(self, part: Part) -> None:
        """Fetch the finished results of a part and append them to its file."""
        file = self.journal.part_file(part)
        part.fetched_at = time.monotonic()
        results = self.client.results(part.job, start=part.fetched)
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
        if not self.own_names:
            result["name"] = printable(self.journal.photos[index].name)
        if index in part.unreadable:
            detail = f"The file cannot be read: {part.unreadable[index]}."
            error = {"code": _IMAGE_MISSING, "detail": detail, "retryable": False}
            result = {"index": index, "name": result["name"], "state": "failed", "error": error}
        return json.dumps(result, ensure_ascii=False, separators=(",", ":"))

    def _merge(self) -> None:
        for part in self.journal.merge():
            # Its uploaded images occupy the server's storage, which the next uploads need.
            if len(self.journal.parts) > 1 and part.job and not part.by_reference:
                with suppress(ShelflineError):
                    self.client.delete(part.job)
