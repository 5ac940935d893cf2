"""The objects that the API needs, put together."""

from __future__ import annotations

from dataclasses import dataclass

from workers.health import Health
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.metrics_page import MetricsPage
from workers.queue.celery_app import create_celery
from workers.queue.wakeups import CeleryWakeUps
from workers.settings import Settings
from workers.sources.intake import Intake
from workers.sources.original_images import OriginalImages
from workers.store.api_keys import KeyStore
from workers.store.capacity import Capacity
from workers.store.catalog import Catalog
from workers.store.job_store import JobStore
from workers.store.key_cache import KeyCache
from workers.store.listing import Listing
from workers.store.rate_limits import RateLimits
from workers.telemetry.spans import Tracer
from workers.telemetry.tracing import open_tracer
from workers.webhooks.deliveries import Deliveries
from workers.webhooks.endpoints import Endpoints


@dataclass(frozen=True)
class Backend:
    """The objects that answer the API's requests. They connect at first use."""

    store: JobStore
    listing: Listing
    intake: Intake
    health: Health
    catalog: Catalog
    capacity: Capacity
    originals: OriginalImages
    keys: KeyCache
    rates: RateLimits
    endpoints: Endpoints
    deliveries: Deliveries
    metrics: MetricsPage
    tracer: Tracer


def open_backend(settings: Settings) -> Backend:
    """Create the API's objects. Nothing is connected yet, so this may be called before a fork."""
    link = RedisLink(settings.redis_url)
    blobs = BlobStore(settings.blob_url)
    store = JobStore(link, blobs, settings)
    wakeups = CeleryWakeUps(link, create_celery(settings))
    return Backend(
        store,
        Listing(link),
        Intake(link, store, blobs, wakeups, settings),
        Health(link, blobs, settings),
        Catalog(link),
        Capacity(link),
        OriginalImages(store, blobs, settings),
        KeyCache(KeyStore(link), settings),
        RateLimits(link),
        Endpoints(link, settings),
        Deliveries(link, settings),
        MetricsPage(link, settings),
        open_tracer(settings, "shelfline-web"),
    )
