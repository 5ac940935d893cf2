"""How much memory images take while they are prepared: what they take of the budget, which is never exceeded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.colour_profiles import SPACES
from tests.support.depth_files import tiff
from tests.support.image_files import deep_avif, encoded
from tests.support.processes import decoding_peak
from workers.sources.memory.budget import budget_bytes

SIDE = 3500
PROFILE = SPACES["grey-gamma-1.8"].profile
SLACK_BYTES = 10_000_000  # strips, rows, what malloc keeps for the thread
KEPT_BYTES = 10_000_000  # of each thread, for the next small image


def large(variant: str) -> bytes:
    """Return the file of a large image."""
    grey = Image.radial_gradient("L").resize((SIDE, SIDE))
    rgb = Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_90), grey))
    rgba = Image.merge("RGBA", (*rgb.split(), grey))
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    files: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "flat WebP with alpha": (Image.new("RGBA", rgb.size, (1, 2, 3, 4)), "WEBP", {"lossless": True, "method": 0}),
        "WebP with alpha": (rgba, "WEBP", {"method": 0}),
        "animated WebP": (rgba, "WEBP", {"method": 0, "save_all": True, "append_images": [rgb]}),
        "WebP": (rgb, "WEBP", {"method": 0}),
        "turned PNG with alpha": (rgba, "PNG", {"compress_level": 1, "exif": turned}),
        "grey PNG with alpha": (Image.merge("LA", (grey, grey)), "PNG", {"compress_level": 1, "icc_profile": PROFILE}),
        "PNG of 16 bits": (wide, "PNG", {"compress_level": 1}),
        "turned JPEG": (rgb, "JPEG", {"exif": turned}),
        "JPEG of CMYK": (rgb.convert("CMYK"), "JPEG", {}),
        "TIFF of 32 bits": (grey.convert("I"), "TIFF", {"compression": "tiff_lzw"}),
        "turned TIFF with alpha": (rgba, "TIFF", {"compression": "tiff_lzw", "exif": turned}),
        "GIF with a clear colour": (grey.convert("P"), "GIF", {"transparency": 3}),
        "JPEG of CMYK, progressive": (rgb.convert("CMYK"), "JPEG", {"progressive": True}),
        "JPEG, progressive": (rgb, "JPEG", {"progressive": True, "subsampling": "4:4:4"}),
        "AVIF": (rgb, "AVIF", {"speed": 10}),
        "AVIF, 4:4:4": (rgb, "AVIF", {"speed": 10, "subsampling": "4:4:4"}),
        "AVIF with alpha": (rgba, "AVIF", {"speed": 10}),
    }
    image, kind, options = files[variant]
    return encoded(image, kind, **options)


VARIANTS = (
    "flat WebP with alpha",
    "WebP with alpha",
    "animated WebP",
    "WebP",
    "turned PNG with alpha",
    "grey PNG with alpha",
    "PNG of 16 bits",
    "turned JPEG",
    "JPEG of CMYK",
    "JPEG of CMYK, progressive",
    "JPEG, progressive",
    "TIFF of 32 bits",
    "turned TIFF with alpha",
    "GIF with a clear colour",
    "AVIF",
    "AVIF, 4:4:4",
    "AVIF with alpha",
)


def measured(content: bytes, threads: int = 1, max_pixels: int = SIDE * SIDE) -> tuple[int, int, int]:
    """Return, in bytes, the growth of a process at its peak, the most that it took of its budget, and what it keeps."""
    command = [sys.executable, str(Path(decoding_peak.__file__)), str(threads), str(max_pixels)]
    output = subprocess.run(command, input=content, capture_output=True, check=True, timeout=300).stdout
    growth, taken, kept = map(int, output.split())
    return growth, taken, kept


pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"),
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_takes_what_it_has_taken_of_the_budget(variant: str) -> None:
    """Every format and mode, with and without a turn: 9 bytes a pixel, 10 for AVIF."""
    growth, taken, _ = measured(large(variant))
    assert 0 < growth <= taken + SLACK_BYTES
    assert taken <= (10 if variant.startswith("AVIF") else 9) * SIDE * SIDE


@pytest.mark.parametrize(
    ("variant", "bytes_per_pixel"), [("AVIF of 10 bits", 14), ("AVIF of 12 bits with alpha", 18), ("TIFF", 14)]
)
def test_a_deep_image_takes_more(variant: str, bytes_per_pixel: int) -> None:
    """Planes of two bytes a sample and a copy of one; a strip that is the whole image, which is decoded twice."""
    if variant == "TIFF":
        content = tiff(np.full((SIDE, SIDE, 3), 1000), compressed=True)
    else:
        content = deep_avif(SIDE, 12, 4) if "alpha" in variant else deep_avif(SIDE, 10, 3)
    growth, taken, _ = measured(content, max_pixels=2 * SIDE * SIDE)
    assert 0 < growth <= taken + SLACK_BYTES
    assert taken == bytes_per_pixel * SIDE * SIDE


@pytest.mark.parametrize("variant", ["flat WebP with alpha", "JPEG of CMYK, progressive", "turned PNG with alpha"])
def test_images_together_stay_within_the_budget(variant: str) -> None:
    """Six threads with an image of the largest size each: they take turns, and the memory returns afterwards."""
    growth, taken, kept = measured(large(variant), threads=6)
    assert 0 < growth <= taken + 6 * KEPT_BYTES
    assert taken <= budget_bytes(SIDE * SIDE)
    assert kept <= 6 * KEPT_BYTES
