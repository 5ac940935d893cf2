"""The summary of a job's results in numbers; its size does not grow with the job."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from workers.jobs.document import rfc3339
from workers.jobs.job import Job

_BINS = 20  # of the histogram of scores, 0.05 each
_MAX_LABELS = 10_000


class Summary:
    """Count results, given one after the other."""

    def __init__(self) -> None:
        self._states: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._scores = [0] * _BINS
        self._cached = 0

    def add(self, line: str) -> None:
        """Count one result, given as the stored JSON."""
        result = json.loads(line)
        self._states[result["state"]] += 1
        self._cached += result.get("cached", False)
        if result["state"] == "failed":
            self._failures[result["error"]["code"]] += 1
        if "model_version" in result:
            self._versions[str(result["model_version"])] += 1
        for detection in result.get("detections", ()):
            if detection["label"] in self._labels or len(self._labels) < _MAX_LABELS:
                self._labels[detection["label"]] += 1
            self._scores[min(int(detection["score"] * _BINS), _BINS - 1)] += 1

    def document(self, job: Job) -> dict[str, Any]:
        """Return the summary of a job that is about to end. `skipped` are files that are not named like images.

        `seconds` and `images_per_second` are from the first claim to the last result: writing the output comes after
        that, and may wait long for a store that is full.
        """
        seconds = job.settled_at - job.started_at if job.started_at and job.settled_at else 0.0
        done = self._states["succeeded"] + self._states["failed"]
        return {
            "job": job.id,
            "model": job.options.model,
            "model_versions": dict(sorted(self._versions.items())),
            "images": {
                "total": job.total,
                **{name: self._states[name] for name in ("succeeded", "failed", "canceled")},
            },
            "skipped": dict(job.skipped),
            "name_encoding": job.name_encoding or None,
            "cached": self._cached,
            "detections": sum(self._scores),
            "labels": dict(self._labels.most_common()),
            "scores": {"from": [round(number / _BINS, 2) for number in range(_BINS)], "count": self._scores},
            "failures": dict(self._failures.most_common()),
            "created_at": rfc3339(job.created_at),
            "started_at": rfc3339(job.started_at) if job.started_at else None,
            "seconds": round(seconds, 3),
            "images_per_second": round(done / seconds, 2) if seconds > 0 else None,
        }
