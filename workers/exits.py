"""How a process ends that is set up wrong: what to do about it on stderr, and exit status 2, as with every command."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

CANNOT: Final = 2


def refuse(error: Exception) -> NoReturn:
    """Do not start."""
    print(f"shelfline: {error}", file=sys.stderr, flush=True)  # noqa: T201  before logs are set up
    raise SystemExit(CANNOT)
