"""Write by how many bytes the memory of this process grows at most while it prepares the image file on its input."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[3]))

from serving.contract import Contract, Label
from workers.sources.decoding import FORMATS, prepare


def peak_bytes() -> int:
    """Return the most memory this process ever had, which `ru_maxrss` mixes with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    content = sys.stdin.buffer.read()
    contract = Contract(
        name="peak",
        input_height=300,
        input_width=300,
        score_threshold=0.5,
        nms_iou=0.5,
        max_detections=10,
        labels=(Label(id=1, name="thing"),),
        weights_sha256="0" * 64,
    )
    for kind in FORMATS:  # what readers import is not counted
        small = io.BytesIO()
        Image.new("RGB", (9, 9)).save(small, kind)
        prepare(small.getvalue(), contract, 1000)
    before = peak_bytes()
    prepare(content, contract, 50_000_000)
    sys.stdout.write(f"{peak_bytes() - before}\n")
