"""Read the values of flags, as tensorflow_model_server does."""

from __future__ import annotations

import argparse
from pathlib import Path


def path(text: str) -> Path | None:
    """Read a path; an empty text is none."""
    return Path(text) if text else None


def tags(text: str) -> tuple[str, ...]:
    """Read words between commas."""
    return tuple(filter(None, text.split(",")))


def natural(text: str) -> int:
    """Read a whole number that is not negative. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number: give 0 or more")
    return int(text)


def truth(text: str) -> bool:
    """Read a truth value: true, false, 1 or 0. Raises ArgumentTypeError."""
    if text.lower() not in {"true", "false", "1", "0"}:
        raise argparse.ArgumentTypeError(f"{text} is not a truth value: give true or false")
    return text.lower() in {"true", "1"}


def channel_arguments(text: str) -> tuple[tuple[str, str | int], ...]:
    """Read `key=value,key=value`; whole numbers become integers. Raises ArgumentTypeError."""
    pairs: list[tuple[str, str | int]] = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise argparse.ArgumentTypeError(f"{part} has no value: give key=value")
        pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(pairs)


def fraction(text: str) -> float:
    """Read a number. Raises ArgumentTypeError."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a number: give one such as 0.5") from error
