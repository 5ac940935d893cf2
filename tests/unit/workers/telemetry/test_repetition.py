from __future__ import annotations

from workers.telemetry.repetition import Repetition


def test_a_problem_is_logged_once_a_minute() -> None:
    """Another problem, another subject, and the same problem after it was over are new."""
    now = 5.0
    repetition = Repetition(lambda: now)

    assert repetition.is_due("default", "contract_invalid")
    assert not repetition.is_due("default", "contract_invalid")
    assert repetition.is_due("other", "contract_invalid")
    assert repetition.is_due("default", "model_unavailable")
    now += 59
    assert not repetition.is_due("default", "model_unavailable")
    now += 1
    assert repetition.is_due("default", "model_unavailable")
    repetition.is_over("default")
    repetition.is_over("unknown")
    assert repetition.is_due("default", "model_unavailable")
