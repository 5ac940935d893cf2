"""What is said of a stack that did not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.commands.stack.session import _last_line

DEAD = """19:16:55 model    | I0000 some words of TensorFlow
19:17:00 worker   | a warning
19:17:02 model    | python -m serving: no version of sku could be loaded: version 1: it is damaged
19:17:03 system   | sending SIGKILL to web (pid 31394)
Shelfline stopped: model ended by itself, see above.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "it wrote nothing"),
        ("", "it wrote nothing"),
        ("Error: the port is in use.\n\n--\n", "Error: the port is in use."),
        (DEAD, "python -m serving: no version of sku could be loaded: version 1: it is damaged"),
        (
            "Shelfline stopped: redis ended by itself, see above.",
            "Shelfline stopped: redis ended by itself, see above.",
        ),
    ],
)
def test_the_reason_is_what_the_dead_process_said(tmp_path: Path, text: str | None, expected: str) -> None:
    """Not that it is dead, which is all that the stack itself knows."""
    log = tmp_path / "stack.log"
    if text is not None:
        log.write_text(text)

    assert _last_line(log) == f"{expected} (log: {log})"
