"""Prepare the image file on the input in several threads at once, and write what that took, in bytes.

It writes three numbers: by how much the memory of this process grew at most, how much was taken of the budget at once,
and by how much the memory is larger afterwards. The arguments are how many threads prepare the file, and the most
pixels that it may have.
"""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[3]))

from serving.contract import Contract, Label
from workers.sources.decoding import FORMATS, prepare
from workers.sources.memory import budget
from workers.sources.memory.allocator import return_large_blocks


def memory_of(field: str) -> int:
    """Return VmHWM, the most memory that this process ever had, which `ru_maxrss` mixes with its parent's, or VmRSS."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field))) * 1024


class NotedBudget(budget.Budget):
    """A budget that notes the most bytes that were in use."""

    most = 0

    def take(self, count: int, limit: int) -> None:
        """Take bytes as ever."""
        super().take(count, limit)
        self.most = max(self.most, self.used)


if __name__ == "__main__":
    threads, max_pixels = map(int, sys.argv[1:])
    return_large_blocks()
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
    budget._of_this_process = noted = NotedBudget()  # type: ignore[misc]
    with ThreadPoolExecutor(threads) as pool:
        before, peak_before = memory_of("VmRSS"), memory_of("VmHWM")
        for future in [pool.submit(prepare, content, contract, max_pixels) for _ in range(threads)]:
            future.result()
        peak, after = memory_of("VmHWM"), memory_of("VmRSS")
    sys.stdout.write(f"{peak - peak_before} {noted.most} {after - before}\n")
