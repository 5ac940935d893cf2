"""What a job says of itself in its output."""

from __future__ import annotations

from workers.jobs.job import Job, JobState
from workers.jobs.options import JobOptions
from workers.results.summary import Summary

JOB = Job("job_1", JobOptions("default"), JobState.SUCCEEDED, "bulk", 1, 0, 0, 1, 0, 0, 1.0)


def test_what_was_left_out_is_told() -> None:
    """Who only reads the files learns of photos in formats that are not read, and of guessed names."""
    listed = Job(**{**vars(JOB), "skipped": {".heic": 3}, "name_encoding": "cp932"})
    some, nothing = Summary().document(listed), Summary().document(JOB)
    assert (some["skipped"], some["name_encoding"]) == ({".heic": 3}, "cp932")
    assert (nothing["skipped"], nothing["name_encoding"]) == ({}, None)
