"""Words for what old studies are worth to a new one."""

from __future__ import annotations

from collections.abc import Iterable

from planner.evaluation.prior_use import PriorUse
from planner.space.text import percent

__all__ = ["prior_lines"]


def prior_lines(priors: Iterable[PriorUse]) -> list[str]:
    """One line for each prior: how many points it measured, and what it weighs in the predictions."""
    return [f"prior {prior.name}: {prior.points:,} points measured there; {_weights(prior)}" for prior in priors]


def _weights(prior: PriorUse) -> str:
    if not prior.weights:
        return "it says nothing of these targets"
    if not any(prior.weights.values()):
        return "left out: it predicts the runs here worse than they predict one another"
    distinct = {round(weight, 2) for weight in prior.weights.values()}
    if len(distinct) == 1:
        return f"it weighs {percent(distinct.pop())} in the predictions"
    said = ", ".join(f"{target} {percent(weight) if weight else 'left out'}" for target, weight in
                     prior.weights.items())
    return f"its weight in the predictions: {said}"
