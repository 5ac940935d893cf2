"""Create the Flask application from its settings and backend."""

from __future__ import annotations

from http import HTTPStatus

from flask import Flask, Response

from api.access.gate import Gate
from api.http.drawing import DrawingBoard
from api.http.links import register_links
from api.http.malformed import register_malformed
from api.http.problems import register_problems
from api.http.request_ids import register_request_ids
from api.http.request_telemetry import register_telemetry
from api.http.security_headers import register_headers
from api.http.waiting import WaitingRoom
from api.openapi.declaration import Api
from api.openapi.docs_routes import docs_routes
from api.requests.spool import UploadRequest
from api.requests.uploads import OTHER_PARTS
from api.routes.deliveries import delivery_routes
from api.routes.detect import form_upload_routes, synchronous_routes
from api.routes.events import event_routes
from api.routes.items import image_routes, item_routes
from api.routes.jobs import job_routes, list_routes
from api.routes.models import model_routes
from api.routes.operations import health_routes, metrics_routes
from api.routes.page import page_routes
from api.routes.results import result_routes
from api.routes.robots import robot_routes
from api.routes.submissions import submission_routes
from api.routes.webhooks import webhook_routes
from workers.backend import Backend
from workers.settings import Settings

_MAX_OPTION_BYTES = 100_000


class Application(Flask):
    """Flask with uploads that go to disk, and responses to OPTIONS without a body."""

    request_class = UploadRequest

    def make_default_options_response(self) -> Response:
        """Return a 204 response with the methods of an address in the header `Allow`."""
        response = super().make_default_options_response()
        response.status_code = HTTPStatus.NO_CONTENT
        del response.headers["Content-Type"]
        return response


def create_app(settings: Settings, backend: Backend) -> Flask:
    """Create the API. It connects to nothing before the first request that needs it."""
    app = Application("shelfline", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_json_bytes,
        MAX_FORM_PARTS=settings.max_job_images + OTHER_PARTS,
        MAX_FORM_MEMORY_SIZE=_MAX_OPTION_BYTES,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    register_request_ids(app)
    register_telemetry(app, backend.tracer)
    register_problems(app)
    register_headers(app)
    register_malformed(app)
    register_links(app, settings)
    Gate(settings, backend).register(app)
    api = Api(settings)
    room, board = WaitingRoom(), DrawingBoard(settings.max_image_pixels)
    app.register_blueprint(page_routes())
    app.register_blueprint(health_routes(backend, api))
    app.register_blueprint(metrics_routes(backend, api))
    app.register_blueprint(submission_routes(settings, backend, api, room))
    app.register_blueprint(job_routes(settings, backend, api, room))
    app.register_blueprint(list_routes(backend, api))
    app.register_blueprint(result_routes(backend, api))
    app.register_blueprint(item_routes(backend, api, board))
    app.register_blueprint(event_routes(backend, api, room))
    app.register_blueprint(synchronous_routes(settings, backend, api, room, board))
    app.register_blueprint(robot_routes(settings, backend, api, room))
    app.register_blueprint(form_upload_routes(settings, backend, api, room, board))
    app.register_blueprint(image_routes(backend, api))
    app.register_blueprint(model_routes(settings, backend, api))
    app.register_blueprint(webhook_routes(backend, api))
    app.register_blueprint(delivery_routes(backend, api))
    app.register_blueprint(docs_routes(app, api))
    return app
