"""The conformance suite of planner.strategies.strategy.Strategy.

    def test_my_strategy_keeps_the_contract():
        check_strategy(MyStrategy)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status
from planner.strategies.strategy import Posterior, Strategy, StrategyContext, cover
from planner.tables.recorded_grid import Sweep

__all__ = ["check_strategy", "example_contexts"]

_RUNS: Final = 9
"""Runs of a short play; a long one goes on to the end of the design."""
_FAILS: Final = 7
"""One row in so many fails."""


def check_strategy(
    make: Callable[[StrategyContext], Strategy], contexts: Iterable[StrategyContext] | None = None
) -> None:
    """Assert the contract of `planner.strategies.strategy.Strategy`.

    make: builds a new strategy, nothing measured yet. contexts: grids to try it on, of some dozen points each, since
    each is played to its end several times; two small ones where none are given, with and without trajectories. Runs
    are made up: positive values that rise along each axis, and some that fail. Raises AssertionError that says what is
    broken.
    """
    for context in example_contexts() if contexts is None else contexts:
        assert isinstance(make(context), Strategy), f"{type(make(context)).__name__} lacks a member of Strategy"
        order, observations = _play(make(context), context, len(context.grid) + 1)
        assert order, "propose finds nothing to run on an empty record"
        _check_repeatable(make, context, order[:_RUNS])
        _check_posterior(make, context, observations)
        _check_posterior(make, context, observations.prefix(min(_RUNS, len(order))))
        _check_pending(make, context)
        _check_failures(make, context)
        _check_any_record(make, context)


def example_contexts() -> list[StrategyContext]:
    """Two contexts on one grid of 24 points: two models, three output lengths, four batch sizes; the second with
    trajectories along output_len."""
    grid = full_grid([
        Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,)),
        Axis("output_len", (4, 16, 64), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,)),
        Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG, roles=(Role.BATCH,)),
    ])
    devices = np.ones(len(grid))
    return [StrategyContext(grid, ("latency_s",), trajectory, devices) for trajectory in (None, "output_len")]


def _empty(context: StrategyContext) -> Observations:
    return Observations(context.grid, context.targets)


def _value(context: StrategyContext, row: int) -> float:
    """The value of a run at `row`; it rises along each axis."""
    codes = context.grid.codes[row]
    return float(np.prod(1 + 0.5 * codes * (1 + 0.1 * np.arange(len(codes)))))


def _measure(context: StrategyContext, observations: Observations, row: int, fails: bool | None = None) -> None:
    """Add a run at `row` to `observations`."""
    grid = context.grid
    start = 0.0 if observations.current_engine == grid.engine[row] else 2.0
    cost, point = Cost(start, 0.0, _value(context, row), float(context.accelerators[row])), grid.point(row)
    if row % _FAILS == _FAILS - 1 if fails is None else fails:
        measurement = Measurement(Status.FAILED, cost, reason="out of memory")
    else:
        measurement = Measurement(Status.OK, cost, tuple(
            Reading(grid.point(int(r)), dict.fromkeys(context.targets, (_value(context, int(r)),)),
                    _value(context, int(r)))
            for r in cover(grid, context.trajectory, row, observations)))
    observations.add(Run(len(observations.runs), point, measurement))


def _play(
    strategy: Strategy, context: StrategyContext, runs: int, observations: Observations | None = None,
    watched: bool = False,
) -> tuple[list[int], Observations]:
    """Rows of up to `runs` further runs. watched: call is_due, posterior and price between them, as a study does."""
    observations = _empty(context) if observations is None else observations
    order: list[int] = []
    while len(order) < runs and (row := _proposed(strategy, observations)) is not None:
        if watched:
            _check_price(strategy, row, observations)
        order.append(row)
        _measure(context, observations, row)
        if watched and _is_due(strategy, observations):
            with _untouched(observations, "posterior"):
                strategy.posterior(observations)
    return order, observations


def _proposed(strategy: Strategy, observations: Observations) -> int | None:
    """The proposal, checked to be allowed and the same twice."""
    with _untouched(observations, "propose"):
        row, again = strategy.propose(observations), strategy.propose(observations)
    if row is None:
        assert again is None, f"propose: nothing, and then row {again}, without a run in between"
        return None
    points = len(observations.grid)
    assert isinstance(row, int) and not isinstance(row, bool), f"propose must give an int or None, not {row!r}"
    assert 0 <= row < points, f"propose: row {row} is not in the grid, whose rows are 0 to {points - 1}"
    assert not observations.known[row], f"propose: row {row} is known already"
    assert row not in observations.pending, f"propose: row {row} is pending: another process is measuring it"
    assert again == row, f"propose: row {row}, and then row {again}, without a run in between"
    return row


def _is_due(strategy: Strategy, observations: Observations) -> bool:
    with _untouched(observations, "is_due"):
        due, again = strategy.is_due(observations), strategy.is_due(observations)
    assert isinstance(due, bool), f"is_due must be True or False, not {due!r}"
    assert due == again, "is_due is a question: asked twice it gives two answers"
    assert not due or observations.measured.any(), "is_due where nothing is measured: there is no posterior to judge"
    return due


def _check_price(strategy: Strategy, row: int, observations: Observations) -> None:
    with _untouched(observations, "price"):
        price = strategy.price(row, observations)
    assert isinstance(price, int | float) and 0 <= price < np.inf, f"price must be finite and from 0, not {price!r}"


def _check_repeatable(
    make: Callable[[StrategyContext], Strategy], context: StrategyContext, order: list[int]
) -> None:
    """The same seed and the same runs give the same proposals, watched or not."""
    with _other_random_numbers():
        watched, _ = _play(make(context), context, _RUNS, watched=True)
        if watched != order:
            quiet, _ = _play(make(context), context, _RUNS)
            assert quiet == order, "propose: other rows for the same seed and runs; draw from context.seed only"
            raise AssertionError("propose: other rows once is_due, posterior or price are asked: they must not matter")


def _check_pending(make: Callable[[StrategyContext], Strategy], context: StrategyContext) -> None:
    """Pending points are not proposed, and proposed again if the process that measures them dies."""
    strategy = make(context)
    _, observations = _play(strategy, context, 3)
    row = _proposed(strategy, observations)
    if row is None:
        return
    observations.pending = {row}
    _proposed(strategy, observations)
    observations.pending = set(range(len(context.grid)))
    assert _proposed(strategy, observations) is None  # whatever it is, it is pending
    observations.pending = set()
    _play(strategy, context, len(context.grid), observations)
    assert observations.known[row], f"propose: row {row} was pending once, and is never proposed again: it is lost"


def _check_failures(make: Callable[[StrategyContext], Strategy], context: StrategyContext) -> None:
    """If all runs failed so far, another point is proposed."""
    strategy, observations = make(context), _empty(context)
    for _ in range(min(_RUNS, len(context.grid))):
        assert not _is_due(strategy, observations)
        row = _proposed(strategy, observations)
        if row is None:
            return
        _check_price(strategy, row, observations)
        _measure(context, observations, row, fails=True)


def _check_any_record(make: Callable[[StrategyContext], Strategy], context: StrategyContext) -> None:
    """Any record is accepted, as when a study is resumed: its points were chosen elsewhere."""
    observations, rng = _empty(context), np.random.default_rng(3)
    for row in rng.permutation(len(context.grid))[: len(context.grid) // 2].tolist():
        if not observations.known[row]:
            _measure(context, observations, row)
    strategy = make(context)
    _is_due(strategy, observations)
    row = _proposed(strategy, observations)
    if row is not None:
        _check_price(strategy, row, observations)
    _check_posterior(make, context, observations)
    for row in np.flatnonzero(~observations.known).tolist():
        _measure(context, observations, row)
    assert _proposed(strategy, observations) is None


def _check_posterior(
    make: Callable[[StrategyContext], Strategy], context: StrategyContext, observations: Observations
) -> None:
    if not observations.measured.any():
        return
    strategy = make(context)
    with _untouched(observations, "posterior"):
        posterior, again = strategy.posterior(observations), strategy.posterior(observations)
        with _other_random_numbers():
            other = make(context).posterior(observations)
    _check_arrays(posterior, context)
    answers = {"asked twice it gives two answers": again, "other values for the same seed and runs": other}
    for what, found in answers.items():
        for one, two in zip(_arrays(posterior), _arrays(found), strict=True):
            assert np.array_equal(one, two, equal_nan=True), f"posterior: {what}"
    assert isinstance(posterior.plain, Sweep), "posterior.plain must be the price of the plain sweep"
    assert (posterior.longest is not None) == (context.trajectory is not None), (
        "posterior.longest is there where runs measure shorter points too, and only there")


def _arrays(posterior: Posterior) -> list[Any]:
    parts: list[Mapping[str, Any]] = [posterior.prediction.value, posterior.prediction.low, posterior.prediction.high]
    return [posterior.feasibility, *(array for part in parts for array in part.values())]


def _check_arrays(posterior: Posterior, context: StrategyContext) -> None:
    points, prediction = (len(context.grid),), posterior.prediction
    for target in context.targets:
        for name in ("value", "low", "high", "std"):
            found = getattr(prediction, name)
            assert target in found, f"posterior: prediction.{name} lacks the target {target}"
            assert found[target].shape == points, f"posterior: prediction.{name} must have the shape {points}"
            assert not np.isinf(found[target]).any(), f"posterior: prediction.{name} is infinite; NaN says nothing"
        value, low, high = prediction.value[target], prediction.low[target], prediction.high[target]
        assert np.isfinite(value).any(), f"posterior: prediction.value of {target} says nothing of any point"
        assert not ((low > value) | (value > high)).any(), f"posterior: {target} lies outside its own interval"
        assert target in posterior.accuracy, f"posterior: accuracy lacks the target {target}; None says nothing"
        estimate = posterior.accuracy[target]
        assert estimate is None or (isinstance(estimate, Estimate) and estimate.low <= estimate.estimated
                                    <= estimate.high <= 1), f"posterior: {estimate} is no estimated accuracy"
    feasibility = posterior.feasibility
    assert feasibility.shape == points, f"posterior: feasibility must have the shape {points}"
    assert ((feasibility >= 0) & (feasibility <= 1)).all(), "posterior: feasibility must be probabilities"


@contextmanager
def _untouched(observations: Observations, method: str) -> Iterator[None]:
    """The call within the block leaves the observations unchanged."""
    def state() -> tuple[Any, ...]:
        arrays = (observations.measured, observations.failed, *map(observations.column, observations.targets))
        return (len(observations.runs), set(observations.pending), *(array.tobytes() for array in arrays))

    before = state()
    yield
    assert state() == before, f"{method} changes the observations, which belong to the record"


@contextmanager
def _other_random_numbers() -> Iterator[None]:
    """Changes the global random state: code that draws from it gives other answers."""
    state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(20_261)
    np.random.seed(20_261)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
