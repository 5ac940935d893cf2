"""`shelfline detect` on many photos, killed with -9 again and again: complete, and no photo is done twice."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.throughput import say
from tests.support.processes.detect_command import Command
from tests.support.servers.redis_server import RedisServer
from tests.support.stacks.front_stack import front_stack

PHOTOS = int(os.environ.get("SHELFLINE_BENCH_IMAGES", "20000"))
LIVES = (1.5, 9.0)  # seconds that a command has, at random


def killed(redis_server: RedisServer, folder: Path, *how: str) -> None:
    """Run the command until it is done, on a model that answers at once."""
    folder.mkdir()
    chance = random.Random(7)  # noqa: S311  no secret
    with front_stack(redis_server, folder) as stack:
        command = Command(folder, stack)
        photos = command.photos(PHOTOS, b"")
        began, kills = time.monotonic(), 0
        while True:
            process = command.start(photos, "--annotate", "0", *how)
            try:
                process.communicate(timeout=chance.uniform(*LIVES))
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        results = command.results()
        each_once = [result["index"] for result in results] == list(range(PHOTOS))
        complete = process.returncode == 0 and each_once and len({result["name"] for result in results}) == PHOTOS
        say(
            f"{PHOTOS} photos, the command killed {kills} times{' '.join(('', *how))}: "
            f"{'complete' if complete else 'NOT complete'}, "
            f"{command.rows()} done by the model, in {time.monotonic() - began:.0f} s"
        )


def main() -> None:
    """By reference, and uploading."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        (work / "redis").mkdir()
        redis_server = RedisServer(work / "redis")
        redis_server.start()
        try:
            killed(redis_server, work / "by-reference")
            killed(redis_server, work / "uploaded", "--upload")
        finally:
            redis_server.kill()


if __name__ == "__main__":
    main()
