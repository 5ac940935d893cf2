"""A real trained SSD in the course's wire contract, described by a TOML file, through the real chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.processes.celery_worker import CeleryWorker
from tests.support.real_ssd import MODEL, PHOTOS, contract_toml
from tests.support.servers.model_server import ServerProcess
from workers.jobs.job import JobState
from workers.jobs.options import JobOptions
from workers.sources.origins.named import NamedSource

from .conftest import Worker

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("shared_folder")]


@pytest.fixture
def ssd(tmp_path: Path, front: Worker) -> Iterator[Worker]:
    """A front end whose workers find the SSD, which does not describe itself, and the file that does."""
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "contract.toml").write_text(contract_toml())
    process = ServerProcess(MODEL, tmp_path / "server.log")
    process.start()
    front.settings = front.settings.model_copy(
        update={"model_server": process.target, "contracts": tmp_path, "folder_roots": (PHOTOS,)}
    )
    front.intake._settings = front.settings
    yield front
    process.end()


def nearest(wanted: dict[str, Any], detections: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The detection of the same label whose box is nearest, None where all are further than 0.1 at some edge."""
    box = np.array(wanted["box_ymin_xmin_ymax_xmax"])
    same = [detection for detection in detections if detection["label"] == wanted["label"]]
    apart = [float(np.abs(np.array(list(detection["box_normalized"].values())) - box).max()) for detection in same]
    return same[int(np.argmin(apart))] if apart and min(apart) < 0.1 else None


def test_the_independent_reference_is_found(ssd: Worker, start: Callable[[str], CeleryWorker]) -> None:
    """Of what the original network found with score >= 0.5 all is found; 95 % of edges and scores are close."""
    start("prefork")
    job = ssd.intake.submit(NamedSource("folder", str(PHOTOS)), JobOptions("default"))
    assert ssd.store.wait(job.id, 120).state is JobState.SUCCEEDED
    reference = json.loads((MODEL / "reference-detections.json").read_text())
    results = {result["name"]: result["detections"] for result in ssd.results(job)}
    edges: list[float] = []
    scores: list[float] = []
    for name, wanted_all in reference.items():
        for wanted in wanted_all:
            if wanted["score"] < 0.5:
                continue
            detection = nearest(wanted, results[name])
            assert detection is not None, (name, wanted)
            box = np.array(wanted["box_ymin_xmin_ymax_xmax"])
            edges += list(np.abs(np.array(list(detection["box_normalized"].values())) - box))
            scores.append(abs(detection["score"] - wanted["score"]))
    assert len(scores) == 160
    assert np.quantile(edges, 0.95) < 0.015
    assert np.quantile(scores, 0.95) < 0.02
