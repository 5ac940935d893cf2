"""Valid files of every format with random damage, beside decoders that Shelfline does not use.

`make test` tries a few hundred files, `make test-all` some thousands, the same each time. To look for faults that are
not known yet, set SHELFLINE_TEST_FUZZ to a number: as many files of each variant are tried, others each time.
hypothesis makes them, not atheris: that follows branches of Python code, and what is at risk here is C.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from tests.support.fuzzing.mutations import damaged
from tests.support.fuzzing.references import strict_pixels
from tests.support.fuzzing.variants import valid_files
from workers.errors import ImageError, UnsupportedFormatError
from workers.sources.decoding import decode

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged metadata
FILES = valid_files()
MAX_PIXELS = 100_000
MAX_BYTES = 2_000_000_000  # of address space while a file of some kB is decoded; threads of libavif reserve most of it
MAX_SECONDS = 20  # of processor time for one file, far more than any needs


@pytest.mark.parametrize("variant", FILES)
def test_the_reference_agrees_on_the_valid_file(variant: str) -> None:
    """Bit for bit, so that damage alone makes a difference below."""
    pixels = accepted(FILES[variant])
    assert pixels is not None
    assert not lost_rows(pixels, FILES[variant])
    if not variant.startswith(("BMP", "PPM")):  # which the reference does not know
        reference = strict_pixels(FILES[variant])
        assert reference is not None
        assert np.array_equal(pixels, reference)


@pytest.mark.parametrize("variant", FILES)
def test_damaged_files(variant: str) -> None:
    """No error but our own, no row that was not decoded, no other pixels than the reference's."""
    _try(variant, 50)


@pytest.mark.process
@pytest.mark.parametrize("variant", FILES)
def test_many_damaged_files(variant: str) -> None:
    """The same, longer."""
    examples = os.environ.get("SHELFLINE_TEST_FUZZ")
    _try(variant, int(examples or 100), derandomize=not examples)


def _try(variant: str, examples: int, *, derandomize: bool = True) -> None:
    intact = accepted(FILES[variant])
    assert intact is not None

    @settings(max_examples=examples, derandomize=derandomize, database=None)
    @given(damaged(FILES[variant]))
    def holds(content: bytes) -> None:
        _check(content, intact)

    holds()


def _check(content: bytes, intact: NDArray[np.uint8]) -> None:
    pixels, reference = accepted(content), strict_pixels(content)
    if pixels is None:
        # What is damaged beside the pixels is shown. If pixels are damaged, we may see it where the reference does not.
        refused = reference is None or not np.array_equal(reference, intact)
        assert refused or _is_unsupported(content)
    elif reference is None:
        # Repaired, or of a kind that the reference does not know, or damaged so that no decoder of ours can tell.
        assert np.array_equal(pixels, intact) or not lost_rows(pixels, content)
    else:
        assert reference.shape == pixels.shape
        seen = (pixels < 255).any(axis=-1)  # white may be what a file has no colour for; the reference differs there
        differ = np.abs(pixels[seen].astype(int) - reference[seen]).max(axis=-1, initial=0) > 1
        # libwebp takes the last bits of a lossless picture that is cut short from what stands behind it.
        assert differ.sum() <= (1 if content.startswith(b"RIFF") else 0)


def accepted(content: bytes) -> NDArray[np.uint8] | None:
    """Return the pixels of a file, None if it is refused, after a bounded time and in a bounded memory."""
    begin = time.process_time()
    with _bounded_memory():
        try:
            return np.asarray(decode(content, MAX_PIXELS)[0])
        except ImageError as error:
            refused = str(error)
        finally:
            assert time.process_time() - begin < MAX_SECONDS
    assert "memory" not in refused
    return None


def _is_unsupported(content: bytes) -> bool:
    """Return whether a file is refused for what its header says that it is."""
    try:
        decode(content, MAX_PIXELS)
    except UnsupportedFormatError:
        return True
    except ImageError:
        return False
    return False


def lost_rows(pixels: NDArray[np.uint8], content: bytes) -> int:
    """Return how many rows are of one value, which a decoder leaves where it has no data.

    In a JPEG that value is middle grey; one whose tables are damaged has data for all rows, and may show any of them in
    another. In a GIF the margin of a frame is white. BMP and PPM store each pixel as it is, whatever it is.
    """
    flat = pixels.reshape(len(pixels), -1).astype(int)
    lost = np.ptp(flat, axis=1) <= 2
    if content.startswith(b"\xff\xd8"):
        lost &= np.abs(flat[:, 0] - 128) <= 2
    elif content.startswith(b"GIF"):
        lost &= flat[:, 0] < 255
    elif content.startswith((b"BM", b"P")):
        lost[:] = False
    return int(lost.sum())


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let this process get no more than MAX_BYTES of address space."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
