"""The Python client of the API."""

from api.client.client import Options, ShelflineClient

__all__ = ["Options", "ShelflineClient"]
