"""The root of all errors of the project, and the errors of a call to a model."""

from __future__ import annotations

from typing import ClassVar


class ShelflineError(Exception):
    """Root of every error that the project raises for its users; `str(error)` says what is wrong and what to do."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False


class ModelError(ShelflineError):
    """Raised when a model could not answer."""

    code = "model_error"


class ModelUnavailableError(ModelError):
    """Raised when the model server is unreachable, overloaded or misconfigured: no image is at fault."""

    code = "model_unavailable"
    retryable = True


class ModelTimeoutError(ModelUnavailableError):
    """Raised when the model server did not answer in time: it is busy, frozen or gone."""


class VersionGoneError(ModelUnavailableError):
    """Raised when the server does not have the model or the pinned version, no longer or not yet."""


class RowsRejectedError(ModelError):
    """Raised when the model rejects a batch for a reason that a single row may cause."""


class ModelOutOfMemoryError(RowsRejectedError):
    """Raised when the model server has not enough memory for the rows of a call; fewer rows may fit."""

    code = "model_out_of_memory"
    retryable = True


class ContractError(ModelError):
    """Raised when a model has no description of itself, or one that cannot be served."""

    code = "contract_invalid"


class TensorError(ModelError):
    """Raised when a tensor of a message is malformed, or an array cannot be encoded as one."""
