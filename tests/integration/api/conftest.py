"""The backend of the API on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from workers.backend import Backend, open_backend
from workers.settings import Settings


@pytest.fixture
def backend(settings: Settings) -> Iterator[Backend]:
    """The stores that the API answers from."""
    found = open_backend(settings)
    yield found
    found.store.close()
