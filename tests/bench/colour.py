"""What colour costs: processor time to decode a photo of 12 megapixels, tagged over untagged."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from tests.bench.throughput import say
from tests.support.colour_files import cicp, encoded, with_chunks
from tests.support.colour_profiles import SPACES, SRGB, matrix_space
from workers.sources.decoding import decode

_SIZE = (4000, 3000)
_ROUNDS = 5
_INPUT = 300  # pixels a side, as the SSD's


def _milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def main() -> None:
    """Measure, and print."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (75, 100, 3), dtype=np.uint8))
    photo = small.resize(_SIZE, Image.Resampling.BICUBIC)
    inks = Image.fromarray(np.asarray(photo.resize((2000, 1500)))).convert("CMYK")
    tags = {name: SPACES[name].profile for name in ("display-p3", "adobe-rgb", "xyb")}
    tags["sRGB"] = matrix_space(SRGB).profile
    files: dict[str, tuple[bytes, bytes]] = {}
    untagged = encoded(photo, "JPEG", quality=90)
    for name, profile in tags.items():
        files[f"JPEG, {name}"] = encoded(photo, "JPEG", quality=90, icc_profile=profile), untagged
    files["JPEG, CMYK of 3 MP"] = (
        encoded(inks, "JPEG", quality=90, icc_profile=SPACES["cmyk"].profile),
        encoded(inks, "JPEG", quality=90),
    )
    plain = encoded(photo, "PNG", compress_level=1)
    for name, chunk in {"cICP of Display P3": cicp(12, 13), "cICP of PQ": cicp(9, 16)}.items():
        files[f"PNG, {name}"] = with_chunks(plain, chunk), plain
    for name, (tagged, other) in files.items():
        for how, needed in {"whole": None, "as for the model": lambda *_: (_INPUT, _INPUT)}.items():
            pairs = [
                (
                    _milliseconds(partial(decode, tagged, 10**8, needed)),
                    _milliseconds(partial(decode, other, 10**8, needed)),
                )
                for _ in range(_ROUNDS)
            ]
            ratios = [first / second for first, second in pairs]
            say(
                f"{name}, decoded {how}: {statistics.median(ratios):.2f} times the untagged file "
                f"({min(ratios):.2f} to {max(ratios):.2f}); {statistics.median(pair[0] for pair in pairs):.0f} ms"
            )


if __name__ == "__main__":
    main()
