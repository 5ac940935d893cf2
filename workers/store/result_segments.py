"""Results of jobs, in segments of consecutive images: open segments in Redis, sealed ones in the blob store."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress

from workers.errors import ImageMissingError, JobGoneError, ManifestLostError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated
from workers.jobs.index_set import IndexSet, Range
from workers.jobs.job import ImageSource, Job, JobState
from workers.jobs.result import given_up
from workers.store.manifests import read_window

SEGMENT = 1000  # images; also in lib/constants.lua
_PAGE = 100  # results per read from Redis
_MAX_BYTES = 1 << 30  # of a sealed segment
_MAX_LOOKS = 5000  # items that one script may examine; Redis does nothing else meanwhile


class Segments:
    """The segments of jobs. A sealed segment never changes.

    Every method raises StoreUnavailableError if Redis or the blob store is down.
    """

    def __init__(self, link: RedisLink, blobs: BlobStore) -> None:
        self._link = link
        self._blobs = blobs

    def read(self, job_id: str, start: int, end: int, total: int) -> Iterator[str]:
        """Yield the results of [`start`, `end`) up to the first image that has none.

        Raises JobGoneError if the job is deleted.
        """
        index = start
        while index < end:
            number = index // SEGMENT
            page_end = min(end, index + _PAGE, (number + 1) * SEGMENT)
            with translated():
                page = self._link.client.hmget(_open_key(job_id, number), [str(i) for i in range(index, page_end)])
            if page[0] is None and self._is_sealed(job_id, number, total):
                page = self._sealed(job_id, number)[index - number * SEGMENT : end - number * SEGMENT]
            for result in page:
                if result is None:
                    return
                yield result
            index += len(page)

    def finished(self, job_id: str, indexes: IndexSet, *, first: bool = False) -> IndexSet:
        """Return which of these images have their result. A complete segment costs the same whatever its size.

        With `first`, stop at the first image that has none. Raises JobGoneError if the job is deleted.
        """
        finished: list[Range] = []
        while indexes.ranges:
            flat = [edge for edges in indexes.ranges for edge in edges]
            answer = self._link.run("results/settled_ranges", job_id, "first" if first else "all", _MAX_LOOKS, *flat)
            if answer is None:
                raise JobGoneError(f"The job {job_id} was deleted, with its results.")
            edges, stopped_at = answer
            finished += zip(edges[::2], edges[1::2], strict=True)
            if stopped_at < 0:
                break
            indexes = IndexSet.of((max(start, stopped_at), end) for start, end in indexes.ranges)
        return IndexSet.of(finished)

    def seal(self, job_id: str, number: int) -> None:
        """Move a full segment to the blob store. Does nothing if it is sealed, or the job has ended or was deleted."""
        results = self._open(job_id, number)
        if results:
            self._seal(job_id, number, results)

    def close(self, job: Job) -> None:
        """Write the remaining results of a job that is finishing.

        Images that were given up get their results. If the job has more than one segment, all segments are sealed.
        """
        offset = 0
        for number, first in enumerate(range(0, job.total, SEGMENT)):
            sources: list[ImageSource] = []
            if job.given_up:
                sources, offset = self._sources(job, first, offset)
            results = self._open(job.id, number)
            if results is None:
                continue
            missing = {
                str(index): given_up(index, source, expired=job.ending == JobState.EXPIRED)
                for index, source in enumerate(sources, first)
                if str(index) not in results
            }
            if job.total > SEGMENT:
                self._seal(job.id, number, results | missing)
            elif missing:
                self._link.run("results/fill_given_up", job.id, *(part for line in missing.items() for part in line))

    def _sources(self, job: Job, first: int, offset: int) -> tuple[list[ImageSource], int]:
        """Return the images of a segment, and the offset after them; numbers as names where the manifest is lost."""
        count, sources = min(SEGMENT, job.total - first), list[ImageSource]()
        with suppress(ManifestLostError):
            sources, offset = read_window(self._blobs, job.manifest, offset, count)
        unknown = range(first + len(sources), first + count)
        return sources + [ImageSource(f"image {index}", "") for index in unknown], offset

    def _open(self, job_id: str, number: int) -> dict[str, str] | None:
        """Return the results of an open segment; None if it is sealed, or the job has ended or was deleted."""
        with translated(), self._link.client.pipeline() as together:  # one atomic read
            together.hget(f"sl:job:{job_id}", "state")
            together.hexists(f"sl:job:{job_id}:items", f"sealed:{number}")
            together.hgetall(_open_key(job_id, number))
            state, sealed, results = together.execute()
        return None if state is None or JobState(state).terminal or sealed else dict(results)

    def _seal(self, job_id: str, number: int, results: Mapping[str, str]) -> None:
        lines = "".join(f"{results[index]}\n" for index in sorted(results, key=int))
        content = gzip.compress(lines.encode("utf-8", "surrogatepass"), compresslevel=6, mtime=0)
        self._blobs.write(_sealed_path(job_id, number), io.BytesIO(content))
        self._link.run("results/seal_segment", job_id, number)

    def _sealed(self, job_id: str, number: int) -> list[str]:
        try:
            content = self._blobs.read(_sealed_path(job_id, number), _MAX_BYTES)
        except ImageMissingError as error:
            raise JobGoneError(f"The job {job_id} was deleted, with its results.") from error
        return gzip.decompress(content).decode("utf-8", "surrogatepass").split("\n")[:-1]

    def _is_sealed(self, job_id: str, number: int, total: int) -> bool:
        with translated(), self._link.client.pipeline() as together:
            together.hexists(f"sl:job:{job_id}:items", f"sealed:{number}")
            together.hget(f"sl:job:{job_id}", "state")
            sealed, state = together.execute()
        if state is None:
            raise JobGoneError(f"The job {job_id} was deleted, with its results.")
        return total > SEGMENT and (bool(sealed) or JobState(state).terminal)


def _open_key(job_id: str, number: int) -> str:
    return f"sl:job:{job_id}:seg:{number}"


def _sealed_path(job_id: str, number: int) -> str:
    return f"jobs/{job_id}/results/{number:06}.jsonl.gz"
