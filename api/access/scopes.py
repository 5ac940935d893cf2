"""Which route needs a key for what. A route that is in neither table needs one of scope `admin`; a test finds it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from workers.store.api_keys import Scope

# They show nothing of anyone's: the page and the documents are the same for all, and who looks whether the API lives
# (load balancers, process managers, the page itself) has no key.
PUBLIC: Final = frozenset(
    {
        "docs.file",
        "docs.openapi",
        "docs.page",
        "docs.start",
        "health.healthz",
        "health.readyz",
        "pages.file",
        "pages.show",
    }
)

# Robots come with a token of their own instead of a key: see the gate.
ROBOTS: Final = "robots"

# `submit` makes work and ends it, `read` looks at it.
SCOPES: Final[Mapping[str, Scope]] = MappingProxyType(
    {
        "deliveries.listed": Scope.READ,
        "deliveries.redeliver": Scope.SUBMIT,
        "events.events": Scope.READ,
        "images.image": Scope.READ,
        "items.annotated": Scope.READ,
        "items.item": Scope.READ,
        "jobs.cancel": Scope.SUBMIT,
        "jobs.delete": Scope.SUBMIT,
        "jobs.retry": Scope.SUBMIT,
        "jobs.show": Scope.READ,
        "listing.listed": Scope.READ,
        "metrics.metrics": Scope.METRICS,  # everyone's work, but in figures only
        "models.listed": Scope.READ,
        "models.show": Scope.READ,
        "results.results": Scope.READ,
        "course.predict": Scope.SUBMIT,
        "submissions.submit": Scope.SUBMIT,
        "synchronous.detect": Scope.SUBMIT,  # what it answers is what it has submitted
        "webhooks.create": Scope.SUBMIT,
        "webhooks.delete": Scope.SUBMIT,
        "webhooks.disable": Scope.SUBMIT,
        "webhooks.enable": Scope.SUBMIT,
        "webhooks.listed": Scope.READ,
        "webhooks.rotate": Scope.SUBMIT,
        "webhooks.show": Scope.READ,
        "webhooks.test": Scope.SUBMIT,
        "webhooks.update": Scope.SUBMIT,
    }
)


def scope_of(endpoint: str) -> Scope | None:
    """What a key has to be for at a route, by its endpoint in Flask; None where none is needed."""
    return None if endpoint in PUBLIC or endpoint.startswith(f"{ROBOTS}.") else SCOPES.get(endpoint, Scope.ADMIN)
