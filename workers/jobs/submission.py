"""A submission: what comes with a job beside its options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workers.jobs.job import NO_QUOTA, UNKNOWN_REQUEST, Quota, Request
from workers.jobs.options import JobOptions
from workers.jobs.output import Output
from workers.jobs.webhook import Webhook


@dataclass(frozen=True)
class Submission:
    """What comes with a job beside its options. `deadline_seconds` None takes the deadline of the settings."""

    owner: str = ""
    deadline_seconds: float | None = None
    idempotency_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    quota: Quota = NO_QUOTA
    webhook: Webhook | None = None
    output: Output | None = None
    base_url: str = ""  # of the API as the caller reached it, for links in webhooks
    request: Request = UNKNOWN_REQUEST

    def fingerprint(self, options: JobOptions, parts: Iterable[str]) -> str:
        """Return the digest by which a repeated request with an idempotency key is recognised.

        It covers the options, the submission's own fields, and `parts` (name and sha256 of each), not the raw body.
        """
        metadata, webhook = json.dumps(dict(self.metadata)), self.webhook.identity if self.webhook else ""
        output = self.output.to_json() if self.output else ""
        digest = hashlib.sha256(f"{options.to_json()} {self.deadline_seconds} {metadata} {webhook} {output}".encode())
        for part in parts:
            digest.update(b"\0" + part.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


PLAIN = Submission()
