"""A submission, and the new job that is made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from workers.jobs.job import NO_QUOTA, UNKNOWN_REQUEST, Quota, Request
from workers.jobs.lanes import lane_of
from workers.jobs.options import JobOptions, Lane
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


@dataclass(frozen=True)
class NewJob:
    """A job about to be created. Its manifest is in the blob store already, or a duty will list its `source`."""

    id: str
    options: JobOptions
    submission: Submission = PLAIN
    total: int = 0
    upload: str = ""  # id of the upload whose blobs will belong to the job
    bytes: int = 0  # size of that upload
    retry_of: str = ""  # the job whose failed images are retried
    source: str = ""  # what is to be listed, see workers/sources/origins/named.py; '' if its images are known
    rules: Sequence[str] = ()  # further fields of its Redis hash: name, value, name, value, ...

    @property
    def paths(self) -> list[str]:
        """The paths in the blob store below which its blobs are."""
        return [f"jobs/{self.id}", *([f"uploads/{self.upload}"] if self.upload else ())]

    @property
    def lane(self) -> Lane:
        """The lane of its images. While their number is unknown, it is `bulk` unless the caller set a priority."""
        return "bulk" if self.source and not self.options.priority else lane_of(self.options, self.total)
