"""Write a job's output files: streamed by a duty before the job ends, each file whole or not at all."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO, cast

from serving.errors import ShelflineError
from workers.errors import StoreUnavailableError
from workers.io.blobs import BlobStore
from workers.io.locations import check_output
from workers.jobs.job import Job
from workers.jobs.output import Output
from workers.queue.duty_leases import DutyLease, LeaseLostError
from workers.results.formats.parquet import write_parquet
from workers.results.formats.registry import FORMATS, FormatName
from workers.results.formats.source import ResultSource
from workers.results.labels import Labels
from workers.results.pictures import Put, write_pictures
from workers.results.summary import Summary
from workers.settings import Settings
from workers.store import result_segments
from workers.store.catalog import Catalog
from workers.store.result_segments import Segments

_IN_MEMORY = 1 << 20  # bytes; a larger file goes to the disk


class OutputError(Exception):
    """Raised when a job's output cannot be written for now; the message is for the job's caller."""


class OutputWriter:
    """Write the output files of jobs. Writing again writes the same files."""

    def __init__(self, segments: Segments, catalog: Catalog, blobs: BlobStore, settings: Settings) -> None:
        self._segments = segments
        self._catalog = catalog
        self._blobs = blobs
        self._settings = settings

    def write(self, job: Job, output: Output, lease: DutyLease) -> None:
        """Write all output files of a job whose images all have their results.

        Raises OutputError, StoreUnavailableError, LeaseLostError.
        """
        try:
            check_output(output, self._settings)  # a folder may since have become a link to a place that is not allowed
            files = BlobStore(output.folder(job.id))
        except Exception as error:
            raise OutputError(f"The output cannot be opened: {_first_line(error)}.") from error
        put = partial(_put, files, lease)

        def lines() -> Iterator[str]:
            for line in self._segments.read(job.id, 0, job.total, job.total):
                lease.renew()
                yield line

        summary = Summary()
        for number, segment in enumerate(_segments(lines())):
            for line in segment:
                summary.add(line)
            text = "".join(f"{line}\n" for line in segment).encode("utf-8", "surrogatepass")
            put(f"results/{number:06}.jsonl.gz", io.BytesIO(gzip.compress(text, 6, mtime=0)))
        labels = Labels(self._catalog.contracts(job.options.model, job.model_versions), job.options.min_score)
        for name in output.formats:
            _write_format(name, ResultSource(job.id, lines, labels), put)
        if output.annotate:
            write_pictures(job, output.annotate, lines(), put, blobs=self._blobs, settings=self._settings)
        document = json.dumps(summary.document(job), ensure_ascii=False, indent=1) + "\n"
        put("summary.json", io.BytesIO(document.encode()))  # last: if it is there, so are the others


def _put(files: BlobStore, lease: DutyLease, path: str, content: BinaryIO) -> None:
    lease.renew()
    try:
        files.write(path, content)
    except StoreUnavailableError as error:
        if not isinstance(error.__cause__, OSError):  # reading the results failed, not writing the output
            raise
        raise OutputError(f"{path} cannot be written: {_first_line(error.__cause__)}.") from error
    except (ShelflineError, LeaseLostError):  # from reading the results
        raise
    except Exception as error:  # each store's library has its own errors
        raise OutputError(f"{path} cannot be written: {_first_line(error)}.") from error


def _segments(lines: Iterator[str]) -> Iterator[list[str]]:
    while segment := list(itertools.islice(lines, result_segments.SEGMENT)):
        yield segment


def _write_format(name: str, source: ResultSource, put: Put) -> None:
    if name == "parquet":
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:  # not streamed, since Parquet is read from its end
            write_parquet(source, cast("BinaryIO", file))
            file.seek(0)
            put("results.parquet", cast("BinaryIO", file))
        return
    result_format = FORMATS[FormatName(name)]
    put(f"results{result_format.suffix}", cast("BinaryIO", _PiecesFile(result_format.write(source))))


class _PiecesFile:
    """A file that is read once, made of pieces of text in UTF-8."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, max_bytes: int) -> bytes:
        """Return up to `max_bytes` bytes; b"" at the end."""
        chunks, size = [self._left], len(self._left)
        while size < max_bytes and (piece := next(self._pieces, None)) is not None:
            chunks.append(piece.encode("utf-8", "surrogatepass"))
            size += len(chunks[-1])
        content = b"".join(chunks)
        self._left = content[max_bytes:]
        return content[:max_bytes]


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
