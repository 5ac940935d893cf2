"""Errors of the commands."""

from __future__ import annotations

from serving.errors import ShelflineError


class StackError(ShelflineError):
    """Raised when the embedded stack cannot be started, runs already, or dies."""

    code = "stack_failed"


class UsageError(ShelflineError):
    """Raised when the arguments of a command are invalid, before anything was started."""

    code = "usage"


class OutputError(ShelflineError):
    """Raised when a command cannot write its output: the disk is full, or a folder is missing."""

    code = "output_failed"
