"""The objects that the API needs, put together."""

from __future__ import annotations

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
from workers.telemetry.tracing import open_tracer
from workers.webhooks.deliveries import Deliveries
from workers.webhooks.endpoints import Endpoints


class Backend:
    """The objects that answer the API's requests. They connect at first use, so it may be opened before a fork."""

    def __init__(self, settings: Settings) -> None:
        link = RedisLink(settings.redis_url)
        blobs = BlobStore.of(settings)
        self.store = JobStore(link, blobs, settings)
        self.listing = Listing(link)
        self.intake = Intake(link, self.store, blobs, CeleryWakeUps(link, create_celery(settings)), settings)
        self.health = Health(link, blobs, settings)
        self.catalog = Catalog(link)
        self.capacity = Capacity(link)
        self.originals = OriginalImages(self.store, blobs, settings)
        self.keys = KeyCache(KeyStore(link), settings)
        self.rates = RateLimits(link)
        self.endpoints = Endpoints(link, settings)
        self.deliveries = Deliveries(link, settings)
        self.metrics = MetricsPage(link, settings)
        self.tracer = open_tracer(settings, "shelfline-web")
