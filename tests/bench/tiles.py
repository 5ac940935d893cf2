"""Tiles: what they find on large photos with known truth, what merging costs, and rows per second through the stack."""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from api.client.client import ShelflineClient
from api.commands.stack.session import local_stack
from api.commands.stack.state import StackState
from serving.boxes.detections import Detections
from serving.boxes.tile_merging import merge
from serving.boxes.tiles import Grid, cut
from serving.description import read_description
from tests.bench.throughput import ROOT, make_photos, say
from tests.support.composites import Boxes, composite, count, shop_cells
from tests.support.real_ssd import InProcess, contract_toml
from workers.sources.decoding import Tiling, prepare

COMPOSITES = ((5, 8), (8, 12))
SCALE = 2.5  # the setting's default
TILINGS = {
    "off": None,
    "2x2": Tiling(Grid(2, 2), 0.2, SCALE),
    "4x4": Tiling(Grid(4, 4), 0.2, SCALE),
    "auto": Tiling(None, 0.2, SCALE),
}
ROUNDS = 6
LARGE = 6  # photos of 8 x 12 cells, each 17 rows with 4 x 4 tiles


def quality(work: Path) -> None:
    """Of composites of the shop photos: what the real SSD finds, by tiles."""
    described = work / "contract.toml"
    described.write_text(contract_toml(score_threshold=0.5))
    ssd = InProcess(read_description(described))
    contract = ssd.description.contract
    for rows, columns in COMPOSITES:
        photo, true = composite(rows, columns, shop_cells())
        out = io.BytesIO()
        photo.save(out, "BMP")
        for name, tiling in TILINGS.items():
            prepared = prepare(out.getvalue(), contract, 10**8, tiling)
            parts = [np.stack(prepared.rows[at : at + 8]) for at in range(0, len(prepared.rows), 8)]
            detections_of_rows = [detections for part in parts for detections in ssd.detect(part)]
            merged = merge(detections_of_rows, prepared.tiles, prepared.height, prepared.width, nms_iou=0.5)
            pixels = merged.boxes * np.array((prepared.height, prepared.width) * 2)
            labels = tuple(contract.label_by_id[int(label)].name for label in merged.classes)
            counts = count(Boxes(pixels.reshape(-1, 4), labels), true)
            say(
                f"{columns} x {rows} shop photos in one, tiles {name} ({len(prepared.rows)} rows): {counts.matched} of "
                f"{counts.true} matched, {counts.duplicates} duplicates, {counts.false} false"
            )


def merging() -> None:
    """64 tiles of 100 boxes each."""
    rng = np.random.default_rng(0)
    tiles = cut(6000, 8000, Grid(8, 8), overlap=0.2, aspect=1.0)
    for classes in (80, 1):
        detections = []
        for _ in tiles:
            start = rng.uniform(0, 0.9, (100, 2))
            boxes = np.concatenate([start, np.minimum(1, start + rng.uniform(0.05, 0.25, (100, 2)))], axis=1)
            scores = np.sort(rng.uniform(0.3, 1, 100))[::-1].astype(np.float32)
            detections.append(Detections(boxes.astype(np.float32), scores, rng.integers(0, classes, 100)))
        took = []
        for _ in range(15):
            began = time.process_time()
            merge(detections, tiles, 6000, 8000, nms_iou=0.5)
            took.append(1000 * (time.process_time() - began))
        say(f"merging 64 tiles of 100 boxes of {classes} classes: {statistics.median(took):.1f} ms of processor time")


def rows_per_second(work: Path) -> None:
    """Rows of large photos in tiles over rows of single photos of a tile's size."""
    large, small = work / "large", work / "small"
    large.mkdir()
    small.mkdir()
    photo: Image.Image = composite(8, 12, shop_cells())[0]
    for number in range(LARGE):
        photo.save(large / f"{number}.jpg", "JPEG", quality=90)
    make_photos(small, 17 * LARGE)
    with (
        local_stack(StackState(work / "var"), ROOT / "models", [work], say) as stack,
        ShelflineClient(stack.url) as client,
    ):

        def seconds(folder: Path, tiles: str) -> float:
            began = time.monotonic()
            *_, job = client.wait(client.submit_folder(str(folder), tiles=tiles).id)
            assert job.counts.succeeded == job.counts.total, job
            return time.monotonic() - began

        seconds(small, "off")  # warm
        ratios = sorted(seconds(small, "off") / seconds(large, "4x4") for _ in range(ROUNDS))
    say(
        f"rows/s of {LARGE} photos of 3840 x 2560 in 4x4 tiles over rows/s of {17 * LARGE} photos of about 350 px: "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def main() -> None:
    """Measure, and print."""
    merging()
    with tempfile.TemporaryDirectory() as temporary:
        quality(Path(temporary))
        rows_per_second(Path(temporary))


if __name__ == "__main__":
    main()
