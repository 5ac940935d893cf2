"""Locations: fsspec URLs of images and outputs, allowed only under the prefixes of a setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workers.errors import OutputNotAllowedError, OutputUnusableError, SourceNotAllowedError, SourceUnreadableError
from workers.io.file_systems import open_file_system
from workers.io.names import control_in, count_skipped, is_image_name, is_left_out
from workers.jobs.output import Output
from workers.settings import Settings

_NOTHING = "There is nothing at the location."


def allowed_location(url: str, prefixes: tuple[str, ...]) -> str:
    """Return the location, without a `/` at its end, if jobs may read it. Raises SourceNotAllowedError.

    It is compared as text, by whole path segments. Whatever fsspec or a store might read as another place (chained
    URLs, `..`) is refused.
    """
    if not prefixes:
        raise SourceNotAllowedError("This server reads no other stores: set SHELFLINE_SOURCE_PREFIXES.")
    if ambiguity := _ambiguity_of(url):
        raise SourceNotAllowedError(f"The location has {ambiguity}: rename the file or folder.")
    if not is_under(url, prefixes):
        raise SourceNotAllowedError("The location is not under an allowed prefix: see SHELFLINE_SOURCE_PREFIXES.")
    return url.rstrip("/")


def is_under(url: str, prefixes: tuple[str, ...]) -> bool:
    """Return whether a location lies under a prefix, as text, and cannot be read as another place."""
    under = any(url.rstrip("/") == prefix or url.startswith(f"{prefix}/") for prefix in prefixes)
    return under and not _ambiguity_of(url)


def _ambiguity_of(url: str) -> str:
    """Return what fsspec or a store might read as another place, '' if there is nothing."""
    if control := control_in(url):
        return f"the control character {control}"
    if "::" in url:
        return "`::`, which leads to another store"
    return "" if {"..", "."}.isdisjoint(url.split("/")) else "a segment `.` or `..`"


def read_location(url: str, prefixes: tuple[str, ...], max_bytes: int, missing: str) -> bytes:
    """Return up to `max_bytes` bytes of a file of another store. `missing` is the message if there is no such file.

    Raises SourceNotAllowedError, SourceUnreadableError.
    """
    files, path = _files(allowed_location(url, prefixes))
    with _translated(url, "read", missing), files.open(path, "rb") as opened:
        content: bytes = opened.read(max_bytes)
    return content


@dataclass(frozen=True)
class FoundObject:
    """A file of another store: path below the location, URL, size in bytes and mtime in seconds since the epoch.

    Size and mtime are None if the store does not tell them.
    """

    name: str
    url: str
    size: int | None
    mtime: float | None


def check_location(url: str, prefixes: tuple[str, ...]) -> int | None:
    """Check that something is at a location; return a file's size in bytes, None if the store does not tell it.

    Raises SourceNotAllowedError, or SourceUnreadableError if nothing is there or it cannot be read.
    """
    files, path = _files(allowed_location(url, prefixes))
    with _translated(url, "read", _NOTHING):
        size = files.info(path).get("size")
    return None if size is None else int(size)


def list_images(url: str, prefixes: tuple[str, ...], skipped: dict[str, int] | None = None) -> Iterator[FoundObject]:
    """Yield the image files below a location, folder by folder, in a stable order.

    Other files are counted in `skipped` by suffix, but for folders that are left out as `walk_images` leaves them out.
    Raises SourceNotAllowedError, SourceUnreadableError.
    """
    root = allowed_location(url, prefixes)
    files, path = _files(root)
    top = path.rstrip("/")
    with _translated(url, "listed", _NOTHING):
        for folder, folders, names in files.walk(path, on_error="raise", detail=True):
            visible = {name: folders[name] for name in sorted(folders) if not is_left_out(name)}
            folders.clear()
            folders.update(visible)  # the walk goes on with these folders, in this order
            below = folder.rstrip("/")[len(top) :].strip("/")
            for name in sorted(names):
                if is_image_name(name):
                    relative = f"{below}/{name}" if below else name
                    yield FoundObject(relative, f"{root}/{relative}", names[name].get("size"), _mtime(names[name]))
                elif skipped is not None:
                    count_skipped(skipped, name)


def _mtime(info: Mapping[str, Any]) -> float | None:
    """Return the modification time in seconds since the epoch; each store has its own name for it."""
    written_at = next((info[name] for name in ("LastModified", "mtime", "updated", "created") if info.get(name)), None)
    if isinstance(written_at, datetime):
        return written_at.timestamp()
    return float(written_at) if isinstance(written_at, int | float) else None


def _files(url: str) -> tuple[Any, str]:
    try:
        files, path = open_file_system(url)
    except Exception as error:  # unknown protocol, missing package, wrong credentials
        raise _unreadable(url, "opened", error) from error
    return files, path


@contextmanager
def _translated(url: str, action: str, missing: str) -> Iterator[None]:
    """Raise SourceUnreadableError for every error of the store; `missing` is the message if nothing is there."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceUnreadableError(missing) from error
    except Exception as error:  # each store's library has its own errors
        raise _unreadable(url, action, error) from error


def _unreadable(url: str, action: str, error: Exception) -> SourceUnreadableError:
    return SourceUnreadableError(f"The store {url.partition('://')[0]}:// cannot be {action}: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def check_output(output: Output, settings: Settings) -> None:
    """Check that this server may write a job's output. Nothing is written yet.

    Raises OutputNotAllowedError, or OutputUnusableError if the place cannot be opened or a format cannot be written.
    """
    prefixes = settings.output_prefixes
    if not prefixes:
        raise OutputNotAllowedError("This server writes no results elsewhere: set SHELFLINE_OUTPUT_PREFIXES.")
    if ambiguity := _ambiguity_of(output.url):
        raise OutputNotAllowedError(f"output_url has {ambiguity}: write it without.")
    if not is_under(output.url, prefixes) or not _stays_under(output.url, prefixes):
        raise OutputNotAllowedError("output_url is not under an allowed prefix: see SHELFLINE_OUTPUT_PREFIXES.")
    if "parquet" in output.formats and find_spec("pyarrow") is None:
        raise OutputUnusableError("This server writes no Parquet: install the package pyarrow there.")
    try:
        open_file_system(output.url)
    except Exception as error:  # unknown protocol, missing package
        raise OutputUnusableError(f"output_url cannot be opened: {str(error)[:200]}.") from error


def _stays_under(url: str, prefixes: tuple[str, ...]) -> bool:
    """Return whether a folder of the server, its links resolved, lies under a prefix; always True for a URL."""
    if "://" in url:
        return True
    try:
        path = Path(url).resolve()
    except (OSError, RuntimeError):  # a name too long, links that lead in a circle
        return False
    return any(path.is_relative_to(Path(prefix).resolve()) for prefix in prefixes if "://" not in prefix)
