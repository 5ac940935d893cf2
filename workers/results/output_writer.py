"""Write a job's output files: streamed by a duty before the job ends, each file whole or not at all."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
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
from workers.results.pictures import Pictures
from workers.results.summary import Summary
from workers.settings import Settings
from workers.store import result_segments as segments
from workers.store.catalog import Catalog
from workers.store.result_segments import Segments

_IN_MEMORY = 1 << 20


class OutputError(Exception):
    """Raised when a job's output cannot be written for now; the message is for the job's caller."""


class OutputWriter:
    """Writes the output files of jobs. Writing again writes the same files."""

    def __init__(self, segments: Segments, catalog: Catalog, pictures: Pictures, settings: Settings) -> None:
        self._segments = segments
        self._catalog = catalog
        self._pictures = pictures
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
        for number, part in enumerate(_parts(lines())):
            for line in part:
                summary.add(line)
            text = "".join(f"{line}\n" for line in part).encode("utf-8", "surrogatepass")
            put(f"results/{number:06}.jsonl.gz", io.BytesIO(gzip.compress(text, 6, mtime=0)))
        labels = Labels(self._catalog.contracts(job.options.model, job.model_versions), job.options.min_score)
        for name in output.formats:
            _write_format(name, ResultSource(job.id, lines, labels), put)
        if output.annotate:
            self._pictures.draw(job, output.annotate, lines(), put)
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


def _parts(lines: Iterator[str]) -> Iterator[list[str]]:
    while part := list(itertools.islice(lines, segments.SEGMENT)):
        yield part


def _write_format(name: str, source: ResultSource, put: Callable[[str, BinaryIO], None]) -> None:
    if name == "parquet":
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as whole:  # Parquet is read from its end
            write_parquet(source, cast("BinaryIO", whole))
            whole.seek(0)
            put("results.parquet", cast("BinaryIO", whole))
        return
    form = FORMATS[FormatName(name)]
    put(f"results{form.suffix}", cast("BinaryIO", Pieces(form.write(source))))


class Pieces:
    """Pieces of text as a file that can be read once, in UTF-8."""

    def __init__(self, pieces: Iterable[str]) -> None:
        self._pieces = iter(pieces)
        self._left = b""

    def read(self, most: int) -> bytes:
        """Return up to `most` bytes; b"" at the end."""
        gathered, size = [self._left], len(self._left)
        while size < most and (piece := next(self._pieces, None)) is not None:
            gathered.append(piece.encode("utf-8", "surrogatepass"))
            size += len(gathered[-1])
        whole = b"".join(gathered)
        self._left = whole[most:]
        return whole[:most]


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
