"""Responses about jobs: the job document, its URLs and its ETag."""

from __future__ import annotations

import hashlib

from flask import Response, request

from api.http.links import link_base
from workers.backend import Backend
from workers.jobs.document import Document, JobDocument, UrlsDocument, job_document, urls_at
from workers.jobs.job import Job


def document_of(backend: Backend, job: Job) -> JobDocument:
    """Return the job's document, with its URLs, its estimate and what it waits for."""
    return job_document(job, job_urls(job.id), backend.capacity.estimate(job), backend.catalog.waiting_for(job))


def answer(document: Document, status: int = 200) -> Response:
    """Return a document as a JSON response.

    The response to a GET or HEAD has a weak ETag. If the caller already has that version (`If-None-Match`), the
    response is a 304 without a body.
    """
    response = Response(document.to_json(), status, mimetype="application/json")
    if request.method in {"GET", "HEAD"}:
        response.add_etag(weak=True)
        response.headers["Cache-Control"] = "private, no-cache"
        response.make_conditional(request)
    return response


def tag_of(*facts: str) -> str:
    """Return an ETag (without quotes) for a response that depends only on these facts."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]


def accepted(backend: Backend, job: Job) -> Response:
    """Return the response to a submission: 202 with the job's URL (`Location`) and `Retry-After`."""
    document = document_of(backend, job)
    response = answer(document, 202)
    response.headers["Location"] = document.urls.self
    response.headers["Retry-After"] = "1"
    return response


def job_urls(job_id: str) -> UrlsDocument:
    """Return the URLs of a job."""
    return urls_at(link_base(), job_id)
