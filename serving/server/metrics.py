"""The server's metrics, under TF Serving's names, and their Prometheus text.

prometheus_client does the counting. This module writes the text itself, because prometheus_client adds `_total` to the
names of counters. TF Serving's prometheus_exporter.cc does not, and dashboards use its names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import prometheus_client as prometheus

_MICROSECONDS: Final = 1e6


class Metrics:
    """The metrics of TF Serving in Prometheus. `path` is the path of the metrics page, None if there is no page.

    The methods take seconds; the metrics are in microseconds. Sources: servables/tensorflow/util.cc,
    batching_session.cc and TensorFlow's SavedModel loader.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._registry = registry = prometheus.CollectorRegistry()
        latency = _exponential(10, 1.8, 33)

        def counter(name: str, text: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: list[float], *labels: str) -> prometheus.Histogram:
            return prometheus.Histogram(name, text, labels, registry=registry, buckets=buckets)

        serving = ":tensorflow:serving:"
        self._requests = counter(f"{serving}request_count", "The total number of requests.", "model_name", "status")
        self._latency = histogram(
            f"{serving}request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            latency,
            *("model_name", "API", "entrypoint"),
        )
        self._runtime = histogram(
            f"{serving}runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            latency,
            *("model_name", "API", "runtime"),
        )
        self._queuing = histogram(
            f"{serving}batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing",
            _exponential(100, 1.2, 52),
            "thread_pool_name",
        )
        self._runs = counter(
            f"{serving}batching_session:wrapped_run_count", "Total count of run calls on the wrapped session"
        )
        self._input_size = histogram(
            f"{serving}batching_session:input_batch_size",
            "Tracks the batch size distribution on the inputs.",
            _exponential(1, 2, 16),
        )
        self._padding = histogram(
            f"{serving}batching_session:padding_size",
            "Tracks the padding size distribution on batches.",
            _exponential(1, 2, 16),
        )
        self._batch_size = histogram(
            f"{serving}batching_session:processed_batch_size",
            "Tracks the batch size distribution on processing.",
            _exponential(1, 2, 16),
        )
        self._warm_up = histogram(
            f"{serving}model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up the model.",
            latency,
            *("model_path", "status"),
        )
        self._example_counts = histogram(
            f"{serving}request_example_counts",
            "The number of tensorflow.Examples per request.",
            _exponential(1, 2, 15),
            "model",
        )
        self._examples = counter(  # one "_total" is taken off again
            f"{serving}request_example_count_total_total", "The total number of tensorflow.Examples.", "model"
        )
        loader = ":tensorflow:cc:saved_model:"
        self._loads = counter(
            f"{loader}load_attempt_count", "The number of attempts to load a SavedModel.", "model_path", "status"
        )
        self._load_latency = counter(
            f"{loader}load_latency", "Latency in microseconds for SavedModels that were loaded.", "model_path"
        )

    def request(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Count a call of a model that has ended, with its status and, if that is OK, its duration."""
        self._requests.labels(model, status).inc()
        if status == "OK":
            self._latency.labels(model, api, entrypoint).observe(seconds * _MICROSECONDS)

    def runtime(self, model: str, api: str, seconds: float) -> None:
        """Record the duration of a graph run."""
        self._runtime.labels(model, api, "TF1").observe(seconds * _MICROSECONDS)

    def examples(self, model: str, count: int) -> None:
        """Count the tf.Examples of a call."""
        self._example_counts.labels(model).observe(count)
        self._examples.labels(model).inc(count)

    def load(self, path: str, seconds: float, *, succeeded: bool) -> None:
        """Count an attempt to load a version, with its duration."""
        self._loads.labels(path, "success" if succeeded else "fail").inc()
        if succeeded:
            self._load_latency.labels(path).inc(seconds * _MICROSECONDS)

    def warmed_up(self, path: str, seconds: float) -> None:
        """Record how long the warm-up records of a version took."""
        self._warm_up.labels(path, "OK").observe(seconds * _MICROSECONDS)

    def queued(self, pool: str, seconds: float) -> None:
        """Record how long a request waited until its batch began."""
        self._queuing.labels(pool).observe(seconds * _MICROSECONDS)

    def batched(self, sizes: Sequence[int], rows: int) -> None:
        """Record the rows of each request of a batch that begins, and of the batch with its padding."""
        self._runs.inc()
        for size in sizes:
            self._input_size.observe(size)
        self._batch_size.observe(rows)
        self._padding.observe(rows - sum(sizes))

    def page(self) -> str:
        """Return all metrics in Prometheus's text format, as prometheus_exporter.cc writes it."""
        lines = []
        for metric in self._registry.collect():
            lines.append(f"# TYPE {metric.name} {metric.type}")
            for sample in metric.samples:
                if sample.name.endswith("_created"):
                    continue
                name = sample.name.removesuffix("_total") if metric.type == "counter" else sample.name
                labels = ",".join(f'{label}="{_escaped(label, value)}"' for label, value in sample.labels.items())
                lines.append(f"{name}{{{labels}}} {sample.value:.12g}")
        return "\n".join(lines) + "\n"


def _exponential(scale: float, growth: float, count: int) -> list[float]:
    return [float(f"{scale * growth**power:.6g}") for power in range(count)]


def _escaped(label: str, value: str) -> str:
    if label == "le" and value != "+Inf":
        return f"{float(value):g}"
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
