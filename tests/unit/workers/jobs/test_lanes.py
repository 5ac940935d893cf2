"""Which lane a job's images wait in."""

from __future__ import annotations

import pytest

from workers.jobs.options import JobOptions, Lane
from workers.jobs.submission import NewJob


@pytest.mark.parametrize(
    ("images", "tiles", "lane"),
    [
        (8, "off", "interactive"),
        (9, "off", "bulk"),
        (1, "8x8", "interactive"),  # somebody waits for it
        (2, "1x3", "interactive"),  # and the whole of each: 8 rows
        (3, "1x2", "bulk"),
        (2, "8x8", "bulk"),
        (2, "auto", "bulk"),
    ],
)
def test_what_is_small_is_counted_in_rows(images: int, tiles: str, lane: Lane) -> None:
    """Eight photos of 64 tiles each would keep every other interactive image waiting for 65 batches."""
    for priority, expected in ((None, lane), ("bulk", "bulk"), ("interactive", "interactive")):
        options = JobOptions("default", tiles=tiles, priority=priority)  # type: ignore[arg-type]  # two lanes' names
        assert expected == NewJob("job_1", options, total=images).lane
