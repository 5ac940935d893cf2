"""Which lane the images of a job wait in, and the names of the wake-up for it."""

from __future__ import annotations

from workers.jobs.options import JobOptions, Lane

INTERACTIVE_ROWS = 8  # a job of at most this many rows is interactive; so is every job of one image


def lane_of(options: JobOptions, total: int) -> Lane:
    """Return the lane for a job of `total` images: its priority, or `interactive` if it is small, or `bulk`."""
    small = total == 1 or total * options.rows_guess <= INTERACTIVE_ROWS
    return options.priority or ("interactive" if small else "bulk")


DETECT_TASK, DETECT_QUEUE = "shelfline.detect", "detect"

WAKE_UP_SECONDS = 2  # how long a wake-up may be on its way; then its key expires, and the next addition sends another
