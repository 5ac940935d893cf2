"""The route for the results of a job."""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for
from pydantic import Field

from api.access.caller import own_job
from api.http.answers import tag_of
from api.http.errors import UnprocessableError
from api.http.links import link_base
from api.http.streaming import streamed
from api.openapi.common_problems import OF_A_JOB
from api.openapi.declaration import Api
from api.openapi.responses import Answer
from api.requests.checking import RequestModel
from workers.backend import Backend
from workers.jobs.job import JobState
from workers.results.formats.registry import FORMATS, FormatName
from workers.results.formats.source import ResultSource
from workers.results.labels import Labels

_BY_TYPE = {"application/x-ndjson": FormatName.JSONL, "application/json": FormatName.JSON, "text/csv": FormatName.CSV}
_TYPES = dict.fromkeys(form.media_type for form in FORMATS.values())


class ResultsQuery(RequestModel):
    """Which results, and in which format."""

    start: int = Field(default=0, ge=0, description="The index of the first image, 0 to the job's total.")
    limit: int | None = Field(default=None, ge=1, description="At most this many. Default: all that are finished.")
    format: FormatName | None = Field(
        default=None,
        description=(
            "`jsonl`: one line of JSON per result; `json`: one document; `coco`: COCO's object detection format; "
            "`csv`: one row per detection; `baidu`: one line per result, with the body that a robot gets. Default: "
            "what `Accept` prefers, else `jsonl`."
        ),
    )


def result_routes(backend: Backend, api: Api) -> Blueprint:
    """Return the route /v1/jobs/{id}/results."""
    routes = Blueprint("results", __name__, url_prefix="/v1/jobs")

    @routes.get("/<job_id>/results")
    @api.describe(
        Answer(_TYPES, headers=("Content-Disposition", "ETag", "Link")),
        tag="jobs",
        query=ResultsQuery,
        problems=(*OF_A_JOB, UnprocessableError),
    )
    def results(job_id: str, query: ResultsQuery) -> Response:
        """Read the results of a job, in input order.

        While the job runs, these are the results before the first unfinished image. A `Link` with `rel="next"` is where
        the next results are or will be; without one, these are the last. If the connection breaks, the answer is
        incomplete, whatever it looks like.
        """
        job = own_job(backend, job_id)
        if query.start > job.total and job.total:
            raise UnprocessableError(f"start: give an index from 0 to {job.total}, the number of images.")
        accepted = request.accept_mimetypes.best_match(list(_BY_TYPE), "application/x-ndjson")
        name = query.format or _BY_TYPE[accepted]
        limit = job.total if query.limit is None else min(job.total, query.start + query.limit)
        end = backend.store.finished_end(job_id, query.start, limit)
        labels = Labels(backend.catalog.contracts(job.options.model, job.model_versions), job.options.min_score)
        tag = tag_of(job_id, str(query.start), str(end), str(job.total), name, repr(labels))
        headers = {"ETag": f'W/"{tag}"', "Vary": "Accept, Accept-Encoding", "Cache-Control": "private, no-cache"}
        more = end < job.total or job.state is JobState.ENUMERATING
        next_url = _results_url(job_id, query.model_copy(update={"start": end})) if more else None
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


def _results_url(job_id: str, query: ResultsQuery) -> str:
    parameters = query.model_dump(mode="json", exclude_none=True)
    return link_base() + url_for("results.results", job_id=job_id, **parameters)
