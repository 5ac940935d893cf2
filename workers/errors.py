"""The errors of jobs, images, stores, requests and webhooks."""

from __future__ import annotations

from serving.errors import ShelflineError


class SettingsError(ShelflineError):
    """Raised when the settings are invalid."""

    code = "settings_invalid"


class StoreUnavailableError(ShelflineError):
    """Raised when Redis or the blob store cannot be reached.

    Also if it refuses what it is asked for. `reason` then names a state of Redis that an operator has to end, as in
    `redis_full`; else it is ''. `retry_after` is the number of seconds after which a caller should try again.
    """

    code = "store_unavailable"
    retryable = True

    def __init__(self, message: str = "", reason: str = "", retry_after: int = 1) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after


class OutboundBlockedError(ShelflineError):
    """Raised when a request to a caller's URL must not be sent, for instance since it is not on the public internet."""

    code = "request_blocked"


class OutboundFailedError(ShelflineError):
    """Raised when a request to a caller's URL failed, or its response did not arrive completely."""

    code = "request_failed"
    retryable = True


class WebhookNotFoundError(ShelflineError):
    """Raised when the caller has no webhook endpoint with this id."""

    code = "webhook_not_found"


class WebhookStateError(ShelflineError):
    """Raised when the state of a webhook endpoint forbids the request, or its owner has too many endpoints."""

    code = "webhook_state"


class DeliveryNotFoundError(ShelflineError):
    """Raised when there is no delivery with this id, or its job is gone."""

    code = "delivery_not_found"


class KeyNotFoundError(ShelflineError):
    """Raised when there is no API key with this id."""

    code = "key_not_found"


class JobError(ShelflineError):
    """Base of the errors of a job as a whole."""


class JobNotFoundError(JobError):
    """Raised when the caller has no job with this id."""

    code = "job_not_found"


class JobGoneError(JobError):
    """Raised when a job was deleted, by its owner or after its retention.

    `owner` is the owner of the deleted job.
    """

    code = "job_gone"

    def __init__(self, detail: str, owner: str = "") -> None:
        super().__init__(detail)
        self.owner = owner


class ItemNotFoundError(JobError):
    """Raised when a job has no image with this index."""

    code = "item_not_found"


class JobStateError(JobError):
    """Raised when the state of a job forbids the request."""

    code = "job_state"


class RetryLaterError(JobError):
    """Base of the errors that tell the caller to try again in `retry_after` seconds, a measured estimate."""

    retryable = True

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class QueueFullError(RetryLaterError):
    """Raised when a job would exceed the number of images that may wait."""

    code = "queue_full"


class WaitTooLongError(RetryLaterError):
    """Raised when an image would probably not be done before its caller stops waiting."""

    code = "wait_too_long"


class IdempotencyInFlightError(JobError):
    """Raised when the first request with the same idempotency key is still being accepted."""

    code = "idempotency_in_flight"
    retryable = True


class IdempotencyMismatchError(JobError):
    """Raised when an idempotency key was used before, with a different request."""

    code = "idempotency_mismatch"


class NoImagesError(JobError):
    """Raised when a job has no images."""

    code = "no_images"


class TooManyImagesError(JobError):
    """Raised when a job has more images than the setting allows."""

    code = "too_many_images"


class TooManyBytesError(JobError):
    """Raised when the images of a job have more bytes than the quota allows to store."""

    code = "too_many_bytes"


class FolderNotAllowedError(JobError):
    """Raised when a folder is not under one of the allowed roots."""

    code = "folder_not_allowed"


class FolderNotFoundError(JobError):
    """Raised when a folder under an allowed root is missing, or is not a folder."""

    code = "folder_not_found"


class SourceNotAllowedError(JobError):
    """Raised when a location is not under one of the allowed prefixes."""

    code = "source_not_allowed"


class SourceUnreadableError(JobError):
    """Raised when a location under an allowed prefix cannot be listed or read."""

    code = "source_unreadable"


class OutputNotAllowedError(JobError):
    """Raised when the location for a job's output is not under one of the allowed prefixes."""

    code = "output_not_allowed"


class OutputUnusableError(JobError):
    """Raised when this server cannot write a job's output in that place or format."""

    code = "output_unusable"


class ManifestError(JobError):
    """Raised when a manifest, or a row of it, is invalid."""

    code = "manifest_invalid"


class ManifestLostError(JobError):
    """Raised when the list of a job's images is no longer in the blob store, or is damaged there."""

    code = "manifest_lost"


class ArchiveError(JobError):
    """Raised when a file cannot be read as an archive."""

    code = "archive_invalid"


class ArchiveTooLargeError(JobError):
    """Raised when an archive has more entries, or unpacks to more bytes, than the settings allow."""

    code = "archive_too_large"


class DuplicateIdError(JobError):
    """Raised when two images of a job have the same `custom_id`."""

    code = "duplicate_custom_id"


class UnknownModelError(JobError):
    """Raised when a job names a model that no worker knows."""

    code = "unknown_model"


class ImageError(ShelflineError):
    """Base of the errors of one image. They fail that image, not its job."""


class ImageDecodeError(ImageError):
    """Raised when the bytes of an image are damaged."""

    code = "image_decode_failed"


class ImageTooLargeError(ImageError):
    """Raised when an image has more bytes or pixels than the settings allow."""

    code = "image_too_large"


class UnsupportedFormatError(ImageError):
    """Raised when a file is not an image in a supported format."""

    code = "unsupported_format"


class ImageMissingError(ImageError):
    """Raised when an image cannot be read from the place that its job names."""

    code = "image_missing"


class ImageChangedError(ImageError):
    """Raised when a file changes during every attempt to read it."""

    code = "image_changed"
    retryable = True


class FetchBlockedError(ImageError):
    """Raised when the URL of an image must not be fetched: it is not http(s), or is not on the public internet."""

    code = "fetch_blocked"


class FetchFailedError(ImageError):
    """Raised when the URL of an image gives no image: no connection, no response in time, or an error status.

    It is not retryable if the host says that the image does not exist.
    """

    code = "fetch_failed"
    retryable = True

    def __init__(self, detail: str, *, retryable: bool = True) -> None:
        super().__init__(detail)
        self.retryable = retryable  # type: ignore[misc]  # a class's property elsewhere, the host's word here


class ArchiveEntryError(ImageError):
    """Raised when an entry of an archive is refused for its name, its type or its compression, or is damaged."""

    code = "archive_entry_refused"


class ItemInvalidError(ImageError):
    """Raised when an item of a request, or a row of a manifest, is wrong in itself while others are not."""

    code = "item_invalid"


class DeadlineExceededError(ImageError):
    """Raised when an image was not done before the deadline of its job."""

    code = "deadline_exceeded"
    retryable = True


class WorkerCrashedError(ImageError):
    """Raised when the processing of an image killed the worker three times."""

    code = "crashed_worker"


class ImageTimeoutError(ImageError):
    """Raised when an image took too long to read or to decode, for the third time."""

    code = "image_timeout"
    retryable = True


class ImageVersionGoneError(ImageError):
    """Raised when the version of the model that a job asks for was not served for too long."""

    code = "version_gone"
