"""What /metrics shows: the totals of all processes, and the queue, the models and Redis at the time of the request."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any, Final, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from workers.errors import StoreUnavailableError
from workers.health import WORKER_SEEN_KEY
from workers.io.redis_link import RedisLink, translated
from workers.jobs.options import parse_target
from workers.settings import Settings
from workers.store.catalog import Catalog
from workers.telemetry.counters import INFINITE, SUM, Histogram, Metric
from workers.telemetry.metrics import ALL

Labels = TypeVar("Labels", bound=tuple[str, ...])

TOTALS_KEY: Final = "sl:metrics"

_LANE_GAUGES: Final = (
    ("rows", sum, "shelfline_waiting_rows", "Rows of accepted images without a result, including images in flight."),
    ("held", sum, "shelfline_held_images", "Images in flight."),
    (
        "waits",
        max,
        "shelfline_oldest_waiting_seconds",
        "How long the oldest unclaimed image has waited; 0: none waits.",
    ),
    (
        "unattended",
        max,
        "shelfline_unattended_seconds",
        "How long the oldest unclaimed image waits while no worker takes images of its model; 0: some do.",
    ),
    ("job", max, "shelfline_oldest_job_seconds", "Age of the oldest job with unfinished images; 0: there is none."),
)


class DownPage:
    """What /metrics shows if Redis is down."""

    def collect(self) -> Iterator[Family]:
        """Yield the metrics that need no Redis."""
        yield _info()
        yield _gauge("shelfline_redis_up", "Whether Redis answers.", {(): 0})


class MetricsPage:
    """Gathers what /metrics shows. It reads Redis a few times, however much work waits, and never writes."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._settings = settings
        self._catalog = Catalog(link)

    def collect(self) -> Iterator[Family]:
        """Yield all metrics; if Redis is down, yield only those of DownPage."""
        try:
            families = [*self._queue(), *self._models(), *self._redis(), *self._totals()]
        except StoreUnavailableError:
            yield from DownPage().collect()
            return
        yield _info()
        yield _gauge("shelfline_redis_up", "Whether Redis answers.", {(): 1})
        yield from families

    def _queue(self) -> Iterator[Family]:
        observed = json.loads(self._link.run("monitoring/observe"))
        lanes: dict[tuple[str, str], list[dict[str, Any]]] = {
            (model, lane): [] for model in self._settings.served_models for lane in ("interactive", "bulk")
        }
        for lane in observed.get("lanes", ()):  # a version that jobs asked for has lanes of its own
            lanes.setdefault((parse_target(lane["target"])[0], lane["lane"]), []).append(lane)
        for field, join, name, meaning in _LANE_GAUGES:
            scale = 1000 if name.endswith("_seconds") else 1
            values = {key: join([0, *(lane[field] for lane in same)]) / scale for key, same in lanes.items()}
            yield _gauge(name, meaning, values, "model", "lane")
        rates = {(model,): max([0, *(lane["rate"] for lane in same)]) for (model, _), same in lanes.items()}
        yield _gauge("shelfline_rows_per_second", "Measured speed of all workers while there is work.", rates, "model")
        for what, meaning in (("duties", "Duties"), ("webhooks", "Endpoints with webhooks")):
            yield _gauge(f"shelfline_due_{what}", f"{meaning} that are due.", {(): observed[what]["count"]})
            yield _gauge(
                f"shelfline_oldest_due_{what}_seconds",
                f"{meaning}: how long the oldest unleased one has been due; 0: none is due.",
                {(): observed[what]["age"] / 1000},
            )
        settings = self._settings
        yield _gauge(
            "shelfline_waiting_rows_limit",
            "Most waiting rows; then jobs are refused.",
            {(): settings.max_waiting_images},
        )
        yield _gauge("shelfline_stored_bytes", "Bytes of uploaded images that are stored.", {(): observed["bytes"]})
        yield _gauge(
            "shelfline_stored_bytes_limit",
            "Most stored bytes; then uploads are refused.",
            {(): settings.max_blob_bytes},
        )

    def _models(self) -> Iterator[Family]:
        published = {model: self._catalog.look_up(model) for model in self._settings.served_models}
        available = {(model,): int(state is not None and state.available) for model, state in published.items()}
        versions = {(model,): state.version for model, state in published.items() if state and state.version}
        yield _gauge("shelfline_model_available", "Whether workers reached the model lately.", available, "model")
        yield _gauge("shelfline_model_version", "The version that processes new images.", versions, "model")
        with translated():
            seen = self._link.client.exists(WORKER_SEEN_KEY)
        yield _gauge("shelfline_worker_seen", "Whether a worker took up work within the last 25 s.", {(): seen})

    def _redis(self) -> Iterator[Family]:
        with translated():
            info = self._link.client.info("memory", "persistence")
        used, limit = info["used_memory"], info.get("maxmemory", 0)
        written = int(bool(info.get("aof_enabled")) and info.get("aof_last_write_status") == "ok")
        yield _gauge("shelfline_redis_memory_bytes", "Memory that Redis uses.", {(): used})
        yield _gauge("shelfline_redis_memory_limit_bytes", "Redis' maxmemory; 0: no limit.", {(): limit})
        yield _gauge("shelfline_redis_durable", "Whether Redis writes its append-only file.", {(): written})

    def _totals(self) -> Iterator[Family]:
        with translated():
            stored = self._link.client.hgetall(TOTALS_KEY)
        by_name: dict[str, list[tuple[tuple[str, ...], float]]] = defaultdict(list)
        for field, value in stored.items():
            name, *labels = json.loads(field)
            by_name[name].append((tuple(labels), float(value)))
        for metric in ALL:
            samples = [(labels, value) for labels, value in by_name[metric.name] if _belongs(metric, labels)]
            yield _histogram(metric, samples) if isinstance(metric, Histogram) else _counter(metric, samples)


def _info() -> Family:
    return _gauge(
        "shelfline_info", "The version of Shelfline that answers.", {(metadata.version("shelfline"),): 1}, "version"
    )


def _belongs(metric: Metric, labels: tuple[str, ...]) -> bool:
    """Return whether a field fits the metric as it is now: another version may have had other labels or bounds."""
    if isinstance(metric, Histogram):
        return len(labels) == len(metric.labels) + 1 and labels[-1] in {*metric.parts, SUM}
    return len(labels) == len(metric.labels)


def _counter(metric: Metric, samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in sorted({**dict.fromkeys(metric.known_series, 0.0), **dict(samples)}.items()):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Histogram, samples: Iterable[tuple[tuple[str, ...], float]]) -> Family:
    parts: dict[tuple[str, ...], dict[str, float]] = {labels: {} for labels in metric.known_series}
    for (*labels, part), value in samples:
        parts.setdefault(tuple(labels), {})[part] = value
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for label_values, by_part in sorted(parts.items()):
        count, buckets = 0.0, []
        for part in metric.parts:
            count += by_part.get(part, 0.0)
            buckets.append((part if part == INFINITE else str(float(part)), count))
        family.add_metric(label_values, buckets, by_part.get(SUM, 0.0))
    return family


def _gauge(name: str, meaning: str, values: Mapping[Labels, float], *labels: str) -> Family:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
