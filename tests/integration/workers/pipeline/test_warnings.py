"""Warnings of Pillow: each names the job and the image that it is about."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from workers.telemetry.logs import capture_warnings, log_formatter

if TYPE_CHECKING:
    from tests.integration.workers.conftest import Worker
    from workers.settings import Settings

CUT_OFF_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x05\0"  # five entries are announced, none is there


def odd_photo(value: int) -> bytes:
    """A JPEG of which Pillow warns: its EXIF block is cut off."""
    out = io.BytesIO()
    Image.new("L", (40, 40), value).save(out, "JPEG", exif=CUT_OFF_EXIF)
    return out.getvalue()


@pytest.fixture
def lines(settings: Settings) -> Iterator[list[str]]:
    """The lines that a worker's log has of warnings."""
    written: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler, logger = Handler(), logging.getLogger("py.warnings")
    handler.setFormatter(log_formatter(settings.model_copy(update={"log_format": "json"})))
    logger.addHandler(handler)
    with warnings.catch_warnings():
        capture_warnings()
        yield written
        logging.captureWarnings(False)
    logger.removeHandler(handler)


def test_a_warning_names_job_and_image(worker: Worker, lines: list[str]) -> None:
    """Of every image, also where several have the same fault."""
    job = worker.submit(odd_photo(1), odd_photo(2))
    worker.detect_until(lambda: worker.store.get(job.id).state.terminal, "the end of the job")

    said = {(line["job"], line["index"], line["image"]) for line in map(json.loads, lines) if "EXIF" in line["event"]}
    assert said == {(job.id, 0, "0.png"), (job.id, 1, "1.png")}
