"""The forms of a submission beside files and folders: items, archives, other stores, manifests; and its options."""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.polling import wait_until
from tests.support.zip_names import archive_named
from tests.unit.api.conftest import InstantWorker, all_jobs, stored_images
from workers.backend import Backend
from workers.io.redis_link import RedisLink
from workers.jobs.job import ImageSource
from workers.jobs.output import Output
from workers.jobs.webhook import new_secret
from workers.settings import Settings
from workers.sources.origins.named import Kind, NamedSource
from workers.sources.selection import Selection

MEMORY = "memory://results/x"  # under the prefixes of the settings
PIXEL = b"\x89PNG not really"
BASE64 = base64.b64encode(PIXEL).decode()


def _problem(http: FlaskClient, body: dict[str, Any], status: int = 400, code: str = "invalid_request") -> str:
    response = http.post("/v1/jobs", json=body)
    problem = response.get_json()
    assert (status, code) == (response.status_code, problem["code"]), problem
    return str(problem["detail"])


def zipped(content: bytes = b"content") -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("a.jpg", content)
    return archive.getvalue()


def source_of(link: RedisLink, job_id: str) -> NamedSource:
    """What a job's duty is going to list."""
    stored = json.loads(link.client.hget(f"sl:job:{job_id}", "source"))
    return NamedSource.from_json(json.dumps(stored["named"]))


@pytest.fixture
def bucket(memory_store: Any) -> None:
    """Another store that the server may read: a folder with an image, and a manifest."""
    memory_store.pipe_file("/bucket/source/a.jpg", b"content")
    memory_store.pipe_file("/bucket/manifest", b'{"path": "source/a.jpg"}\n')


def test_items(http: FlaskClient, backend: Backend) -> None:
    """A URL, base64, a data URL; each with an id of the caller's or without one, in order."""
    items = [
        {"url": "https://shop.example/a.jpg?size=1", "custom_id": "first"},
        {"image": BASE64},
        {"image": f"data:image/png;base64,{BASE64}", "custom_id": "grüße 3"},
    ]

    response = http.post("/v1/jobs", json={"items": items})

    assert response.status_code == 202
    job_id = response.get_json()["id"]
    sources = [backend.originals.source(job_id, index) for index in range(3)]
    assert sources[0] == ImageSource("a.jpg", "url:https://shop.example/a.jpg?size=1", "first")
    assert [(source.name, source.custom_id) for source in sources[1:]] == [("item-1", ""), ("item-2", "grüße 3")]
    assert [backend.originals.read(job_id, index) for index in (1, 2)] == [PIXEL, PIXEL]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({}, "items.1: give either `url` or `image`, not both"),
        ({"url": "https://a.example/", "image": BASE64}, "give either"),
        ({"url": "ftp://a.example/"}, "items.1.url: The URL must begin with http"),
        ({"url": "http://user:pass@a.example/"}, "password"),
        ({"url": "http://a.example/" + "a" * 9000}, "8192"),
        ({"url": 3}, "items.1.url"),
        ({"image": "%%%"}, "items.1.image: this is not base64"),
        ({"image": ""}, "no data"),
        ({"image": "data:image/png,abc"}, ";base64,"),
        ({"image": 3}, "items.1.image"),
        ({"image": "ä"}, "base64"),
        ({"url": "https://a.example/", "custom_id": ""}, "custom_id"),
        ({"url": "https://a.example/", "custom_id": "a\u0000"}, "custom_id"),
        ({"url": "https://a.example/", "custom_id": "a" * 257}, "custom_id"),
        ({"url": "https://a.example/", "custom_id": 7}, "custom_id"),
    ],
)
def test_a_wrong_item_is_named(http: FlaskClient, item: dict[str, Any], says: str) -> None:
    """The number of the item and its field, and never what was in it; without any good item there is no job."""
    detail = _problem(http, {"items": [{}, item]})

    assert says in detail
    assert "pass@" not in detail


@pytest.mark.parametrize(
    ("item", "custom_id", "says"),
    [
        ({}, "", "give either `url` or `image`, not both"),
        ({"url": "https://shop.example/a b.jpg", "custom_id": "mine"}, "mine", "url: The URL has spaces"),
        ({"url": "http://user:pass@a.example/"}, "", "password"),
        ({"image": "%%%", "custom_id": "mine"}, "mine", "image: this is not base64"),
        ({"image": "", "custom_id": "a" * 257}, "", "no data"),
        ({"image": 3, "custom_id": 7}, "", "image: "),
        (7, "", "The item is wrong"),
    ],
)
def test_a_wrong_item_among_good_ones_fails_alone(
    http: FlaskClient, backend: Backend, item: Any, custom_id: str, says: str
) -> None:
    """With an error that says what is wrong, under its number and the caller's id; the others are taken."""
    response = http.post("/v1/jobs", json={"items": [{"image": BASE64}, item, {"image": BASE64, "custom_id": "last"}]})

    assert response.status_code == 202, response.text
    job_id = response.get_json()["id"]
    first, wrong, last = (backend.originals.source(job_id, index) for index in range(3))
    assert [first.ref.partition(":")[0], last.ref.partition(":")[0], last.custom_id] == ["blob", "blob", "last"]
    assert wrong.ref.startswith('failed:["item_invalid"')
    assert says in wrong.ref
    assert "pass@" not in wrong.ref
    assert (wrong.name, wrong.custom_id) == ("item-1", custom_id)


def test_an_unknown_field_of_an_item(http: FlaskClient) -> None:
    """It is named, as one of the job is."""
    assert "items.0.tiles" in _problem(http, {"items": [{"image": BASE64, "tiles": 1}]}, code="unknown_field")


def test_wrong_items_are_not_all_told(http: FlaskClient, settings: Settings) -> None:
    """An error stays short."""
    detail = _problem(http, {"items": [{}] * settings.max_job_images})
    assert "items.9:" in detail
    assert "items.10:" not in detail


@pytest.mark.parametrize("body", [{}, {"items": []}, {"folder": "/a", "items": [{"image": BASE64}]}, {"source": ""}])
def test_exactly_one_form(http: FlaskClient, body: dict[str, Any]) -> None:
    """None of them, two of them, or an empty one is an error."""
    _problem(http, body)


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({"webhook": {"secret": "short"}}, "webhook.secret: write whsec_ and the base64"),
        ({"webhook": {"events": ["job.started"], "format": "baidu"}}, "webhook.format: the format baidu sends only"),
        ({"webhook": {"events": ["no.event"], "format": "baidu"}}, "webhook.events.0: give one of job.started"),
        ({"webhook": {"events": []}}, "webhook.events: List should have at least 1 item"),
        (
            {"items": [{"image": BASE64, "custom_id": "a\x01"}]},
            "items.0.custom_id: it has the control character U+0001",
        ),
        ({"items": None, "folder": "/a\x7fb"}, "folder: it has the control character U+007F: write it without"),
        ({"include": ["a\n"]}, "include.0: it has the control character U+000A: write it without"),
        ({"annotate": 3}, "`annotate` needs an `output_url`."),
        ({"sample": 3}, "`include`, `exclude`, `limit`, `sample` and `seed` need a"),
        ({"folder": "/photos"}, "Give exactly one of `items`, `folder`"),
    ],
)
def test_an_error_names_its_field(http: FlaskClient, body: dict[str, Any], begins: str) -> None:
    """A field of a webhook too; what is wrong with several fields together names them."""
    if "webhook" in body:
        body["webhook"]["url"] = "https://a.example/hook"
    detail = _problem(http, {"items": [{"image": BASE64}], **body})
    assert detail.startswith(begins)
    assert "short" not in detail


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(("field", "kind"), [("source", "location"), ("manifest", "manifest")])
def test_where_images_are(http: FlaskClient, link: RedisLink, field: str, kind: Kind) -> None:
    """Another store, and a manifest that the server reads."""
    response = http.post("/v1/jobs", json={field: f"memory://bucket/{field}"})
    assert response.status_code == 202
    assert source_of(link, response.get_json()["id"]) == NamedSource(kind, f"memory://bucket/{field}")


@pytest.mark.parametrize(
    ("field", "content", "image"),
    [
        ("archive", zipped(), ImageSource("a.jpg", "")),
        (
            "manifest",
            b"url,custom_id\nhttps://a.example/a.jpg,7\n",
            ImageSource("a.jpg", "url:https://a.example/a.jpg", "7"),
        ),
    ],
    ids=["archive", "manifest"],
)
def test_an_archive_or_a_manifest_as_a_field(
    http: FlaskClient, backend: Backend, field: str, content: bytes, image: ImageSource
) -> None:
    """One file, in its own field; two, or images beside it, are an error."""

    def send(**fields: Any) -> int:
        return http.post("/v1/jobs", data=fields, content_type="multipart/form-data").status_code

    assert send(**{field: (io.BytesIO(content), "a.bin"), "min_score": "0.5"}) == 202
    (job,) = all_jobs(backend)
    stored = backend.originals.source(job.id, 0)
    assert (job.total, stored.name, stored.custom_id) == (1, image.name, image.custom_id)
    if image.ref:
        assert stored.ref == image.ref
    else:
        assert backend.originals.read(job.id, 0) == b"content"
    assert send(**{field: [(io.BytesIO(b"x"), "a"), (io.BytesIO(b"x"), "b")]}) == 400
    assert send(**{field: (io.BytesIO(b"x"), "a"), "images": (io.BytesIO(b"x"), "b")}) == 400


def test_what_an_archive_has_beside_its_images(http: FlaskClient) -> None:
    """The job says how many files were left out, and how names were read that do not say it; so does the error."""
    job = http.post("/v1/jobs", data=zipped(), content_type="application/zip").get_json()
    assert (job["skipped"], job["name_encoding"]) == ({}, None)

    content = archive_named(["货架.jpg".encode("gb18030"), b"b.heic", b"c.HEIC", b"README"])
    job = http.post("/v1/jobs", data=content, content_type="application/zip").get_json()
    assert (job["skipped"], job["name_encoding"]) == ({".heic": 2, "none": 1}, "gb18030")
    assert http.get(f"/v1/jobs/{job['id']}").get_json()["skipped"] == {".heic": 2, "none": 1}

    problem = http.post("/v1/jobs", data=archive_named([b"b.heic"]), content_type="application/zip").get_json()
    assert problem["code"] == "no_images"
    assert problem["detail"].endswith("Other files were left out (1 .heic): convert photos among them to JPEG.")


@pytest.mark.parametrize("kind", ["application/zip", "application/x-zip-compressed"])
def test_a_zip_as_the_body(http: FlaskClient, backend: Backend, kind: str) -> None:
    """Its options are in the query; there other bodies have none."""
    response = http.post("/v1/jobs?min_score=0.5&priority=bulk", data=zipped(), content_type=kind)

    assert response.status_code == 202
    options = response.get_json()["options"]
    assert (options["min_score"], options["priority"]) == (0.5, "bulk")
    assert stored_images(backend, response.get_json()["id"]) == [("a.jpg", b"content")]
    assert http.post("/v1/jobs?min_score=0.5", json={"folder": "/a"}).get_json()["code"] == "unprocessable"
    assert http.post("/v1/jobs?stripes=1", data=b"PK", content_type=kind).get_json()["code"] == "unknown_field"


def test_a_zip_as_the_body_with_an_output(http: FlaskClient, backend: Backend) -> None:
    """Where its results are written to is in the query as well, formats between commas."""
    where = f"output_url={MEMORY}&output_formats=csv,parquet&annotate=5"
    assert http.post(f"/v1/jobs?{where}", data=zipped(), content_type="application/zip").status_code == 202
    assert Output.from_json(all_jobs(backend)[0].output) == Output(MEMORY, ("csv", "parquet"), 5)
    refused = http.post("/v1/jobs?annotate=5", data=zipped(), content_type="application/zip").get_json()
    assert (refused["code"], "output_url" in refused["detail"]) == ("invalid_request", True)


def test_a_zip_as_the_body_tells_the_rest_in_headers(http: FlaskClient, backend: Backend) -> None:
    """Metadata and a webhook are JSON there, in ASCII; other bodies have them inside."""
    hook = {"url": "https://shop.example/told", "events": ["job.finished", "item.finished"], "secret": new_secret()}
    headers = {"Shelfline-Metadata": '{"shop": "Caf\\u00e9"}', "Shelfline-Webhook": json.dumps(hook)}

    def send(**given: Any) -> Any:
        answer = http.post("/v1/jobs", **({"data": zipped(), "content_type": "application/zip"} | given))
        return answer.get_json()

    job = send(headers=headers)
    assert job["metadata"] == {"shop": "Café"}
    webhook, _ = backend.store.webhook_of(job["id"])
    assert webhook is not None
    assert (webhook.url, webhook.secret, len(webhook.events)) == (hook["url"], hook["secret"], 2)
    for name, value in headers.items():
        assert (
            send(headers={name: value}, data=None, content_type=None, json={"folder": "/a"})["code"] == "unprocessable"
        )
        for wrong in (
            "",
            "[]",
            "{",
            '{"url": "https://a.example/", "url": "https://b.example/"}',
            '{"url": 1}',
            '{"a": "é"}'.encode().decode("latin-1"),
        ):
            answer = send(headers={name: wrong})
            assert answer["code"] in {"invalid_request", "unknown_field"}, wrong
            assert name in answer["detail"]


def test_a_zip_above_the_limit(http: FlaskClient, backend: Backend) -> None:
    """Refused, also where its length is not told before."""
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        response = http.post(
            "/v1/jobs",
            input_stream=io.BytesIO(b"x" * 6_000_000),
            content_type="application/zip",
            headers=headers,
            environ_overrides={"wsgi.input_terminated": True} if headers else {"CONTENT_LENGTH": "6000000"},
        )
        assert (response.status_code, response.get_json()["code"]) == (413, "request_too_large")
    assert all_jobs(backend) == []


def test_options_of_a_job(http: FlaskClient, backend: Backend) -> None:
    """Every option is shown with the job; in a form metadata is JSON."""
    options = {"model_version": 3, "min_score": 0.5, "max_detections": 5, "priority": "interactive"}
    options |= {"tiles": "2x3", "overlap": 0.25, "max_failure_rate": 0.5, "cache": True, "version_fallback": "latest"}
    metadata = {"shelf": "7", "store": "Köln"}

    by_json = http.post("/v1/jobs", json={"items": [{"image": BASE64}], "metadata": metadata, **options}).get_json()
    form = {name: str(value) for name, value in options.items()} | {"metadata": json.dumps(metadata)}
    files = {"images": (io.BytesIO(b"x"), "a.jpg")}
    by_form = http.post("/v1/jobs", data=form | files, content_type="multipart/form-data").get_json()

    assert by_json["options"] == by_form["options"] == options | {"model": "default"}
    assert by_json["metadata"] == by_form["metadata"] == metadata
    assert [job.metadata for job in all_jobs(backend)] == [metadata, metadata]


@pytest.mark.parametrize(
    "wrong",
    [
        {"metadata": {"a": 1}},
        {"metadata": {"a": {"b": "c"}}},
        {"metadata": {"": "x"}},
        {"metadata": {"a" * 65: "x"}},
        {"metadata": {"a": "x" * 513}},
        {"metadata": {str(number): "x" for number in range(17)}},
        {"metadata": []},
        {"metadata": "{"},
        {"model_version": 0},
        {"model_version": "1"},
        {"model_version": 2**63},
        {"priority": "urgent"},
        {"deadline_seconds": 0},
        {"deadline_seconds": 1e9},
        {"tiles": "3"},
        {"tiles": "0x2"},
        {"tiles": "9x9"},
        {"tiles": True},
        {"overlap": -0.1},
        {"overlap": 0.9},
        {"max_failure_rate": 1.1},
        {"version_fallback": "newest"},
        {"cache": 1},
        {"annotate": 1},
        {"annotate": -1, "output_url": "s3://b/c"},
        {"output_formats": ["xml"]},
        {"output_url": ""},
        {"sample": 0},
        {"include": ["[z-a]"]},
        {"include": ["*" * 5]},
        {"exclude": [""]},
        {"seed": -1},
    ],
)
def test_wrong_options(http: FlaskClient, wrong: dict[str, Any]) -> None:
    """Each is named."""
    assert next(iter(wrong)) in _problem(http, {"items": [{"image": BASE64}], **wrong})


@pytest.mark.usefixtures("bucket")
def test_some_of_the_images(http: FlaskClient, link: RedisLink) -> None:
    """As they are asked for; items are named one by one."""
    selection = {"include": ["a/**"], "exclude": ["*.png"], "limit": 5, "sample": 9, "seed": 3}
    response = http.post("/v1/jobs", json={"source": "memory://bucket/source", **selection})
    assert response.status_code == 202
    assert source_of(link, response.get_json()["id"]).selection == Selection(("a/**",), ("*.png",), 5, 9, 3)
    assert "limit" in _problem(http, {"items": [{"image": BASE64}], "limit": 1})


def test_where_results_are_written(http: FlaskClient, backend: Backend) -> None:
    """In JSON, and in a form."""
    output = {"output_url": MEMORY, "output_formats": ["csv", "parquet"], "annotate": 5000}
    assert http.post("/v1/jobs", json={"items": [{"image": BASE64}], **output}).status_code == 202
    assert Output.from_json(all_jobs(backend)[0].output) == Output(MEMORY, ("csv", "parquet"), 1000)
    fields = {"images": (io.BytesIO(b"x"), "a.jpg"), "output_url": MEMORY, "output_formats": "coco, csv"}
    assert http.post("/v1/jobs", data=fields, content_type="multipart/form-data").status_code == 202
    assert Output.from_json(all_jobs(backend)[0].output) == Output(MEMORY, ("coco", "csv"), 0)


def test_a_submission_that_waits_for_the_end(
    http: FlaskClient, backend: Backend, worker: InstantWorker, waits: list[float]
) -> None:
    """200 with the job as it ended; 202 where it did not end in time, and where nobody asked."""
    body = {"items": [{"image": BASE64}]}
    answers: list[Any] = []

    def send() -> None:
        answers.append(http.post("/v1/jobs", json=body, headers={"Prefer": "wait=4"}))

    caller = threading.Thread(target=send)
    caller.start()
    wait_until(lambda: waits)
    (job,) = all_jobs(backend)
    worker.finish(job.id, [{"state": "succeeded"}])
    caller.join()

    assert (answers[0].status_code, answers[0].get_json()["state"]) == (200, "succeeded")
    assert answers[0].headers["Preference-Applied"] == "wait=4"
    assert answers[0].headers["Location"].endswith(job.id)
    late = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=0"})
    assert (late.status_code, late.headers["Retry-After"]) == (202, "1")
    unwaited = http.post("/v1/jobs", json=body)
    assert (unwaited.status_code, "Preference-Applied" in unwaited.headers) == (202, False)


def test_a_list_in_a_form(http: FlaskClient) -> None:
    """One part with commas, or a part each; any other field comes once."""

    def send(**fields: Any) -> Any:
        data = {"images": (io.BytesIO(b"x"), "a.jpg"), "output_url": MEMORY, **fields}
        return http.post("/v1/jobs", data=data, content_type="multipart/form-data").get_json()

    assert send(output_formats=["coco", "csv"]).get("code") == send(output_formats="coco,csv").get("code")
    assert "output_formats" in send(output_formats=["coco", "xml"])["detail"]
    assert "more than once" in send(min_score=["0.1", "0.2"])["detail"]
