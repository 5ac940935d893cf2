"""The least that a submission could be: a bare Flask route that stores the bytes of its one file, and answers."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from flask import Flask, Response, request

FOLDER = Path(os.environ["BENCH_FOLDER"])

app = Flask("bare")


@app.post("/v1/jobs")
def store() -> Response:
    """Store the upload as the blob store does: written beside, then renamed."""
    (part,) = request.files.values()
    name = secrets.token_hex(16)
    folder = FOLDER / name
    folder.mkdir(parents=True)
    part.save(folder / "0.part")
    (folder / "0.part").rename(folder / "0")
    return Response("{}", 202, mimetype="application/json")
