"""Which lane a job's images wait in, and how its workers are woken up."""

from __future__ import annotations

from workers.jobs.options import JobOptions, Lane

INTERACTIVE_ROWS = 8  # a job of at most so many rows of the model goes to the interactive lane, as one image does


def lane_of(options: JobOptions, total: int) -> Lane:
    """The lane that so many images wait in."""
    small = total == 1 or total * options.rows_guess <= INTERACTIVE_ROWS
    return options.priority or ("interactive" if small else "bulk")


DETECT_TASK, DETECT_QUEUE = "shelfline.detect", "detect"

RING_SECONDS = 2  # how long a ring may be under way; then the key is gone, and the next addition rings again
