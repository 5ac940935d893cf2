"""How much may wait and be stored, of everyone and of an owner; and what to say where there is no room."""

from __future__ import annotations

from serving.errors import ShelflineError
from workers.errors import QueueFullError, TooManyImagesError
from workers.jobs import Quota
from workers.load import Load
from workers.settings import Settings

_RETRY_AFTER, _MOST_RETRY_AFTER = 60, 3600  # seconds: where nothing is measured, and at most


def limits(settings: Settings, images: int, byte_count: int, owner: str, quota: Quota) -> list[list[str]]:
    """Of each limit: the field of `sl:open` that it bounds, what a job adds there, and how much there may be."""
    found = [("images", images, settings.max_waiting_images), ("bytes", byte_count, settings.max_blob_bytes)]
    if owner:
        found += [
            (f"images:{owner}", images, quota.max_waiting_images or settings.max_waiting_images_per_key),
            (f"bytes:{owner}", byte_count, quota.max_blob_bytes or settings.max_blob_bytes_per_key),
        ]
    return [[str(part) for part in limit] for limit in found]


def too_many(field: str, more: int, most: int) -> TooManyImagesError:
    """The error of a job that has more of something than there may be even of it alone."""
    return TooManyImagesError(
        f"The job has {more} {field.partition(':')[0]}, and at most {most} may wait: make several jobs of it."
    )


def refused(load: Load, target: str, field: str, *numbers: str) -> ShelflineError:
    """The error of a job for which there is no room, as scripts answer it."""
    there, more, most = map(int, numbers)
    if more > most:
        return too_many(field, more, most)
    images = field.partition(":")[0] == "images"
    what = "images wait" if images else "bytes of images are stored"
    again = load.seconds_for(target, there + more - most) if images else None
    retry_after = round(min(max(again or _RETRY_AFTER, 1), _MOST_RETRY_AFTER))
    return QueueFullError(
        f"The queue is full: {there} {what}, at most {most} may. Send the job again in {retry_after} s.", retry_after
    )
