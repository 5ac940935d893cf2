"""The route of a job's results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, request, url_for
from pydantic import Field

from api.access.caller import own_job
from api.http.answers import tag_of
from api.http.errors import UnprocessableError
from api.http.streaming import streamed
from api.openapi.common_problems import OF_A_JOB
from api.openapi.declaration import Api
from api.openapi.responses import Answer
from api.requests.checking import RequestModel
from workers.jobs.job import JobState
from workers.results.formats.registry import FORMATS, FormatName
from workers.results.formats.source import ResultSource
from workers.results.labels import Labels

if TYPE_CHECKING:
    from workers.backend import Backend

_BY_TYPE = {"application/x-ndjson": FormatName.JSONL, "application/json": FormatName.JSON, "text/csv": FormatName.CSV}
_TYPES = dict.fromkeys(one.media_type for one in FORMATS.values())


class ResultsQuery(RequestModel):
    """Which results, and how."""

    start: int = Field(default=0, ge=0, description="The index of the first image, 0 to the job's total.")
    limit: int | None = Field(default=None, ge=1, description="At most so many; all that are finished where left out.")
    format: FormatName | None = Field(
        default=None,
        description=(
            "`jsonl`, a line of JSON each; `json`, one document; `coco`, COCO's object detection format; `csv`, a row "
            "a detection; `baidu`, the robot's body, a line each. Where left out, what `Accept` prefers, else `jsonl`."
        ),
    )


def result_routes(backend: Backend, api: Api) -> Blueprint:
    """The route /v1/jobs/{id}/results."""
    routes = Blueprint("results", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/results")
    @api.describe(
        Answer(_TYPES, headers=("Content-Disposition", "ETag", "Link")),
        Answer(status=304),
        tag="jobs",
        query=ResultsQuery,
        problems=(*OF_A_JOB, UnprocessableError),
    )
    def results(job_id: str, query: ResultsQuery) -> Response:
        """Read a job's results, in input order.

        While the job runs these are the finished ones at its beginning. A `Link` with `rel="next"` says that more are
        there or will be, and where; without one these are the last. An answer that breaks off is not complete, whatever
        it looks like.
        """
        job = own_job(backend, job_id)
        if query.start > job.total and job.total:
            raise UnprocessableError(f"start: give the index of an image of the job, 0 to {job.total}.")
        name = query.format or _preferred()
        wanted = job.total if query.limit is None else min(job.total, query.start + query.limit)
        end = backend.store.finished_end(job_id, query.start, wanted)
        labels = Labels(backend.catalog.contracts(job.options.model, job.model_versions), job.options.min_score)
        tag = tag_of(job_id, str(query.start), str(end), str(job.total), name, repr(labels))
        headers = {"ETag": f'W/"{tag}"', "Vary": "Accept, Accept-Encoding", "Cache-Control": "private, no-cache"}
        more = end < job.total or job.state is JobState.ENUMERATING
        next_url = _next(job_id, query.model_copy(update={"start": end})) if more else None
        if next_url:
            headers["Link"] = f'<{next_url}>; rel="next"'
        if request.if_none_match.contains_weak(tag):
            return Response(status=304, headers=headers)
        source = ResultSource(job_id, lambda: backend.store.results(job_id, query.start, end), labels, next_url)
        response = streamed(FORMATS[name].write(source), FORMATS[name].media_type)
        response.headers.update(headers)
        response.headers["Content-Disposition"] = f'attachment; filename="{job_id}{FORMATS[name].suffix}"'
        return response

    return routes


def _preferred() -> FormatName:
    return _BY_TYPE[request.accept_mimetypes.best_match(list(_BY_TYPE), "application/x-ndjson")]


def _next(job_id: str, query: ResultsQuery) -> str:
    given = query.model_dump(mode="json", exclude_none=True)
    return url_for("results.results", job_id=job_id, _external=True, **given)
