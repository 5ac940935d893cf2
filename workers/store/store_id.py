"""An id that ties a Redis to its blob store, so that two installations do not share one of them by mistake."""

from __future__ import annotations

import secrets

from workers.errors import SettingsError
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink, translated

KEY = "sl:store-id"
_PATH = "store-id"
_MAX_BYTES = 100


def check_store_id(link: RedisLink, blobs: BlobStore) -> None:
    """Check that Redis and the blob store belong together. The first process that uses both gives them an id.

    Raises SettingsError if Redis belongs to another blob store, StoreUnavailableError if one of them does not answer.
    """
    own = blobs.write_once(_PATH, secrets.token_hex(16).encode(), _MAX_BYTES).decode("ascii", "replace")
    with translated():
        kept = link.client.get(KEY)
        if kept is None:  # Redis refuses `SET`, also with NX, while it is full, a replica, or without disk
            link.client.set(KEY, own, nx=True)
            kept = link.client.get(KEY)
    if kept != own:
        raise SettingsError(
            f"REDIS_URL and BLOB_URL do not belong together: the jobs of this Redis have their images in another blob "
            f"store. Set BLOB_URL to that store, or REDIS_URL to another Redis or database number. If the blobs were "
            f"lost or copied on purpose, delete the key {KEY} in Redis."
        )
