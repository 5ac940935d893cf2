"""All counters and histograms. What /metrics reads from Redis at the time of a request is in metrics_page.py."""

from __future__ import annotations

from typing import Final

from workers.telemetry.counters import Counter, Histogram, Metric

STAGES: Final = ("claim", "fetch", "download", "decode", "predict", "settle")

STAGE_SECONDS: Final = Histogram(
    "shelfline_stage_seconds",
    "Seconds that a stage of the pipeline took: claim, predict (a call of the model server) and settle of a batch; "
    "fetch (from the blob store or a folder), download (by URL) and decode of an image.",
    ("stage",),
    (STAGES,),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
BATCH_ROWS: Final = Histogram(
    "shelfline_batch_rows", "Rows of a Predict call.", ("model",), bounds=(1, 2, 3, 4, 6, 8, 10, 12, 14, 16)
)
IMAGES: Final = Counter(  # counted once each: by the scripts that settle an image or give it up (lib/account.lua)
    "shelfline_images_total",
    "Images that got their result: succeeded, failed (with the error's code), canceled. Only succeeded ones have a "
    "version.",
    ("model", "version", "outcome", "code"),
)
TAKEOVERS: Final = Counter(
    "shelfline_takeovers_total", "Images taken over from a worker that did not renew their leases."
)
OVERDUE: Final = Counter(
    "shelfline_overdue_images_total",
    "Images that took longer than SHELFLINE_IMAGE_SECONDS to read or to decode.",
    ("stage",),
    (("read", "decode"),),
)
HAND_BACKS: Final = Counter(
    "shelfline_hand_backs_total", "Images that a worker put back into their lane without a result."
)
WAKE_UPS: Final = Counter(
    "shelfline_rings_total", "Wake-ups for workers: sent, or lost.", ("outcome",), (("sent", "lost"),)
)
DELIVERIES: Final = Counter(
    "shelfline_deliveries_total",
    "Delivery attempts of webhooks: delivered; failed, to be tried again; given_up after the last attempt; gone, if "
    "the endpoint answered 410.",
    ("outcome",),
    (("delivered", "failed", "given_up", "gone"),),
)
REDIS_ERRORS: Final = Counter(
    "shelfline_redis_errors_total",
    "Calls to Redis that failed: it did not answer, or refused.",
    ("kind",),
    (("no_answer", "refused"),),
)
RPC_ERRORS: Final = Counter(
    "shelfline_rpc_errors_total",
    "Calls to the model server that failed, by gRPC status.",
    ("code",),
    (("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL"),),
)
NOT_FINITE: Final = Counter(
    "shelfline_not_finite_total",
    "Detections that were left out because the model answered NaN or infinity for them.",
    ("model", "version"),
)
NO_AREA: Final = Counter(
    "shelfline_no_area_total",
    "Detections that were left out because their box has no area within the photo.",
    ("model", "version"),
)
REQUESTS: Final = Counter(
    "shelfline_http_requests_total", "Answers of the API, by route and status.", ("route", "status")
)
REQUEST_SECONDS: Final = Histogram(
    "shelfline_http_request_seconds",
    "Seconds from a request's head to its answer's head, including the time that the caller asked to wait.",
    ("route",),
    bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

ALL: Final = tuple(metric for metric in list(globals().values()) if isinstance(metric, Metric))
