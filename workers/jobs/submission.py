"""On whose account a job is made, and how."""

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
class Terms:
    """On whose account a job is made, and how: None takes the setting's deadline."""

    owner: str = ""
    deadline_seconds: float | None = None
    idempotency_key: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    quota: Quota = NO_QUOTA
    webhook: Webhook | None = None
    output: Output | None = None
    base_url: str = ""  # of the API that the caller reached, for links in webhooks
    request: Request = UNKNOWN_REQUEST

    def fingerprint(self, options: JobOptions, parts: Iterable[str]) -> str:
        """What a request is recognised by: its options, and the name and sha256 of each part; not its raw body."""
        metadata, webhook = json.dumps(dict(self.metadata)), self.webhook.identity if self.webhook else ""
        output = self.output.to_json() if self.output else ""
        digest = hashlib.sha256(f"{options.to_json()} {self.deadline_seconds} {metadata} {webhook} {output}".encode())
        for part in parts:
            digest.update(b"\0" + part.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


PLAIN = Terms()
