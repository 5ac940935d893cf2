"""Errors of the commands."""

from __future__ import annotations

from serving.errors import ShelflineError


class StackError(ShelflineError):
    """Raised when the embedded stack cannot be started, or dies."""

    code = "stack_failed"


class StackRunningError(StackError):
    """Raised when a stack is started although one is running already."""

    code = "stack_running"


class UsageError(ShelflineError):
    """Raised when the arguments of a command are invalid, before anything was started."""

    code = "usage"


class OutputError(ShelflineError):
    """Raised when a command cannot write its output: the disk is full, or a folder is missing."""

    code = "output_failed"
