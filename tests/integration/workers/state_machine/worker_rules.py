"""The steps of workers and of duties: claim, start, settle, hand back, die, wake up late; and the passing of time."""

from __future__ import annotations

import json
from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.integration.workers.state_machine.front_end_rules import (
    CONSUMERS,
    LEASE,
    PICK,
    PINNED,
    PLAIN,
    TICK,
    FrontEndRules,
)
from tests.integration.workers.state_machine.paired_link import PairedLink, StoppedError
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.result import Outcome

TARGETS = st.sampled_from([PLAIN.target, PLAIN.target, PLAIN.target, PINNED.target])
LATE = ("start", "settle", "twice", "hand_back", "renew")
SOME = st.integers(1, 9)


def in_hands(self: FrontEndRules) -> bool:
    """Return whether any worker has claimed an image."""
    return any(self.hands.values())


def is_due(self: FrontEndRules) -> bool:
    """Return whether a duty is due."""
    return any(at <= self.model.now for at in self.model.due.values())


class WorkerRules(FrontEndRules):
    """Three workers, and processes that do duties."""

    def _some(self, pick: int, most: int) -> tuple[str, list[ClaimedImage]]:
        """Return one of the workers that have claimed images, and some of these."""
        who = [name for name, hand in self.hands.items() if hand]
        name = who[pick % len(who)]
        first = pick // 7 % len(self.hands[name])
        return name, self.hands[name][first : first + most]

    def _let_go(self, who: str, images: list[ClaimedImage]) -> None:
        self.hands[who] = [image for image in self.hands[who] if image not in images]

    @rule(
        who=st.sampled_from(CONSUMERS),
        lanes=TARGETS,
        most=st.integers(0, 9),
        interactive=st.one_of(st.none(), st.none(), st.integers(0, 9)),
        kept=st.integers(0, 2),
    )
    def claim(self, who: str, lanes: str, most: int, interactive: int | None, kept: int) -> None:
        claim = self.queues[who].claim(lanes, most, interactive=interactive, kept_for_bulk=min(kept, most))
        self._hold(who, claim.images)

    @precondition(in_hands)
    @rule(who=st.sampled_from(CONSUMERS), lanes=TARGETS, most=SOME)
    def take_over(self, who: str, lanes: str, most: int) -> None:
        held = [image.key for image in self.hands[who]]
        self._hold(who, self.queues[who].take_over(lanes, most, held))

    def _hold(self, who: str, images: list[ClaimedImage]) -> None:
        self.hands[who] += images
        self.past += [(who, image) for image in images]

    @precondition(in_hands)
    @rule(pick=PICK, most=SOME)
    def start(self, pick: int, most: int) -> None:
        who, some = self._some(pick, most)
        lost = self.queues[who].start(some)
        self._let_go(who, [image for image in some if image.key in lost])

    @precondition(in_hands)
    @rule(pick=PICK, most=SOME, failed=st.booleans())
    def settle(self, pick: int, most: int, *, failed: bool) -> None:
        who, some = self._some(pick, most)
        self._settle(some, "failed" if failed else "succeeded")
        self._let_go(who, some)

    def _settle(self, images: list[ClaimedImage], state: str) -> None:
        self.store.settle([self._outcome(image, state) for image in images], 0.0)

    def _outcome(self, image: ClaimedImage, state: str) -> Outcome:
        self.written += 1  # so that no two results are the same
        text = json.dumps({"index": image.index, "name": image.name, "state": state, "written": self.written})
        return Outcome(image, state, text, 1)

    @precondition(in_hands)
    @rule(pick=PICK, most=SOME, started=st.booleans(), fault=st.booleans())
    def hand_back(self, pick: int, most: int, *, started: bool, fault: bool) -> None:
        who, some = self._some(pick, most)
        self.queues[who].hand_back(some, started=started, fault=fault)
        self._let_go(who, some)

    @precondition(in_hands)
    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        who, _ = self._some(pick, 1)
        lost = self.queues[who].renew([image.key for image in self.hands[who]])
        self._let_go(who, [image for image in self.hands[who] if image.key in lost])

    @precondition(in_hands)
    @rule(pick=PICK)
    def crash(self, pick: int) -> None:
        who, _ = self._some(pick, 1)
        self.hands[who] = []

    @precondition(in_hands)
    @rule(pick=PICK, other=st.sampled_from(CONSUMERS), what=st.one_of(st.none(), st.sampled_from(LATE)))
    def freeze(self, pick: int, other: str, what: str | None) -> None:
        """Pause a worker for longer than a lease; another takes over its images; then the first wakes up."""
        who, late = self._some(pick, 9)
        self.link.pass_time(LEASE * 1000)
        if other != who:
            self.hands[who] = []
        self.take_over(who=other, lanes=late[0].stream.split(":")[2], most=9)
        if what:
            self._act_late(who, late, what)

    @precondition(lambda self: self.past)
    @rule(pick=PICK, many=st.integers(1, 3), what=st.sampled_from(LATE))
    def act_late(self, pick: int, many: int, what: str) -> None:
        """A worker that was paused goes on with its images, whoever has claimed them now."""
        at = pick % len(self.past)
        who = self.past[at][0]
        self._act_late(who, [image for name, image in self.past[at : at + many] if name == who], what)

    def _act_late(self, who: str, late: list[ClaimedImage], what: str) -> None:
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
            queue.renew([image.key for image in late])

    @rule(ticks=st.sampled_from([1, 2, 3, 3, 8, 60]))
    def pass_time(self, ticks: int) -> None:
        self.link.pass_time(ticks * TICK * 1000)

    @rule(what=st.sampled_from(["restart", "sweep", "tidy"]))
    def seldom(self, what: str) -> None:
        """Restart Redis; sweep; or sweep with the tidying that is done once a minute."""
        if what == "restart":
            self.link.restart()
        elif what == "sweep":
            self.link.client.set("sl:tidied", "1")
            self.link.run("lanes/sweep", LEASE * 1000)
        else:
            self.link.client.delete("sl:tidied")
            super(PairedLink, self.link).run("lanes/sweep", 0)  # for a lease of nothing: its answer is of no interest
            self.link.model.sweep("0")
            self.link.model.tidy()

    @precondition(is_due)
    @rule(stops_after=st.one_of(st.none(), st.integers(1, 4)), many=st.integers(1, 3))
    def do_duties(self, stops_after: int | None, many: int) -> None:
        """Do duties; the process may die, or be paused, before one of its scripts."""
        self.link.left = stops_after
        with suppress(StoppedError):
            self.duties.run_due(many)
        self.link.left = None

    @precondition(is_due)
    @rule(stops_after=st.sampled_from([1, 1, 2, 3]), claims=st.booleans(), other=st.booleans(), wakes=st.booleans())
    def freeze_duties(self, stops_after: int, *, claims: bool, other: bool, wakes: bool) -> None:
        """Pause a process that does duties, for longer than a lease if another does them; the first may wake up."""
        before = len(self.link.held)
        self.do_duties(stops_after=stops_after, many=1)
        if claims:
            self.claim(who="two", lanes=PLAIN.target, most=4, interactive=0, kept=0)
        if other:
            self.link.pass_time(LEASE * 1000)
            self.do_duties(stops_after=1 if claims else None, many=2)
        if wakes and len(self.link.held) > before:
            self.go_on(pick=before)

    @precondition(lambda self: self.link.held)
    @rule(pick=PICK)
    def go_on(self, pick: int) -> None:
        """A paused process that does duties runs its next script, and then dies."""
        name, args = self.link.held.pop(pick % len(self.link.held))
        self.link.run(name, *args)
