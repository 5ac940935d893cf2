"""Errors of the commands."""

from __future__ import annotations

from typing import ClassVar

from serving.errors import ShelflineError


class StackError(ShelflineError):
    """Raised when the embedded stack cannot be started, or dies."""

    code: ClassVar[str] = "stack_failed"


class StackRunningError(StackError):
    """Raised when a stack is to be started where one runs already."""

    code: ClassVar[str] = "stack_running"


class UsageError(ShelflineError):
    """Raised when a command cannot do what it was told, before anything was started."""

    code: ClassVar[str] = "usage"


class OutputError(ShelflineError):
    """Raised when a command cannot write what it found: the disk is full, or a folder is away."""

    code: ClassVar[str] = "output_failed"
