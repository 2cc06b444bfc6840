"""The strategies' suite: ours keep the contract, and each way of breaking it is reported."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations
from planner.models.grid_model import Prediction
from planner.models.prior import Prior
from planner.models.prior_regressor import PriorColumn
from planner.space.slo import Boundary, parse_tier
from planner.strategies.registry import STRATEGIES, uses_trajectories
from planner.strategies.strategy import Posterior, StrategyContext
from planner.tables.recorded_grid import Sweep
from planner.testing import check_strategy
from planner.testing.strategy import example_contexts

BOUNDARY = Boundary((parse_tier("latency_s <= 3", "slo"),), 0.95)


def _prior(context: StrategyContext) -> Prior:
    """An old study that found a plain rule everywhere."""
    value = 1.0 + np.arange(len(context.grid), dtype=np.float64)
    column = PriorColumn("old", np.log(value), np.full(len(value), 0.01))
    return Prior("old", len(value), dict.fromkeys(context.targets, column),
                 dict.fromkeys(context.targets, value), column)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_of_ours_keeps_the_contract(name: str) -> None:
    contexts = [context for context in example_contexts() if context.trajectory is None or uses_trajectories(name)]
    if STRATEGIES[name].for_boundary:
        contexts = [replace(context, boundary=BOUNDARY) for context in contexts]
    if STRATEGIES[name].for_prior:
        contexts = [replace(context, priors=(_prior(context),)) for context in contexts]
    check_strategy(STRATEGIES[name].make, contexts)


class Sound:
    """Random points and the mean of what was measured. Subclasses break one thing each."""

    def __init__(self, context: StrategyContext) -> None:
        self.context = context
        self.order = np.random.default_rng(context.seed).permutation(len(context.grid)).tolist()

    def propose(self, observations: Observations) -> int | None:
        free = set(observations.open_rows.tolist())
        return next((row for row in self.order if row in free), None)

    def posterior(self, observations: Observations) -> Posterior:
        points = len(observations.grid)
        means = {target: np.full(points, np.nanmean(observations.column(target))) for target in self.context.targets}
        wide = {target: 2 * mean for target, mean in means.items()}
        sweep = Sweep((1.0,) * 3, (1.0,) * 3)
        return Posterior(Prediction(means, {target: mean / 2 for target, mean in means.items()}, wide, wide),
                         dict.fromkeys(self.context.targets), np.ones(points), sweep,
                         sweep if self.context.trajectory else None)

    def is_due(self, observations: Observations) -> bool:
        return bool(observations.measured.any())

    def price(self, row: int, observations: Observations) -> float:
        return 0.0


def test_a_sound_strategy_passes() -> None:
    check_strategy(Sound)
    (context, _) = example_contexts()
    check_strategy(Sound, [replace(context, targets=("a", "b"), seed=3)])


def test_a_design_that_ends_early_passes() -> None:
    class Short(Sound):
        def __init__(self, context: StrategyContext) -> None:
            super().__init__(context)
            self.order = self.order[:5]

    check_strategy(Short)


def first(rows: Any) -> int | None:
    return int(next(iter(rows), -1)) if len(rows) else None


def forgetful(self: Any, observations: Observations) -> int | None:
    """Passes over a pending row for good."""
    self.order = [row for row in self.order if row not in observations.pending and not observations.known[row]]
    return self.order[0] if self.order else None


def counting(self: Any, observations: Observations) -> int | None:
    """Moves on whenever it is asked."""
    self.asked, free = getattr(self, "asked", 0) + 1, observations.open_rows
    return int(free[self.asked % len(free)]) if len(free) else None


def swayed(self: Any, observations: Observations) -> int | None:
    free = observations.open_rows
    return int(free[-1 if getattr(self, "swayed", False) else 0]) if len(free) else None


def swayed_posterior(self: Any, observations: Observations) -> Posterior:
    self.swayed = True
    return Sound.posterior(self, observations)


def marking(self: Any, observations: Observations) -> int | None:
    row = Sound.propose(self, observations)
    if row is not None:
        observations.pending.add(row)
    return row


def global_numbers(self: Any, observations: Observations) -> int | None:
    """Drawn once a run, so that two questions have one answer."""
    if getattr(self, "drawn_at", -1) != len(observations.runs):
        self.drawn_at, self.number = len(observations.runs), random.random() + np.random.random()
    free = observations.open_rows
    return int(free[int(self.number * 1000) % len(free)]) if len(free) else None


def only_on_success(_: Any, observations: Observations) -> int | None:
    return first(observations.open_rows) if not observations.runs or observations.measured.any() else 0


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no price": ({"price": property()}, "lacks a member"),
    "nothing": ({"propose": lambda *_: None}, "nothing to run"),
    "a float": ({"propose": lambda *_: 1.0}, "int or None"),
    "numpy's integer": ({"propose": lambda _, o: o.open_rows[0] if len(o.open_rows) else None}, "int or None"),
    "outside": ({"propose": lambda _, o: len(o.grid)}, "not in the grid"),
    "known": ({"propose": lambda *_: 0}, "known already"),
    "pending": ({"propose": lambda _, o: first(np.flatnonzero(~o.known))}, "pending"),
    "lost": ({"propose": forgetful}, "lost"),
    "another one": ({"propose": counting}, "without a run in between"),
    "marks": ({"propose": marking}, "propose changes the observations"),
    "global": ({"propose": global_numbers}, "draw from context.seed"),
    "swayed": ({"propose": swayed, "posterior": swayed_posterior}, "must not matter"),
    "failures": ({"propose": only_on_success}, "known already"),
    "due at once": ({"is_due": lambda *_: True}, "nothing is measured"),
    "due in words": ({"is_due": lambda *_: "yes"}, "True or False"),
    "due once": ({"is_due": lambda self, o: bool(o.measured.any()) and not vars(self).setdefault("n", [1]).append(1)
                  and len(self.n) % 2 == 0}, "two answers"),
    "negative price": ({"price": lambda *_: -1.0}, "from 0"),
    "no price known": ({"price": lambda *_: np.nan}, "from 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_choices_are_told(name: str) -> None:
    members, says = BROKEN[name]
    broken: Any = type("Broken", (Sound,), members)
    if name == "no price":
        broken = type("Broken", (), {key: value for key, value in vars(Sound).items() if key != "price"})
    with pytest.raises(AssertionError, match=says):
        check_strategy(broken)


def changed(**change: Any) -> Callable[[Posterior], Posterior]:
    return lambda posterior: replace(posterior, **change)


def predicted(**change: Callable[[Any], Any]) -> Callable[[Posterior], Posterior]:
    def change_all(posterior: Posterior) -> Posterior:
        new = {key: {target: make(array) for target, array in getattr(posterior.prediction, key).items()}
               for key, make in change.items()}
        return replace(posterior, prediction=replace(posterior.prediction, **new))
    return change_all


POSTERIORS: dict[str, tuple[Callable[[Posterior], Posterior], str]] = {
    "a target is missing": (lambda p: replace(p, prediction=replace(p.prediction, value={})), "lacks the target"),
    "shape": (predicted(value=lambda a: a[:3]), "shape"), "infinite": (predicted(std=lambda a: a * np.inf), "infinite"),
    "nothing said": (predicted(value=lambda a: a * np.nan), "says nothing"),
    "outside": (predicted(value=lambda a: 9 * a), "its own interval"),
    "low and high": (predicted(low=lambda a: 8 * a), "its own interval"),
    "no accuracy": (changed(accuracy={}), "accuracy lacks"),
    "accuracy": (changed(accuracy={"latency_s": Estimate(0.9, 0.95, 1.0)}), "no estimated accuracy"),
    "more than all": (changed(accuracy={"latency_s": Estimate(1.5, 0.95, 1.6)}), "no estimated accuracy"),
    "feasibility": (lambda p: replace(p, feasibility=p.feasibility + 1), "probabilities"),
    "few feasible": (lambda p: replace(p, feasibility=p.feasibility[:2]), "shape"),
    "no sweep": (changed(plain=None), "plain sweep"),
    "longest": (changed(longest=None), "longest"),
    "longest always": (changed(longest=Sweep((1.0,), (1.0,))), "longest"),
    "moody": (predicted(value=lambda a: a * (1 + 0.01 * np.random.random())), "posterior"),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_broken_posteriors_are_told(name: str) -> None:
    breaks, says = POSTERIORS[name]

    class Broken(Sound):
        def posterior(self, observations: Observations) -> Posterior:
            return breaks(super().posterior(observations))

    with pytest.raises(AssertionError, match=says):
        check_strategy(Broken)


def test_a_posterior_that_changes_the_record_is_reported() -> None:
    class Broken(Sound):
        def posterior(self, observations: Observations) -> Posterior:
            observations.failed[:] = True
            return super().posterior(observations)

    with pytest.raises(AssertionError, match="posterior changes the observations"):
        check_strategy(Broken)
