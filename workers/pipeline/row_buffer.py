"""The rows that are ready for the model, and which of them go next. It uses neither a clock nor Redis."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from workers.jobs.options import Lane

_TURN = 8  # one row in so many is kept for the bulk lane, if it has any


class HasLane(Protocol):
    """A row with the lane that it came from."""

    @property
    def lane(self) -> Lane:
        """The lane."""


Row = TypeVar("Row", bound=HasLane)


def kept_for_bulk(batch_rows: int) -> int:
    """Return how many rows of each batch are kept for bulk, if any waits. For batches of one row, see `_kept_now`."""
    return max(1, batch_rows // _TURN)


class RowBuffer(Generic[Row]):
    """Rows by lane, in the order in which they came. Interactive rows go first, but bulk keeps a share."""

    def __init__(self, batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._rows: dict[Lane, deque[Row]] = {"interactive": deque(), "bulk": deque()}
        self._passed_over = 0  # batches of one row that were interactive while bulk rows waited

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows.values())

    def count(self, lane: Lane) -> int:
        """Return how many rows of a lane are ready."""
        return len(self._rows[lane])

    def counts(self) -> dict[Lane, int]:
        """Return how many rows of each lane are ready."""
        return {lane: len(rows) for lane, rows in self._rows.items()}

    def add(self, row: Row) -> None:
        """Add a row that is ready for the model, as the last of its lane."""
        self._rows[row.lane].append(row)

    def take_all(self) -> list[Row]:
        """Remove and return all rows, interactive ones first."""
        found = [row for rows in self._rows.values() for row in rows]
        self.drop(lambda _row: True)
        return found

    def drop(self, unwanted: Callable[[Row], bool]) -> None:
        """Remove the rows for which `unwanted` is true."""
        self._rows = {lane: deque(row for row in rows if not unwanted(row)) for lane, rows in self._rows.items()}

    def put_back(self, rows: Sequence[Row]) -> None:
        """Put rows that were taken back to the front of their lanes, in the same order."""
        for row in reversed(rows):
            self._rows[row.lane].appendleft(row)

    def take_batch(self) -> list[Row]:
        """Remove and return the next batch.

        Interactive rows come first, except for the slots that are kept for waiting bulk rows. Bulk rows fill the rest.
        """
        parts = self._split(self._kept_now())
        return [self._rows[lane].popleft() for lane, count in parts.items() for _ in range(count)]

    def _split(self, kept: int) -> dict[Lane, int]:
        interactive = min(self.count("interactive"), self._batch_rows - min(self.count("bulk"), kept))
        return {"interactive": interactive, "bulk": min(self.count("bulk"), self._batch_rows - interactive)}

    def _kept_now(self) -> int:
        if self._batch_rows > 1:
            return kept_for_bulk(self._batch_rows)
        waits = self.count("interactive") > 0 and self.count("bulk") > 0
        self._passed_over = (self._passed_over + 1) % _TURN if waits else 0
        return int(waits and self._passed_over == 0)
