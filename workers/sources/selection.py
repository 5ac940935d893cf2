"""Select images of a source: by name, the first ones, or a reproducible sample."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Selection:
    """Globs over names relative to the source, with `/`; `limit` and `sample` are numbers of images.

    A name is taken if it matches any of `include`, or there are none, and matches none of `exclude`. A glob without a
    `/` matches the last segment of a name, in any folder. `*` and `?` stay within a segment, `**` does not. A name that
    ends with `/` is a folder that cannot be read. `include` never leaves it out, since it may contain matching images.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if a glob is invalid."""
        for glob in (*self.include, *self.exclude):
            _compiled(glob)

    @property
    def takes_all(self) -> bool:
        """Return whether no name is left out."""
        return not self.include and not self.exclude

    def takes(self, name: str) -> bool:
        """Return whether a name is taken, without regard to `limit` and `sample`."""
        included = not self.include or name.endswith("/") or any(glob.fullmatch(name) for glob in self._include)
        return included and not any(glob.fullmatch(name) for glob in self._exclude)

    def chosen(self, items: Iterable[_Item], name_of: Callable[[_Item], str]) -> Iterable[_Item]:
        """Yield what is taken, in the order it came. Without a sample, stop reading `items` once the limit is reached.

        The sample is drawn by a hash of the names: the same names and seed give the same sample. `limit` applies to the
        sample.
        """
        taken = (item for item in items if self.takes(name_of(item)))
        if self.sample is not None:
            numbered = ((_rank(name_of(item), self.seed), number, item) for number, item in enumerate(taken))
            drawn = heapq.nsmallest(self.sample, numbered, key=lambda ranked: ranked[:2])
            taken = (item for _, _, item in sorted(drawn, key=lambda ranked: ranked[1]))
        for count, item in enumerate(taken):
            if self.limit is not None and count >= self.limit:
                return
            yield item

    @cached_property
    def _include(self) -> Sequence[re.Pattern[str]]:
        return [_compiled(glob) for glob in self.include]

    @cached_property
    def _exclude(self) -> Sequence[re.Pattern[str]]:
        return [_compiled(glob) for glob in self.exclude]


def _rank(name: str, seed: int) -> bytes:
    salt = seed.to_bytes(8, "big")
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()


def _compiled(glob: str) -> re.Pattern[str]:
    """Return a glob as a regular expression for whole names. Raises ValueError."""
    pattern = "" if "/" in glob else r"(?:.*/)?"
    at = 0
    glob = glob.removeprefix("/")
    while at < len(glob):
        rest = glob[at:]
        if match := re.match(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]/]*\]|.", rest, re.DOTALL):
            token = match[0]
            pattern += _translated(token)
            at += len(token)
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ValueError(f"{glob!r} is not a glob: {error}") from error


def _translated(token: str) -> str:
    wild = {"**/": r"(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in wild:
        return wild[token]
    if len(token) > 1:  # a set of characters
        negated = token.startswith("[!")
        inner = token[2 if negated else 1 : -1].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
        inner = inner.replace("]", r"\]") if inner.startswith("]") else inner
        return f"(?!/)[{'^' if negated else ''}{inner}]"
    return re.escape(token)
