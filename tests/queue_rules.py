"""What front ends, workers, their deaths and time can do to the store and the queue, as rules of a state machine."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from serving.errors import ShelflineError
from tests.memory_jobs import name_of
from tests.paired_link import PairedLink, StoppedError
from workers.blobs import FsspecBlobs
from workers.duties import Duties
from workers.intake import Intake, Terms
from workers.jobs import JobOptions, JobState, Outcome
from workers.queue import Delivery, WorkQueue
from workers.reservations import Reservation, Reservations
from workers.settings import Settings
from workers.store import JobStore

LEASE = 1000  # seconds, as all times here: nothing runs out by itself
TICK = 400
GRACE, DEADLINE, RETENTION = 3000.0, 2000.0, 20_000.0
CONSUMERS = ("one", "two", "three")
PLAIN = JobOptions("default")
URGENT = JobOptions("default", priority="interactive")
PINNED = JobOptions("default", model_version=2)
TARGETS = st.sampled_from([PLAIN.target, PLAIN.target, PLAIN.target, PINNED.target])
PICK = st.integers(0, 1 << 16)


class Bell:
    """Nobody needs it: rings carry no work."""

    def ring(self, model: str) -> None:
        """Do nothing."""


class QueueRules(RuleBasedStateMachine):
    """One front end, three workers, and whoever does duties."""

    def __init__(self, link: PairedLink, settings: Settings) -> None:
        super().__init__()
        self.link, self.settings = link, settings
        self.memory = link.memory
        self.folder = Path(settings.blob_url)
        self.blobs = FsspecBlobs(settings.blob_url)
        self.store = JobStore(link, self.blobs, settings)
        self.intake = Intake(link, self.store, self.blobs, Bell(), settings)
        self.duties = Duties(link, self.blobs, settings, Bell().ring)
        self.queues = {name: WorkQueue(link, settings, name) for name in CONSUMERS}
        self.hands: dict[str, list[Delivery]] = {name: [] for name in CONSUMERS}
        self.past: list[tuple[str, Delivery]] = []
        self.jobs: list[str] = []
        self.reserved: list[Reservation] = []
        self.results: dict[str, list[str]] = {}
        self.ends: dict[str, JobState] = {}
        self.written = 0

    @initialize()
    def begin(self) -> None:
        """With nothing at all."""
        self.link.reset()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What a front end does

    def _submit(self, files: Iterator[tuple[str, io.BytesIO]], terms: Terms, options: JobOptions = PLAIN) -> None:
        with suppress(ShelflineError):
            job = self.intake.submit_files(files, options, terms)
            if job.id not in self.jobs:
                self.jobs.append(job.id)

    @rule(
        total=st.integers(1, 14),
        owner=st.sampled_from(["", "ann", "bob"]),
        key=st.sampled_from(["", "", "", "k", "l"]),
        body=st.sampled_from([b"x", b"x", b"y"]),
        deadline=st.sampled_from([None, None, DEADLINE]),
        options=st.sampled_from([PLAIN, PLAIN, PLAIN, PINNED, URGENT]),
    )
    def submit(
        self, total: int, owner: str, key: str, body: bytes, deadline: float | None, options: JobOptions
    ) -> None:
        files = ((name_of(index), io.BytesIO(body)) for index in range(total))
        self._submit(files, Terms(owner, deadline, key), options)

    @rule(ticks=st.sampled_from([1, 8]), done=st.integers(0, 3))
    def submit_slowly(self, ticks: int, done: int) -> None:
        """An upload in whose middle time passes and duties are done: it may be given up."""

        def files() -> Iterator[tuple[str, io.BytesIO]]:
            yield name_of(0), io.BytesIO(b"x")
            self.link.pass_time(ticks * TICK * 1000)
            for _ in range(done):
                self.duties.run_due(1)
            yield name_of(1), io.BytesIO(b"x")

        self._submit(files(), Terms())

    @rule(key=st.sampled_from(["k", "l"]))
    def begin_request(self, key: str) -> None:
        """A request with an idempotency key that takes a while."""
        with suppress(ShelflineError):
            reservation = Reservations(self.link).reserve("", key)
            if not reservation.job:
                self.reserved.append(reservation)

    @precondition(lambda self: self.reserved)
    @rule(dies=st.booleans())
    def end_request(self, *, dies: bool) -> None:
        """It fails, or its front end dies and its reservation runs out."""
        reservation = self.reserved.pop(0)
        if dies:
            self.link.client.delete(reservation.key)
            del self.memory.keys[reservation.key]
        else:
            Reservations(self.link).release(reservation)

    @precondition(lambda self: self.jobs)
    @rule(pick=PICK, what=st.sampled_from(["cancel", "delete", "retry"]))
    def change(self, pick: int, what: str) -> None:
        job = self.jobs[pick % len(self.jobs)]
        with suppress(ShelflineError):
            if what == "retry":
                again = self.intake.retry(job).id
                self.jobs += [again] if again not in self.jobs else []
            else:
                getattr(self.store, what)(job)

    # What workers do

    @rule(
        who=st.sampled_from(CONSUMERS),
        lanes=TARGETS,
        most=st.integers(0, 9),
        interactive=st.one_of(st.none(), st.integers(0, 9)),
        kept=st.integers(0, 2),
    )
    def claim(self, who: str, lanes: str, most: int, interactive: int | None, kept: int) -> None:
        claim = self.queues[who].claim(lanes, most, interactive=interactive, kept=min(kept, most))
        self._hold(who, claim.deliveries)

    @rule(who=st.sampled_from(CONSUMERS), lanes=TARGETS, most=st.integers(1, 9))
    def take_over(self, who: str, lanes: str, most: int) -> None:
        held = [one.held for one in self.hands[who]]
        self._hold(who, self.queues[who].take_over(lanes, most, held))

    def _hold(self, who: str, deliveries: list[Delivery]) -> None:
        self.hands[who] += deliveries
        self.past += [(who, one) for one in deliveries]

    @rule(who=st.sampled_from(CONSUMERS), most=st.integers(1, 9))
    def start(self, who: str, most: int) -> None:
        lost = self.queues[who].start(self.hands[who][:most])
        self.hands[who] = [one for one in self.hands[who] if one.held not in lost]

    @rule(who=st.sampled_from(CONSUMERS), most=st.integers(1, 9), failed=st.booleans(), last=st.booleans())
    def settle(self, who: str, most: int, *, failed: bool, last: bool) -> None:
        hand = self.hands[who]
        done = hand[-most:] if last else hand[:most]
        self._settle(done, "failed" if failed else "succeeded")
        self.hands[who] = [one for one in hand if one not in done]

    def _settle(self, deliveries: list[Delivery], state: str) -> None:
        self.store.settle([self._outcome(one, state) for one in deliveries], 0.0)

    def _outcome(self, one: Delivery, state: str) -> Outcome:
        self.written += 1  # so that no two results are the same
        text = json.dumps({"index": one.index, "name": one.name, "state": state, "written": self.written})
        return Outcome(one.stream, one.entry, one.job, one.index, one.attempt, state, 1, text)

    @rule(who=st.sampled_from(CONSUMERS), most=st.integers(1, 9), started=st.booleans(), fault=st.booleans())
    def hand_back(self, who: str, most: int, *, started: bool, fault: bool) -> None:
        self.queues[who].hand_back(self.hands[who][:most], started=started, fault=fault)
        self.hands[who] = self.hands[who][most:]

    @rule(who=st.sampled_from(CONSUMERS))
    def renew(self, who: str) -> None:
        lost = self.queues[who].renew([one.held for one in self.hands[who]])
        self.hands[who] = [one for one in self.hands[who] if one.held not in lost]

    @rule(who=st.sampled_from(CONSUMERS))
    def crash(self, who: str) -> None:
        self.hands[who] = []

    @precondition(lambda self: self.past)
    @rule(pick=PICK, many=st.integers(1, 3), what=st.sampled_from(["start", "settle", "twice", "hand_back", "renew"]))
    def act_late(self, pick: int, many: int, what: str) -> None:
        """A worker that was paused goes on with what it had, whoever has it now."""
        at = pick % len(self.past)
        who = self.past[at][0]
        late = [one for name, one in self.past[at : at + many] if name == who]
        queue = self.queues[who]
        if what == "start":
            queue.start(late)
        elif what == "settle":
            self._settle(late, "failed")
        elif what == "twice":
            self._settle(late + late, "succeeded")
        elif what == "hand_back":
            queue.hand_back(late)
        else:
            queue.renew([one.held for one in late])

    # What else happens

    @rule(ticks=st.sampled_from([1, 2, 3, 3, 8, 60]))
    def pass_time(self, ticks: int) -> None:
        self.link.pass_time(ticks * TICK * 1000)

    @rule()
    def restart_redis(self) -> None:
        self.link.restart()

    @rule()
    def sweep(self) -> None:
        self.link.client.set("sl:tidied", "1")
        self.link.run("sweep", LEASE * 1000)

    @rule()
    def tidy(self) -> None:
        """Consumers that hold nothing are forgotten; what the sweep says of a lease of nothing is of no interest."""
        self.link.client.delete("sl:tidied")
        super(PairedLink, self.link).run("sweep", 0)

    @rule(stops_after=st.one_of(st.none(), st.integers(1, 4)), many=st.integers(1, 3))
    def do_duties(self, stops_after: int | None, many: int) -> None:
        """Duties are done, or their doer dies, or is paused, before one of its scripts."""
        self.link.left = stops_after
        with suppress(StoppedError):
            self.duties.run_due(many)
        self.link.left = None

    @precondition(lambda self: self.link.held)
    @rule(pick=PICK)
    def go_on(self, pick: int) -> None:
        """A doer of duties that was paused wakes up, and then dies."""
        name, args = self.link.held.pop(pick % len(self.link.held))
        self.link.run(name, *args)
