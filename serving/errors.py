"""The root of all errors of the project, and the errors of a call to a model."""

from __future__ import annotations

from typing import ClassVar


class ShelflineError(Exception):
    """Root of every error the project raises for its users; `str(error)` says what to do."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False


class ModelError(ShelflineError):
    """Raised when a model could not answer."""

    code: ClassVar[str] = "model_error"


class ModelUnavailableError(ModelError):
    """Raised when the model server cannot be reached, is overloaded or is set up wrong: no image is at fault."""

    code: ClassVar[str] = "model_unavailable"
    retryable: ClassVar[bool] = True


class VersionGoneError(ModelUnavailableError):
    """Raised when the server no longer (or not yet) has the model or the pinned version."""


class RowsRejectedError(ModelError):
    """Raised when the model refused a batch for a reason that can be one row's fault."""


class ContractError(ModelError):
    """Raised when a model does not describe itself, or describes itself in a way that cannot be served."""

    code: ClassVar[str] = "contract_invalid"


class TensorError(ModelError):
    """Raised when a tensor on the wire is malformed, or an array cannot become one."""
