"""What is said to have changed between two versions: a made-up machine with noise, a slower corner, and drift."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from planner.acquisition.change_search import confirmation, search_batch
from planner.evaluation.change import Change, ChangeQuestion, change_models, change_of
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.prior import OldTarget, Prior
from planner.space.grid import full_grid
from planner.space.types import Axis, BoolArray, Cost, FloatArray, Measurement, Reading, Scale, Scope, Status
from planner.strategies.difference import DifferenceStrategy
from planner.strategies.strategy import StrategyContext

GRID = full_grid((
    Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY), Axis("tp", (1, 2), Scope.ENGINE, Scale.LOG),
    Axis("input_len", (128, 256, 512, 1024, 2048), Scope.WORKLOAD, Scale.LOG),
    Axis("batch_size", (1, 4, 16, 64, 256), Scope.WORKLOAD, Scale.LOG)))
ALL = np.arange(len(GRID))
TRUTH: FloatArray = np.log(0.05 * (GRID.numbers("input_len") * GRID.numbers("batch_size")) ** 0.6 + 20)
CORNER: BoolArray = (GRID.codes >= np.array([1, 1, 3, 3])).all(axis=1)
QUESTION = ChangeQuestion(0.05)


class Machine:
    """The new version. factor: of each point, (N,); slowdown: of a run that begins after so many seconds."""

    def __init__(self, seed: int, factor: FloatArray | float = 1.0, noise: float = 0.02,
                 slowdown: Callable[[float], float] = lambda _: 1.0) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._log, self._noise, self._slowdown = TRUTH + np.log(factor), noise, slowdown
        self.old = TRUTH + noise * self._rng.standard_normal(len(GRID))
        self.observations = Observations(GRID, ("e2el_ms",))
        self._spent = 0.0

    @property
    def priors(self) -> tuple[Prior, ...]:
        old = OldTarget(self.old, TRUTH, np.full(len(GRID), self._noise / 2))
        return (Prior("old", len(GRID), {}, {"e2el_ms": np.exp(self.old)}, old={"e2el_ms": old}),)

    def run(self, row: int) -> None:
        value = float(np.exp(self._log[row] + self._noise * self._rng.standard_normal())) * self._slowdown(self._spent)
        self._spent += value
        reading = Reading(GRID.point(row), {"e2el_ms": (value,)}, value)
        seen = self.observations
        seen.add(Run(len(seen.runs), GRID.point(row), Measurement(Status.OK, Cost(measure_s=value), (reading,))))

    def said(self) -> Change:
        models = change_models(self.priors, self.observations, None, QUESTION)
        return change_of(models, self.observations, QUESTION, np.ones(len(GRID)))

    def play(self, seed: int = 0) -> Change:
        """Until the strategy ends."""
        strategy = DifferenceStrategy(StrategyContext(
            GRID, ("e2el_ms",), None, np.ones(len(GRID)), seed, priors=self.priors, difference=QUESTION))
        while (row := strategy.propose(self.observations)) is not None and len(self.observations.runs) < 200:
            self.run(row)
        assert strategy.conclusion(self.observations) == "difference"
        found = strategy.change(self.observations)
        assert found is not None
        return found

    @property
    def share(self) -> float:
        """What the runs took of a sweep of all points."""
        return self.observations.spent / float(np.exp(self._log).sum())


def test_equal_versions_raise_no_alarm_at_any_checkpoint() -> None:
    """Ten pairs, each asked six times: one alarm in all would be allowed, since nine of ten are promised."""
    alarms = 0
    for seed in range(10):
        machine, order = Machine(seed, noise=0.04), np.random.default_rng(seed).permutation(ALL)
        found = []
        for row in order[:60]:
            machine.run(int(row))
            if len(machine.observations.runs) % 10 == 0:
                found.append(machine.said().changed.any())
        alarms += any(found)
    assert alarms <= 1


def test_a_slower_corner_is_named_and_little_else_is_measured() -> None:
    inside = []
    for seed in range(3):
        machine = Machine(seed, np.where(CORNER, 1.15, 1.0))
        found = machine.play()
        assert found.worse("e2el_ms")[CORNER].mean() >= 0.5, seed
        assert found.any_worse[~CORNER].sum() <= 0.2 * found.any_worse.sum()
        assert not found.better("e2el_ms").any()
        low, high = found.targets["e2el_ms"].interval(0.9)
        inside += ((low < 1.15) & (high > 1.15))[found.worse("e2el_ms") & CORNER].tolist()
        assert len(machine.observations.runs) < len(GRID)
    assert np.mean(inside) >= 0.5


def test_a_large_change_in_a_corner_is_no_outlier() -> None:
    """The first reading of the corner is far from all others; it is looked at again."""
    for seed in range(2):
        found = Machine(seed, np.where(CORNER, 1.5, 1.0)).play()
        assert found.any_worse[CORNER].all() and found.any_worse[~CORNER].sum() <= CORNER.sum(), seed


def test_where_nothing_changed_it_ends_early() -> None:
    machine = Machine(4)
    found = machine.play()
    assert found.is_known and not found.changed.any()
    assert machine.share < 0.35 and len(machine.observations.runs) < len(GRID) / 2


def test_a_faster_version_is_better_and_no_regression() -> None:
    machine = Machine(5, 0.85)
    found = machine.play()
    assert found.better("e2el_ms").mean() > 0.9 and not found.any_worse.any()


def test_a_machine_that_slows_down_is_not_a_slower_version() -> None:
    """It slows by 15 % while the study runs; points of the first runs that are made again show it."""
    machine = Machine(6, slowdown=lambda spent: 1.15 if spent > 400 else 1.0)
    found = machine.play()
    assert not found.changed.any()
    assert found.drift is not None and found.drift.high > 1.1


def test_what_rests_on_one_run_is_run_again() -> None:
    """One reading is off by 40 %; it is made again, and so is one of the first, before anything is said."""
    machine = Machine(7)
    for row in ALL[::7]:
        machine.run(int(row))
    wrong = 77
    value = float(np.exp(TRUTH[wrong])) * 1.4
    reading = Reading(GRID.point(wrong), {"e2el_ms": (value,)}, value)
    seen = machine.observations
    seen.runs[:] = [run for run in seen.runs if GRID.find(run.point) != wrong]
    again = Observations(GRID, ("e2el_ms",), [*seen.runs, Run(
        len(seen.runs), GRID.point(wrong), Measurement(Status.OK, Cost(measure_s=value), (reading,)))])
    machine.observations = again
    assert not machine.play().changed.any()


def test_an_old_study_that_says_nothing_of_an_engine_says_nothing_of_its_change() -> None:
    machine = Machine(8)
    hidden = GRID.codes[:, 0] == 1
    machine.old[hidden] = np.nan
    old = OldTarget(machine.old, np.where(hidden, np.nan, TRUTH), np.where(hidden, np.nan, 0.01))
    for row in ALL[::3]:
        machine.run(int(row))
    priors = (Prior("old", 50, {}, {}, old={"e2el_ms": old}),)
    models = change_models(priors, machine.observations, None, QUESTION)
    found = change_of(models, machine.observations, QUESTION, np.ones(len(GRID)))
    assert not found.counts[hidden].any() and found.counts[~hidden].all()
    assert np.isnan(found.targets["e2el_ms"].log[hidden]).all()


def test_old_values_that_were_only_predicted_leave_more_open() -> None:
    """The same runs against an old study of all points, and of one in five with a surface that is 6 % unsure."""
    machine = Machine(9)
    for row in ALL[::2]:
        machine.run(int(row))
    sparse = np.where(ALL % 5 == 0, machine.old, np.nan)
    old = OldTarget(sparse, TRUTH, np.full(len(GRID), 0.06))
    models = change_models((Prior("old", 20, {}, {}, old={"e2el_ms": old}),), machine.observations, None, QUESTION)
    unsure = change_of(models, machine.observations, QUESTION, np.ones(len(GRID)))
    assert unsure.undecided.sum() > 2 * machine.said().undecided.sum()
    assert not unsure.changed.any()


def test_single_readings_of_equal_versions_show_their_noise() -> None:
    """No point is read twice: chance must not pass for many small changes."""
    for seed in range(5):
        machine = Machine(seed)
        for row in np.random.default_rng(seed).permutation(ALL)[:40]:
            machine.run(int(row))
        noise = machine.said().targets["e2el_ms"].noise
        assert 0.6 < noise / (0.02 * math.sqrt(2)) < 1.7, noise


def test_a_finding_is_confirmed_at_another_of_its_points() -> None:
    """The first reading in the slower corner is followed by one at a point of the corner that has none."""
    machine = Machine(2, np.where(CORNER, 1.15, 1.0), noise=0.01)
    for row in [*np.flatnonzero(~CORNER)[::3], np.flatnonzero(CORNER)[0]]:
        machine.run(int(row))
    change, seen = machine.said(), machine.observations
    assert change.any_worse[CORNER].all()
    row = confirmation(change, CostModel(GRID, np.ones(len(GRID))).fit(seen), seen)
    assert row is not None and CORNER[row] and not seen.measured[row]


def test_a_batch_has_one_run_in_each_block_of_an_engine() -> None:
    machine = Machine(1)
    for row in ALL[::20]:
        machine.run(int(row))
    seen, change = machine.observations, machine.said()
    models = change_models(machine.priors, seen, None, QUESTION)
    rows = search_batch(models, change, CostModel(GRID, np.ones(len(GRID))).fit(seen), seen, np.ones(len(GRID)), 20,
                        np.random.default_rng(0))
    cells = models["e2el_ms"].cells[rows]
    assert 1 < len(rows) == len(set(cells.tolist()))
