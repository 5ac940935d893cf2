"""How many connections there may be: in all, from one address, and with one API key."""

from __future__ import annotations

import hashlib
import resource
from collections import Counter

from api.http.errors import TooManyConnectionsError

_WANTED_FILES = 16_384


class ConnectionCounts:
    """Counts connections by address and by API key. It is used by one thread."""

    def __init__(self, per_address: int, per_key: int) -> None:
        """Take the limits; 0: no limit."""
        self._per_address, self._per_key = per_address, per_key
        self._counts: Counter[str] = Counter()

    def enter_address(self, address: str) -> str:
        """Count a connection from an address, '' for a Unix socket; return what to give to `leave`.

        Raises TooManyConnectionsError.
        """
        if not address or not self._per_address:
            return ""
        return self._enter(f"address {address}", self._per_address, "Your address")

    def enter_key(self, key: bytes) -> str:
        """Count a request with a key, b"" if it has none; return what to give to `leave`.

        Raises TooManyConnectionsError.
        """
        if not key or not self._per_key:
            return ""
        return self._enter(f"key {hashlib.sha256(key).hexdigest()}", self._per_key, "This key")

    def leave(self, name: str) -> str:
        """End what an `enter` method counted, and return '', which counts nothing."""
        if name:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]
        return ""

    def _enter(self, name: str, limit: int, who: str) -> str:
        if self._counts[name] >= limit:
            raise TooManyConnectionsError(
                f"{who} may have {limit} connections at once. Wait until one of them is answered."
            )
        self._counts[name] += 1
        return name


def connection_limit(wanted: int) -> int:
    """Return how many connections the process may have; the rest of its open files is for answering them.

    Raises the process's limit of open files first, as far as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _WANTED_FILES and soft != resource.RLIM_INFINITY:
        soft = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft // 2))
