"""How much memory an image takes while it is prepared: at most 9 bytes a pixel, which is 450 MB for 50 MP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.image_files import encoded
from tests.support.processes import decoding_peak

SIDE = 3500
SLACK_BYTES = 4_000_000  # strips, rows, blocks of the allocator
BYTES_A_PIXEL = {
    "AVIF": 10.5,  # libavif and its binding alone hold 8: the planes, the pixels and a copy of them
    "AVIF with alpha": 13.5,  # and 12 of one with alpha
}


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
        "grey PNG with alpha": (Image.merge("LA", (grey, grey)), "PNG", {"compress_level": 1}),
        "PNG of 16 bits": (wide, "PNG", {"compress_level": 1}),
        "turned JPEG": (rgb, "JPEG", {"exif": turned}),
        "JPEG of CMYK": (rgb.convert("CMYK"), "JPEG", {}),
        "TIFF of 32 bits": (grey.convert("I"), "TIFF", {"compression": "tiff_lzw"}),
        "turned TIFF with alpha": (rgba, "TIFF", {"compression": "tiff_lzw", "exif": turned}),
        "GIF with a clear colour": (grey.convert("P"), "GIF", {"transparency": 3}),
        "AVIF": (rgb, "AVIF", {"speed": 10}),
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
    "TIFF of 32 bits",
    "turned TIFF with alpha",
    "GIF with a clear colour",
    "AVIF",
    "AVIF with alpha",
)


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_takes_a_bounded_memory(variant: str) -> None:
    """Every format and mode, with and without a turn: no third copy of the pixels is ever held."""
    command = [sys.executable, str(Path(decoding_peak.__file__))]
    output = subprocess.run(command, input=large(variant), capture_output=True, check=True, timeout=300).stdout
    assert 0 < int(output) <= BYTES_A_PIXEL.get(variant, 9) * SIDE * SIDE + SLACK_BYTES
