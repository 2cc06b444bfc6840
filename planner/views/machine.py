"""What is said of the machine: that it has changed while a study ran."""

from __future__ import annotations

from planner.evaluation.machine_drift import MachineDrift
from planner.space.text import percent

__all__ = ["drift_text"]


def drift_text(drift: MachineDrift | None) -> str:
    """A sentence for people; empty where no change was seen."""
    if drift is None or not drift.is_seen:
        return ""
    how, one = ("slower", 1.0) if drift.ratio > 1 else ("faster", -1.0)
    low, high = sorted(one * (end - 1) for end in (drift.low, drift.high))
    return (f"the machine has become {percent(abs(drift.ratio - 1))} {how} since the study began (90 % interval "
            f"{percent(low)} … {percent(high)}); predictions are of the machine as it was at the last run")
