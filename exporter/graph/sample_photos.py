"""Photos that a model is tried on: those of a folder, or made-up ones."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from exporter.errors import ExportError
from serving.boxes.preprocess import resize_to_input
from serving.contract import Contract

_MOST_PHOTOS: Final = 8


def sample_photos(contract: Contract, folder: Path | None) -> NDArray[np.uint8]:
    """Return the first photos of a folder, if there is one, and made-up photos; see below."""
    made_up = made_up_photos(contract)
    return np.concatenate([read_photos(contract, folder)[:_MOST_PHOTOS], made_up]) if folder else made_up


def read_photos(contract: Contract, folder: Path) -> NDArray[np.uint8]:
    """Read the photos of a folder, in the order of their names, or the one photo that `folder` is.

    Returns uint8 (M, H, W, 3), RGB, of the contract's input size. Files that Pillow cannot read are skipped. Raises
    ExportError if the folder has no photo.
    """
    images = []
    for path in sorted(folder.glob("*")) if folder.is_dir() else [folder]:
        try:
            with Image.open(path) as opened:
                upright = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow raises any of them
            continue
        images.append(resize_to_input(upright, contract))
    if not images:
        raise ExportError(f"There is no photo in {folder}: name a folder of JPEG or PNG files with --images.")
    return np.stack(images)


def made_up_photos(contract: Contract, count: int = 3) -> NDArray[np.uint8]:
    """Make photos of coloured rectangles on a gradient, with a fixed seed: noise has no edges that a detector finds.

    Returns uint8 (count, H, W, 3), RGB, of the contract's input size.
    """
    height, width = contract.input_height, contract.input_width
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    photos = []
    for number in range(count):
        photo = np.empty((height, width, 3), np.uint8)
        photo[:] = (60 * (number + 1) + 80 * y / height + 40 * x / width)[..., None] % 256
        for _ in range(20):
            top, left = random.integers(0, height), random.integers(0, width)
            part = photo[top : top + random.integers(1, height), left : left + random.integers(1, width)]
            part[:] = random.integers(0, 256, 3)
        photos.append(photo + random.integers(0, 8, photo.shape, np.uint8))
    return np.stack(photos)
