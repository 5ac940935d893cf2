import grpc
import pytest

from serving.errors import (
    ModelError,
    ModelOutOfMemoryError,
    ModelTimeoutError,
    ModelUnavailableError,
    RowsRejectedError,
    VersionGoneError,
)
from serving.wire.status import ERROR_OF, translate

ALL_BUT_OK = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", ALL_BUT_OK)
def test_every_status_code_is_assigned(code: grpc.StatusCode) -> None:
    """A code that a later gRPC adds must be put in the table by someone who thinks about it."""
    error = translate(code, "it broke", doing="asking x")

    assert code in ERROR_OF
    assert isinstance(error, ModelError)
    assert str(error).startswith(f"{code.name} while asking x: it broke.")


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OOM when allocating tensor with shape[44,300,300,64] and type float on device CPU:0 by allocator cpu",
            ModelOutOfMemoryError,
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Out of memory while trying to allocate 12 bytes.", ModelOutOfMemoryError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "failed to allocate memory", ModelOutOfMemoryError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted", ModelUnavailableError),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Run() timeout exceeded while waiting in batching queue",
            ModelUnavailableError,
        ),
        (
            grpc.StatusCode.UNAVAILABLE,
            "The batch scheduling queue to which this task was submitted is full; currently 4 batches enqueued",
            ModelUnavailableError,
        ),
        (grpc.StatusCode.INTERNAL, "a tensor named ZOOM when allocating", RowsRejectedError),
    ],
)
def test_out_of_memory_is_told_from_overload(code: grpc.StatusCode, details: str, error: type[ModelError]) -> None:
    """Fewer rows help against the one, waiting against the other."""
    assert type(translate(code, details, doing="asking x")) is error


def test_the_table_says_who_is_at_fault() -> None:
    """Isolation rests on it: what can be a row's fault splits the batch, what cannot is retried."""
    by_error: dict[type[ModelError], set[str]] = {}
    for code, error in ERROR_OF.items():
        by_error.setdefault(error, set()).add(code.name)

    assert {
        ModelUnavailableError: {
            "UNAVAILABLE",
            "RESOURCE_EXHAUSTED",
            "ABORTED",
            "CANCELLED",
            "UNIMPLEMENTED",
            "UNAUTHENTICATED",
            "PERMISSION_DENIED",
        },
        ModelTimeoutError: {"DEADLINE_EXCEEDED"},
        VersionGoneError: {"NOT_FOUND"},
        RowsRejectedError: {
            "INVALID_ARGUMENT",
            "INTERNAL",
            "UNKNOWN",
            "OUT_OF_RANGE",
            "FAILED_PRECONDITION",
            "DATA_LOSS",
            "ALREADY_EXISTS",
        },
    } == by_error
