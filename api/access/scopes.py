"""The scope that a key needs for each route.

A route in neither table needs the scope `admin`; a test finds such routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workers.store.api_keys import Scope

# These routes need no key, since they show no data of an owner. The page and the documents are the same for every
# caller. Health checks come from load balancers, process managers and the page itself, which have no key.
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

# The blueprint of the robots, which send a token instead of a key: see gate.py.
ROBOTS: Final = "robots"

# `submit` creates and changes jobs and webhooks, `read` only reads them.
SCOPES: Final[Mapping[str, Scope]] = {
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
    "metrics.metrics": Scope.METRICS,  # about all owners, but only numbers
    "models.listed": Scope.READ,
    "models.show": Scope.READ,
    "results.results": Scope.READ,
    "course.predict": Scope.SUBMIT,
    "submissions.submit": Scope.SUBMIT,
    "synchronous.detect": Scope.SUBMIT,  # needs no `read`: it returns only the result of its own image
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


def scope_of(endpoint: str) -> Scope | None:
    """Return the scope that a key needs for a Flask endpoint; None if the route needs no key."""
    return None if endpoint in PUBLIC or endpoint.startswith(f"{ROBOTS}.") else SCOPES.get(endpoint, Scope.ADMIN)
