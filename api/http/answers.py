"""A job as an answer: its document, its addresses, its ETag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, request

from workers.jobs.document import Document, JobDocument, UrlsDocument, job_document, urls_at
from workers.jobs.job import Job

if TYPE_CHECKING:
    from workers.backend import Backend


def shown(backend: Backend, job: Job) -> JobDocument:
    """A job's document."""
    return job_document(job, job_urls(job.id), backend.load.estimate(job))


def answer(document: Document, status: int = 200) -> Response:
    """A document as a response; to a GET with its ETag, or without its body for whoever has that already."""
    response = Response(document.to_json(), status, mimetype="application/json")
    if request.method in {"GET", "HEAD"}:
        response.add_etag(weak=True)
        response.headers["Cache-Control"] = "private, no-cache"
        response.make_conditional(request)
    return response


def accepted(backend: Backend, job: Job) -> Response:
    """The answer to a submission: 202, where the job is and when to look."""
    document = shown(backend, job)
    response = answer(document, 202)
    response.headers["Location"] = document.urls.self
    response.headers["Retry-After"] = "1"
    return response


def job_urls(job_id: str) -> UrlsDocument:
    """The addresses of a job, as its caller reached the API."""
    return urls_at(request.root_url, job_id)
