"""The settings of batching: TF Serving's BatchingParameters, with its defaults and checks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from serving.server.errors import SetupError
from serving.server.text_files import read_text_message
from serving.wire.protos import BatchingParameters


def _one_per_core_pair() -> int:
    return max(1, (os.cpu_count() or 1) // 2)


@dataclass(frozen=True)
class BatchSettings:
    """The settings of batching, with the defaults of shared_batch_scheduler.h except for the number of threads.

    TF Serving has one thread per core. Here it is one per two cores: a batch uses all cores, and the requests that
    arrive meanwhile make the next batch larger.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = _one_per_core_pair()
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def rows_of_a_batch(self) -> int:
        """Return the most rows of a batch: `max_execution_batch_size` if calls are split and it is set."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def padded(self, rows: int) -> int:
        """Return the number of rows that a batch is padded to: the next allowed batch size."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)


def read_batch_settings(path: Path) -> BatchSettings:
    """Read BatchingParameters from a file in text format. Raises SetupError if the file or a value is invalid.

    Fields that the file does not set have the defaults.
    """
    message = read_text_message(BatchingParameters, path)
    given: dict[str, Any] = {
        field.name: getattr(message, field.name).value
        for field in BatchingParameters.DESCRIPTOR.fields
        if field.message_type and message.HasField(field.name)
    }
    settings = BatchSettings(
        **given,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )
    problem = _problem(settings)
    if problem:
        raise SetupError(f"{path}: {problem}")
    return settings


def _problem(settings: BatchSettings) -> str | None:
    """Return the first error, in the words of shared_batch_scheduler.h and batching_session.cc, or None."""
    for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
        if getattr(settings, name) < 1:
            return f"{name} must be positive; was {getattr(settings, name)}"
    for name in ("batch_timeout_micros", "max_execution_batch_size"):
        if getattr(settings, name) < 0:
            return f"{name} must be non-negative; was {getattr(settings, name)}"
    execution_rows = settings.max_execution_batch_size
    if settings.enable_large_batch_splitting and execution_rows > settings.max_batch_size:
        return (
            f"max_execution_batch_size {execution_rows} is greater than max_batch_size {settings.max_batch_size}: "
            "a batch of the split calls cannot be larger than a call"
        )
    sizes = settings.allowed_batch_sizes
    if sizes and (any(a >= b for a, b in pairwise(sizes)) or sizes[0] < 1):
        return "allowed_batch_sizes entries must be monotonically increasing"
    if sizes and sizes[-1] != settings.max_batch_size:
        return (
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {sizes[-1]}; expected {settings.max_batch_size}"
        )
    return None
