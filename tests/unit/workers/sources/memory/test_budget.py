"""The memory that decoders of a process share: bounded, fair, and given back whatever happens."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from serving.contract import Contract, Label
from tests.support.depth_files import tiff
from tests.support.image_files import deep_avif, encoded, noise
from tests.support.polling import wait_until
from workers.errors import ImageError, ImageTooLargeError
from workers.results.drawing import draw, drawable, drawing_share
from workers.sources.decoding import decode, prepare
from workers.sources.memory import budget
from workers.sources.memory.budget import Budget, Share, budget_bytes, decoding_share, waiting_in

LIMIT = 100
PHOTO = encoded(noise(60, 40), "JPEG")
MAX_PIXELS = 10_000
CONTRACT = Contract(
    name="small",
    input_height=8,
    input_width=8,
    score_threshold=0.5,
    nms_iou=0.5,
    max_detections=10,
    labels=(Label(id=1, name="thing"),),
    weights_sha256="0" * 64,
)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def of_this_process(monkeypatch: pytest.MonkeyPatch) -> Budget:
    """A budget of its own in place of that of the process."""
    made = Budget()
    monkeypatch.setattr(budget, "_of_this_process", made)
    return made


def waiting(shared: Budget, count: int) -> None:
    wait_until(lambda: shared.waiting == count, what=f"{count} waiting threads")


def test_what_fits_does_not_wait() -> None:
    """Several images at once, up to the last byte."""
    shared = Budget()
    for count in (50, 30, 20):
        shared.take(count, LIMIT)
    assert (shared.used, shared.waiting) == (100, 0)


def test_what_does_not_fit_waits(threads: ThreadPoolExecutor) -> None:
    """One byte too many waits until enough is given back."""
    shared = Budget()
    shared.take(60, LIMIT)
    shared.take(10, LIMIT)
    last = threads.submit(shared.take, 31, LIMIT)
    waiting(shared, 1)
    shared.give_back(10)
    last.result()
    assert (shared.used, shared.waiting) == (91, 0)


def test_what_is_larger_than_the_budget_comes_alone(threads: ThreadPoolExecutor) -> None:
    """It waits until nothing is in use, and then everything else waits for it."""
    shared = Budget()
    shared.take(1, LIMIT)
    large = threads.submit(shared.take, 500, LIMIT)
    waiting(shared, 1)
    shared.give_back(1)
    large.result()
    small = threads.submit(shared.take, 1, LIMIT)
    waiting(shared, 1)
    shared.give_back(500)
    small.result()


def test_nobody_is_overtaken(threads: ThreadPoolExecutor) -> None:
    """Small ones that would fit wait behind a large one, which would otherwise wait for as long as they come."""
    shared, order = Budget(), list[int]()

    def take(count: int) -> None:
        shared.take(count, LIMIT)
        order.append(count)

    shared.take(60, LIMIT)
    takes: list[Future[None]] = []
    for number, count in enumerate((90, 5, 4)):
        takes.append(threads.submit(take, count))
        waiting(shared, number + 1)
    assert order == []
    shared.give_back(60)
    for future in takes:
        future.result()
    assert order[0] == 90


def test_a_thread_that_is_interrupted_lets_the_others_go_on(threads: ThreadPoolExecutor) -> None:
    """Its place in the order is free again, and nothing counts as in use."""
    shared, error = Budget(), threading.Event()

    class Interrupted(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            woken = super().wait(timeout)
            if error.is_set() and threading.current_thread().name == "interrupted":
                raise KeyboardInterrupt
            return woken

    shared._changed = Interrupted()
    shared.take(60, LIMIT)

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt):
            shared.take(90, LIMIT)

    thread = threading.Thread(target=interrupted, name="interrupted")
    thread.start()
    waiting(shared, 1)
    behind = threads.submit(shared.take, 10, LIMIT)
    waiting(shared, 2)
    error.set()
    with shared._changed:
        shared._changed.notify_all()
    thread.join()
    behind.result()
    assert (shared.used, shared.waiting) == (70, 0)


def test_whoever_takes_again_gives_back_first(threads: ThreadPoolExecutor) -> None:
    """Otherwise two that hold some and want more would wait for each other for ever."""
    shared, both = Budget(), threading.Barrier(2)

    def twice() -> None:
        share = Share(shared, LIMIT)
        share.take(40)
        both.wait()
        share.take(90)
        share.give_back()
        share.give_back()

    for future in [threads.submit(twice) for _ in range(2)]:
        future.result(60)
    assert shared.used == 0


def test_many_threads_stay_within_the_budget(threads: ThreadPoolExecutor) -> None:
    """Shares of all sizes, in all orders: what is in use together is within the limit, or is one share alone."""
    shared, lock, in_use = Budget(), threading.Lock(), list[int]()
    rng = random.Random(7)  # noqa: S311  no secret
    sizes = [rng.choice((1, 20, 35, 50, 99, 100, 101, 250)) for _ in range(400)]

    def use(count: int) -> None:
        share = Share(shared, LIMIT)
        share.take(count)
        with lock:
            in_use.append(count)
            assert sum(in_use) <= LIMIT or len(in_use) == 1
        with lock:
            in_use.remove(count)
        share.give_back()

    for future in [threads.submit(use, size) for size in sizes]:
        future.result(60)
    assert (shared.used, shared.waiting) == (0, 0)


def by_prepare(content: bytes) -> None:
    prepare(content, CONTRACT, MAX_PIXELS)


def by_decode(content: bytes) -> None:
    decode(content, MAX_PIXELS)


def by_drawing(content: bytes) -> None:
    result = {"width": 60, "height": 40, "detections": []}
    with drawing_share(MAX_PIXELS, result) as share:
        draw(drawable(content, MAX_PIXELS, result, share), result).save(io.BytesIO(), "PNG")


WAYS = (by_prepare, by_decode, by_drawing)


@pytest.mark.parametrize("way", WAYS)
def test_decoding_waits_for_its_share(
    way: Callable[[bytes], None], of_this_process: Budget, threads: ThreadPoolExecutor
) -> None:
    """For a model and for a drawing; afterwards nothing is in use."""
    with decoding_share(MAX_PIXELS) as all_of_it:
        all_of_it.take(budget_bytes(MAX_PIXELS))
        done = threads.submit(way, PHOTO)
        waiting(of_this_process, 1)
    done.result(60)
    assert (of_this_process.used, of_this_process.waiting) == (0, 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        PHOTO[: len(PHOTO) // 2],
        encoded(noise(60, 40), "PNG")[:-900],
        encoded(noise(60, 40), "AVIF")[:-300],
        encoded(noise(200, 100), "PNG"),
    ],
    ids=["empty", "none", "cut JPEG", "cut PNG", "cut AVIF", "too large"],
)
def test_an_image_that_is_refused_gives_its_share_back(
    way: Callable[[bytes], None], content: bytes, of_this_process: Budget
) -> None:
    """Whichever step refuses it, also the second try of a damaged one."""
    with pytest.raises(ImageError):
        way(content)
    assert (of_this_process.used, of_this_process.waiting) == (0, 0)


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
def test_an_image_that_needs_more_than_the_budget_is_refused(kind: str, of_this_process: Budget) -> None:
    """As one with too many pixels; a smaller one of its kind is decoded. A TIFF of few bits is decoded twice."""
    content = deep_avif(64, 12, 4) if kind == "AVIF" else tiff(np.full((64, 64, 3), 1000), compressed=True)
    with pytest.raises(ImageTooLargeError, match=r"takes 0 MB of memory to decode, more than 0: make it smaller, or"):
        decode(content, 64 * 64)
    assert decode(content, 2 * 64 * 64)[1:] == (64, 64)
    assert (of_this_process.used, of_this_process.waiting) == (0, 0)


def test_a_repaired_image_is_decoded_within_its_share(of_this_process: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG without its end is decoded five times: each time it takes its share anew, and only one."""
    taken: list[tuple[int, int]] = []
    take = Budget.take

    def noted(self: Budget, count: int, limit: int) -> None:
        taken.append((self.used, count))
        take(self, count, limit)

    monkeypatch.setattr(Budget, "take", noted)
    decode(PHOTO.removesuffix(b"\xff\xd9"), MAX_PIXELS)
    assert taken == [(0, 9 * 60 * 40)] * 5
    assert of_this_process.used == 0


def test_what_follows_the_decoding_counts_too(of_this_process: Budget) -> None:
    """A drawing takes more than its decoding; it holds the larger of the two until its picture is written."""
    result = {"width": 60, "height": 40, "detections": []}
    with drawing_share(MAX_PIXELS, result) as share:
        image = drawable(PHOTO, MAX_PIXELS, result, share)
        assert isinstance(image, Image.Image)
        assert of_this_process.used == 12 * 60 * 40


def test_the_wait_for_memory_can_be_told_from_work(threads: ThreadPoolExecutor) -> None:
    """A thread that waits hangs because another does: its own time does not count."""
    shared, waits = Budget(), threading.Event()

    @contextmanager
    def paused() -> Iterator[None]:
        waits.set()
        yield
        waits.clear()

    def take() -> None:
        with waiting_in(paused):
            shared.take(1, LIMIT)

    shared.take(LIMIT, LIMIT)
    waiting = threads.submit(take)
    wait_until(waits.is_set)
    wait_until(lambda: shared.waiting == 1)
    shared.give_back(LIMIT)
    waiting.result(60)
    assert not waits.is_set()
