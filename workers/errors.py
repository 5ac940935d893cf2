"""The errors of jobs, images, stores, requests and webhooks."""

from __future__ import annotations

from typing import ClassVar

from serving.errors import ShelflineError


class SettingsError(ShelflineError):
    """Raised when the settings cannot be used."""

    code: ClassVar[str] = "settings_invalid"


class StoreUnavailableError(ShelflineError):
    """Raised when Redis or the blob store cannot be reached."""

    code: ClassVar[str] = "store_unavailable"
    retryable: ClassVar[bool] = True


class OutboundError(ShelflineError):
    """Base of what can be wrong with a request to an address that a caller named."""


class OutboundBlockedError(OutboundError):
    """Raised when the request may not be sent."""

    code: ClassVar[str] = "request_blocked"


class OutboundFailedError(OutboundError):
    """Raised when the request was sent, or would have been, and brought no whole answer."""

    code: ClassVar[str] = "request_failed"
    retryable: ClassVar[bool] = True


class WebhookNotFoundError(ShelflineError):
    """Raised when there is no webhook endpoint with that id, or it is another owner's."""

    code: ClassVar[str] = "webhook_not_found"


class WebhookStateError(ShelflineError):
    """Raised when a webhook endpoint's state does not allow what is asked, or an owner has as many as there may be."""

    code: ClassVar[str] = "webhook_state"


class DeliveryNotFoundError(ShelflineError):
    """Raised when there is no delivery with that id: nothing of the kind was sent, or its job is gone."""

    code: ClassVar[str] = "delivery_not_found"


class KeyNotFoundError(ShelflineError):
    """Raised when there is no API key of that id."""

    code: ClassVar[str] = "key_not_found"


class JobError(ShelflineError):
    """Base of what can be wrong with a job as a whole."""


class JobNotFoundError(JobError):
    """Raised when there is no job of that id."""

    code: ClassVar[str] = "job_not_found"


class JobGoneError(JobError):
    """Raised when a job was there and was deleted, by its owner or after its retention.

    `owner` is whose it was.
    """

    code: ClassVar[str] = "job_gone"

    def __init__(self, detail: str, owner: str = "") -> None:
        super().__init__(detail)
        self.owner = owner


class ItemNotFoundError(JobError):
    """Raised when a job has no image of that index."""

    code: ClassVar[str] = "item_not_found"


class JobStateError(JobError):
    """Raised when a job's state does not allow what is asked of it."""

    code: ClassVar[str] = "job_state"


class RetryLaterError(JobError):
    """Base of what is refused for now; `retry_after` is in seconds, from the measured rate."""

    retryable: ClassVar[bool] = True

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class QueueFullError(RetryLaterError):
    """Raised when a job would exceed what may wait."""

    code: ClassVar[str] = "queue_full"


class WaitTooLongError(RetryLaterError):
    """Raised when an image would hardly be done while its caller waits."""

    code: ClassVar[str] = "wait_too_long"


class IdempotencyInFlightError(JobError):
    """Raised when the first request with the same idempotency key is still being accepted."""

    code: ClassVar[str] = "idempotency_in_flight"
    retryable: ClassVar[bool] = True


class IdempotencyMismatchError(JobError):
    """Raised when an idempotency key comes again with another request."""

    code: ClassVar[str] = "idempotency_mismatch"


class NoImagesError(JobError):
    """Raised when a job would have no image."""

    code: ClassVar[str] = "no_images"


class TooManyImagesError(JobError):
    """Raised when a job would have more images than the setting allows."""

    code: ClassVar[str] = "too_many_images"


class FolderNotAllowedError(JobError):
    """Raised when a folder is not under one of the allowed roots."""

    code: ClassVar[str] = "folder_not_allowed"


class FolderNotFoundError(JobError):
    """Raised when a folder under an allowed root is missing, or is not a folder."""

    code: ClassVar[str] = "folder_not_found"


class SourceNotAllowedError(JobError):
    """Raised when a location is not under one of the allowed prefixes."""

    code: ClassVar[str] = "source_not_allowed"


class SourceUnreadableError(JobError):
    """Raised when a location under an allowed prefix cannot be listed or read."""

    code: ClassVar[str] = "source_unreadable"


class OutputNotAllowedError(JobError):
    """Raised when a job's output is not to be written under one of the allowed prefixes."""

    code: ClassVar[str] = "output_not_allowed"


class OutputUnusableError(JobError):
    """Raised when a job's output cannot be written by this server, wherever it lies."""

    code: ClassVar[str] = "output_unusable"


class ManifestError(JobError):
    """Raised when a manifest, or a row of it, cannot be understood."""

    code: ClassVar[str] = "manifest_invalid"


class ArchiveError(JobError):
    """Raised when an archive cannot be read as a whole."""

    code: ClassVar[str] = "archive_invalid"


class ArchiveTooLargeError(JobError):
    """Raised when an archive has more entries, or inflates to more bytes, than the settings allow."""

    code: ClassVar[str] = "archive_too_large"


class DuplicateIdError(JobError):
    """Raised when two images of a job have the same custom_id."""

    code: ClassVar[str] = "duplicate_custom_id"


class UnknownModelError(JobError):
    """Raised when a job names a model that no worker has seen."""

    code: ClassVar[str] = "unknown_model"


class ImageError(ShelflineError):
    """Base of what can be wrong with one image; it fails that image alone."""


class ImageDecodeError(ImageError):
    """Raised when an image's bytes are damaged."""

    code: ClassVar[str] = "image_decode_failed"


class ImageTooLargeError(ImageError):
    """Raised when an image has more bytes or pixels than the settings allow."""

    code: ClassVar[str] = "image_too_large"


class UnsupportedFormatError(ImageError):
    """Raised when bytes are not an image in a format that is read here."""

    code: ClassVar[str] = "unsupported_format"


class ImageMissingError(ImageError):
    """Raised when an image cannot be read where its job says it is."""

    code: ClassVar[str] = "image_missing"


class ImageChangedError(ImageError):
    """Raised when a file is written to while it is read, time after time."""

    code: ClassVar[str] = "image_changed"
    retryable: ClassVar[bool] = True


class FetchBlockedError(ImageError):
    """Raised when an image's URL may not be fetched: not http(s), or not on the public internet."""

    code: ClassVar[str] = "fetch_blocked"


class FetchFailedError(ImageError):
    """Raised when an image's URL gives no image: no connection, no answer in time, or an error's status.

    Not retryable where the host said that there is nothing to be had.
    """

    code: ClassVar[str] = "fetch_failed"
    retryable: ClassVar[bool] = True

    def __init__(self, detail: str, *, retryable: bool = True) -> None:
        super().__init__(detail)
        self.retryable = retryable  # type: ignore[misc]  # a class's property elsewhere, the host's word here


class ArchiveEntryError(ImageError):
    """Raised for an entry of an archive that is not taken: its name, its kind, its compression, or damage."""

    code: ClassVar[str] = "archive_entry_refused"


class DeadlineExceededError(ImageError):
    """Raised for an image that was not done when its job's time was over."""

    code: ClassVar[str] = "deadline_exceeded"
    retryable: ClassVar[bool] = True


class WorkerCrashedError(ImageError):
    """Raised for an image whose processing killed the worker three times."""

    code: ClassVar[str] = "crashed_worker"
