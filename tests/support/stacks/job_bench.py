"""Jobs without workers: made, settled in any order and ended by a test itself, on a real Redis and blob store."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from workers.duties import Duties
from workers.io.blobs import BlobStore
from workers.io.redis_link import RedisLink
from workers.jobs.claimed_image import ClaimedImage
from workers.jobs.index_set import IndexSet
from workers.jobs.job import ImageSource, Job, manifest_path, new_id
from workers.jobs.options import JobOptions
from workers.jobs.result import Outcome
from workers.jobs.submission import NewJob, Submission
from workers.settings import Settings
from workers.store.job_store import JobStore
from workers.store.listing import Listing
from workers.store.manifests import manifest_line


class JobBench:
    """Jobs whose images are no more than names, settled in any order, as workers would."""

    def __init__(self, settings: Settings, link: RedisLink) -> None:
        self.link = link
        self.blobs = BlobStore(settings.blob_url)
        self.store = JobStore(link, self.blobs, settings)
        self.duties = Duties(link, self.blobs, settings, lambda _model: None)
        self.listing = Listing(link)

    def job(self, total: int = 1, *, owner: str = "", model: str = "default") -> Job:
        """A job that no worker will claim images of."""
        new = NewJob(new_id("job"), JobOptions(model), Submission(owner, 3600.0), total)
        sources = [ImageSource(f"{index}.jpg", f"blob:{index}") for index in range(total)]
        self.blobs.write(manifest_path(new.id), io.BytesIO(b"".join(map(manifest_line, sources))))
        self.store.draft(new)
        return self.store.create(new, [], 0)[0]

    def settle(self, job: Job, indexes: Sequence[int], state: str = "succeeded", **more: Any) -> None:
        """Settle images as a worker would that had claimed them.

        `more` stands in each result; of a function what it makes of the image's index.
        """
        self.link.client.hincrby(f"sl:job:{job.id}", "running", len(indexes))
        self.link.client.hincrby(f"sl:job:{job.id}", "queued", -len(indexes))
        lane = f"sl:lane:{job.options.model}:{job.lane}"
        outcomes = []
        for index in indexes:
            own = {name: value(index) if callable(value) else value for name, value in more.items()}
            text = _text({"index": index, "name": f"{index}.jpg", "state": state, **own})
            image = ClaimedImage(lane, "0-1", job.id, index, "0", 0, 0, f"{index}.jpg", "", "", 1, job.options)
            outcomes.append(Outcome(image, state, text, 1))
        self.store.settle(outcomes, 1.0)

    def end(self, job: Job) -> None:
        """Settle what is left, and do what follows from it."""
        self.settle(job, list(self.store.finished(job.id, IndexSet.of([(0, job.total)])).missing(job.total)))
        self.duties.run_due()


def _text(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"))
