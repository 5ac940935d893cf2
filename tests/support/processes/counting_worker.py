"""The worker's Celery application, whose main process writes what it holds of connections to the broker.

It writes to the file that COUNTS_FILE names, at SIGUSR2. Celery pauses for a second when more than five connections
break within one; here it does not.
"""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from types import FrameType

from celery.worker.consumer import consumer
from kombu.transport.redis import Channel, MultiChannelPoller, Transport

from workers.main import app

__all__ = ["app"]


def write_counts(_signal: int, _frame: FrameType | None) -> None:
    """Write the number of live objects of kombu's transport, in place of an earlier number."""
    gc.collect()
    count = sum(isinstance(obj, (Channel, MultiChannelPoller, Transport)) for obj in gc.get_objects())
    path = Path(os.environ["COUNTS_FILE"])
    path.with_suffix(".new").write_text(str(count))
    path.with_suffix(".new").rename(path)


consumer.sleep = lambda _seconds: None
signal.signal(signal.SIGUSR2, write_counts)
