"""What disturbed a study's runs, as their runner noted it."""

from __future__ import annotations

from collections import Counter

from planner.ledger.observations import Observations

__all__ = ["disturbance_lines"]


def disturbance_lines(observations: Observations) -> list[str]:
    """A sentence for each kind of disturbance, the most frequent first: what it was in the run that had it last, and in
    how many runs it was noted. Kinds differ in their words, not in their numbers."""
    runs = [run for run in observations.runs if run.measurement.disturbances]
    last = {_words(text): text for run in runs for text in run.measurement.disturbances}
    counts = Counter(kind for run in runs for kind in {_words(text) for text in run.measurement.disturbances})
    return [f"{last[kind]} (noted in {count} of {len(observations.runs)} runs)" for kind, count in counts.most_common()]


def _words(text: str) -> str:
    return "".join(character for character in text if not character.isdigit())
