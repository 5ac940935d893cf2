"""Traces by OpenTelemetry, sent as OTLP over HTTP to where the variables OTEL_EXPORTER_OTLP_* say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self, Unpack

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from workers.telemetry.spans import Kind, Span, SpanOptions, Tracer, Value

_KINDS: Final[Mapping[Kind, SpanKind]] = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class _OtlpSpan(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        if span.get_span_context().trace_flags.sampled:
            _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
        self.traceparent = carrier.get("traceparent", "")

    def end(self, error: str = "", **attributes: Value) -> None:
        self._span.set_attributes(attributes)
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
        self._span.end()


class OtlpTracer(Tracer):
    """Starts spans, and passes each to `processor` when it ends."""

    def __init__(self, service: str, processor: SpanProcessor) -> None:
        named = Resource({"service.name": service}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=Resource.create().merge(named), shutdown_on_exit=True)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("shelfline")

    @classmethod
    def exporting(cls, service: str) -> Self:
        """Return a tracer that sends its spans in batches, from a thread of its own."""
        return cls(service, BatchSpanProcessor(OTLPSpanExporter()))

    def start(self, name: str, parent: str, kind: Kind = "internal", **options: Unpack[SpanOptions]) -> Span:
        """Start a span below `parent`, a traceparent, '' for a new trace. It begins now if `began` is not given."""
        parents = [trace.get_current_span(_context(link)) for link in options.get("links", ())]
        links = [trace.Link(span.get_span_context()) for span in parents]
        began = int(options["began"] * 1e9) if "began" in options else None
        attributes = options.get("attributes")
        return _OtlpSpan(self._tracer.start_span(name, _context(parent), _KINDS[kind], attributes, links, began))

    def close(self) -> None:
        """Send the remaining spans."""
        self._provider.shutdown()


def _context(traceparent: str) -> Context:
    return _PROPAGATOR.extract({"traceparent": traceparent} if traceparent else {}, Context())
