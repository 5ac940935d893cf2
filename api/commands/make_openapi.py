"""Write docs/openapi.json: `make openapi`."""

from __future__ import annotations

from pathlib import Path

from api.app import create_app
from workers.backend import Backend
from workers.settings import Settings

PATH = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def openapi_text() -> str:
    """Return the OpenAPI document as /openapi.json serves it. It does not depend on the settings."""
    settings = Settings()
    with create_app(settings, Backend(settings)).test_client() as http:
        return http.get("/openapi.json").get_data(as_text=True)


if __name__ == "__main__":
    PATH.write_text(openapi_text())
