"""Draw the detections of an image on it."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageDraw, ImageFont

from workers.sources.decoding import decode
from workers.sources.memory.budget import Share, decoding_share

MAX_PIXELS = 12_000_000  # of a drawn picture; larger images are reduced
_BYTES_PER_PIXEL = 12  # of memory: the image, the picture, and its file
_JPEG_QUALITY = 90
Colour = tuple[int, int, int]
_BLACK: Colour = (0, 0, 0)
_WHITE: Colour = (255, 255, 255)
_LINE_PART = 0.004  # of the mean side: 2 pixels at 512 x 512
_TEXT_PART = 0.028  # of the mean side: 14 pixels at 512 x 512
_MIN_TEXT_PIXELS = 10.0


def draw(image: Image.Image, result: Mapping[str, Any]) -> Image.Image:
    """Return a copy of the upright RGB image with the boxes, labels and scores of its result drawn on it.

    `result` is one result of a job: `detections`, best first, each with `label`, `score` and `box` in pixels of the
    upright original. If the image has another size than the result's `width` and `height`, the boxes are scaled to it.
    """
    drawn = image.convert("RGB")  # always a copy
    scale_x = drawn.width / (result.get("width") or drawn.width)
    scale_y = drawn.height / (result.get("height") or drawn.height)
    side = (drawn.width * drawn.height) ** 0.5
    line = max(1, round(side * _LINE_PART))
    font = _font(max(_MIN_TEXT_PIXELS, round(side * _TEXT_PART)))
    pen = ImageDraw.Draw(drawn)
    detections = [
        (detection["label"], detection["score"], _pixels(detection["box"], scale_x, scale_y, drawn.size))
        for detection in reversed(result.get("detections", ()))  # the best are drawn last, on top of the others
    ]
    for label, _, box in detections:
        _outline(pen, box, class_colour(label), line)
    for label, score, box in detections:
        _plate(pen, drawn.size, box, f"{label} {score:.2f}", class_colour(label), font, line)
    return drawn


def drawing_share(
    max_pixels: int, result: Mapping[str, Any], largest: int = MAX_PIXELS
) -> AbstractContextManager[Share]:
    """Give the share of the process's budget under which an image is decoded, drawn on and encoded.

    `largest` is the most pixels that the drawn picture may have.
    """
    pixels = min(largest, int(result["width"]) * int(result["height"]))
    return decoding_share(max_pixels, at_least=_BYTES_PER_PIXEL * pixels)


def drawable(content: bytes, max_pixels: int, result: Mapping[str, Any], share: Share) -> Image.Image:
    """Return the upright RGB image to draw a result on, reduced to MAX_PIXELS if it is larger.

    `share` is what drawing_share gave. Raises ImageDecodeError, ImageTooLargeError, UnsupportedFormatError.
    """
    width, height = int(result["width"]), int(result["height"])
    scale = min(1.0, (MAX_PIXELS / (width * height)) ** 0.5)
    size = max(1, int(width * scale)), max(1, int(height * scale))
    if scale == 1:
        return decode(content, max_pixels, share=share)[0]
    # decode() returns a JPEG at least twice as large as wanted, so ask for half of the size that is needed.
    half = (max(1, (size[0] + 1) // 2), max(1, (size[1] + 1) // 2))
    image, _, _ = decode(content, max_pixels, lambda *_: half, share)
    return image.resize(size, Image.Resampling.BOX)


def save_jpeg(picture: Image.Image, target: Path | BinaryIO) -> None:
    """Write a drawn picture as JPEG; raises OSError."""
    picture.save(target, "JPEG", quality=_JPEG_QUALITY)


@lru_cache(maxsize=1024)
def class_colour(label: str) -> Colour:
    """Return a strong colour for a label, the same in every picture."""
    seed = hashlib.sha256(label.encode()).digest()
    hue, light = int.from_bytes(seed[:2], "big") / 65536, 0.42 + 0.2 * seed[2] / 255
    red, green, blue = colorsys.hls_to_rgb(hue, light, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def text_colour(plate: Colour) -> Colour:
    """Return black or white, whichever contrasts more with the plate (WCAG 2.2 relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in plate)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _BLACK if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else _WHITE


@lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _pixels(box: Mapping[str, float], scale_x: float, scale_y: float, size: tuple[int, int]) -> Sequence[int]:
    """Return (left, top, right, bottom) in whole pixels of the picture, inside it and in order."""
    width, height = size
    left, right = (min(max(round(box[name] * scale_x), 0), width - 1) for name in ("xmin", "xmax"))
    top, bottom = (min(max(round(box[name] * scale_y), 0), height - 1) for name in ("ymin", "ymax"))
    return left, top, max(left, right), max(top, bottom)


def _outline(pen: ImageDraw.ImageDraw, box: Sequence[int], colour: Colour, line: int) -> None:
    left, top, right, bottom = box
    if line > 1:  # a thin dark rim keeps the colour apart from a background like it
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_BLACK, width=1)
    pen.rectangle((left, top, right, bottom), outline=colour, width=line)


def _plate(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    box: Sequence[int],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
) -> None:
    """Draw a filled plate with the text: above the box if there is room, else inside it, always inside the picture."""
    pad = max(1, line)
    text_left, text_top, text_right, text_bottom = pen.textbbox((0, 0), text, font=font)
    plate_width = int(text_right - text_left) + 2 * pad
    plate_height = int(text_bottom - text_top) + 2 * pad
    left = max(0, min(box[0], size[0] - plate_width))
    top = box[1] - plate_height if box[1] >= plate_height else box[1]
    top = max(0, min(top, size[1] - plate_height))
    pen.rectangle((left, top, left + plate_width - 1, top + plate_height - 1), fill=colour)
    pen.text((left + pad - text_left, top + pad - text_top), text, fill=text_colour(colour), font=font)
