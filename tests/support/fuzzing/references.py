"""What strict decoders that Shelfline does not use say of an image file.

imagecodecs calls libpng, giflib, libwebp, libtiff and libavif by code of its own, built apart from Pillow's; simplejpeg
calls libjpeg-turbo so that each of its warnings (a scan that ends early, a bad code) is an error. Not chosen:
opencv-python-headless gives half of a picture without an error; tifffile and pypng read one format each, and tifffile
needs imagecodecs for LZW; Pillow itself is what is tested. BMP and PPM have no reference: imagecodecs' own reader of
BMP crashes on damaged files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import simplejpeg
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def strict_pixels(content: bytes) -> Pixels | None:
    """Return the pixels of the first picture of a file, RGB on white, uint8 (H, W, 3); None if it is refused."""
    decode = next((decode for start, decode in _DECODERS.items() if content.startswith(start)), None)
    if content[4:12] in {b"ftypavif", b"ftypavis"}:
        decode = imagecodecs.avif_decode
    try:
        return None if decode is None else _on_white(np.asarray(decode(content)))
    except Exception:  # noqa: BLE001  each codec has an error of its own, and raises others too
        return None


def _jpeg(content: bytes) -> Pixels:
    _, _, colours, _ = simplejpeg.decode_jpeg_header(content, strict=True)
    if colours in {"CMYK", "YCCK"}:
        inks = simplejpeg.decode_jpeg(content, "CMYK").astype(int)  # inverted, as Adobe's are
        return np.asarray((inks[..., :3] * inks[..., 3:] + 127) // 255, np.uint8)
    return np.asarray(simplejpeg.decode_jpeg(content, "RGB"))


def _on_white(values: NDArray[Any]) -> Pixels:
    """Return samples (H, W), (H, W, 1 to 4) or several such pictures, of 8 or 16 bits, as RGB on white."""
    samples: NDArray[np.int_] = values.astype(int) * (255 if values.dtype == bool else 1)
    if values.dtype.itemsize == 2:
        samples >>= 8
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.ndim == 4:
        samples = samples[0]
    channels = samples.shape[2]
    colours = samples[..., :3] if channels > 2 else samples[..., :1].repeat(3, axis=-1)
    if channels in {2, 4}:
        alpha = samples[..., -1:]
        colours = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return np.asarray(colours, np.uint8)


_DECODERS: dict[bytes, Callable[[bytes], NDArray[Any]]] = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG": imagecodecs.png_decode,
    b"GIF87a": lambda content: imagecodecs.gif_decode(content, 0),
    b"GIF89a": lambda content: imagecodecs.gif_decode(content, 0),
    b"RIFF": imagecodecs.webp_decode,
    b"II*\0": imagecodecs.tiff_decode,
    b"MM\0*": imagecodecs.tiff_decode,
}
