"""Our own strategy around its choice of a batch: the first design, what starts may cost, what may be replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.acquisition.initial_design import by_engine, initial_design
from planner.acquisition.variance_reduction import choose_batch
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.strategy import StrategyContext

GRID = full_grid([Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY), Axis("x", tuple(range(20)))])
CONTEXT = StrategyContext(GRID, ("y_s",), None, np.full(len(GRID), 2.0))
FIRST = np.array([3, 9, 15, 25, 35, 41, 55])  # three runs on a, two on b, two on c


class Spy:
    """Chooses the open rows from the end, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, *asked: Any) -> list[int]:
        self.asked.append(asked)
        observations, size = asked[2], asked[4]
        return [int(row) for row in np.flatnonzero(~observations.known)[::-1][:size]]


class Machine:
    """Runs of one second on two devices; a change of the engine takes start_s more. Rows of `fails` fail."""

    def __init__(self, start_s: float, fails: tuple[int, ...] = ()) -> None:
        self.start_s, self.fails, self.observations, self.engine = start_s, fails, Observations(GRID, ("y_s",)), -1

    def run(self, row: int, elsewhere: bool = False) -> None:
        start = self.start_s if GRID.engine[row] != self.engine else 0.0
        self.engine = int(GRID.engine[row])
        point, cost = GRID.point(row), Cost(start, 0.0, 1.0, 2.0)
        if row in self.fails:
            self.engine = -1
            measurement = Measurement(Status.FAILED, cost, reason="no")
        else:
            measurement = Measurement(Status.OK, cost, (Reading(point, {"y_s": (2.0 + row % 20,)}, 1.0),))
        self.observations.add(Run(len(self.observations.runs), point, measurement), elsewhere=elsewhere)

    def play(self, strategy: AdaptiveStrategy, runs: int) -> list[int]:
        order = []
        for _ in range(runs):
            row = strategy.propose(self.observations)
            assert row is not None
            assert strategy.propose(self.observations) == row
            order.append(row)
            self.run(row)
        return order


@pytest.mark.parametrize(("start_s", "first_runs"), [
    (0.0, 7),
    (1.5, 7),  # two starts are left, 3 s, for 6 s, 5 s and 4 s of runs; then one for 3 s, for 2 s
    (2.4, 3),  # when a is done, 4.8 s would be paid for 4 s of runs
    (10.0, 3),
])
def test_the_first_design_is_given_up_where_its_starts_cost_more_than_its_runs(start_s: float, first_runs: int) -> None:
    """What runs goes on; the rest of the design is left to the first batch."""
    spy = Spy()
    machine, strategy = Machine(start_s), AdaptiveStrategy(CONTEXT, initial=FIRST, choose=spy)
    assert machine.play(strategy, first_runs) == FIRST[:first_runs].tolist() and not spy.asked
    assert strategy.is_due(machine.observations)
    assert machine.play(strategy, 4) == [59, 58, 57, 56] and len(spy.asked) == 1


def test_the_rule_is_about_the_first_design_alone() -> None:
    """A batch that was chosen with starts in mind is run to its end."""
    machine = Machine(100.0)
    strategy = AdaptiveStrategy(CONTEXT, initial=FIRST[:1], choose=lambda *_: [30, 31, 50, 10])
    assert machine.play(strategy, 5) == [3, 30, 31, 50, 10]


def test_before_anything_worked_the_first_design_goes_on() -> None:
    """A start of 100 s was seen and paid; but no run has told yet what runs cost."""
    machine = Machine(100.0, fails=(3, 9))
    strategy = AdaptiveStrategy(CONTEXT, initial=FIRST, choose=Spy())
    assert machine.play(strategy, 3) == [3, 9, 15]
    assert strategy.propose(machine.observations) == 59  # 15 worked, and nothing else of the design was on its engine


def test_after_a_failure_every_start_is_to_be_paid() -> None:
    """The failed run has taken its engine with it: two more runs of one second are not worth its 10 seconds."""
    machine, spy = Machine(10.0, fails=(9,)), Spy()
    strategy = AdaptiveStrategy(CONTEXT, initial=FIRST, choose=spy)
    assert machine.play(strategy, 2) == [3, 9]
    assert strategy.propose(machine.observations) == 59 and len(spy.asked) == 1


@pytest.mark.parametrize("runs", [5, 7, 50])
def test_arguments_of_the_choice(runs: int) -> None:
    """Models fitted to all that was seen, chances of success, an eighth of the runs (4 at least), and chance of its
    own for each batch."""
    machine, spy = Machine(0.0, fails=(7,)), Spy()
    for row in range(runs):
        machine.run(row)
    model, cost = GridModel(GRID, None), CostModel(GRID, CONTEXT.accelerators)
    strategy = AdaptiveStrategy(CONTEXT, model=model, cost=cost, initial=np.array([], dtype=int), choose=spy)
    assert strategy.propose(machine.observations) == 59
    given_model, given_cost, observations, feasibility, size, rng = spy.asked[0]
    assert given_model is model and given_cost is cost and observations is machine.observations
    assert model.observations_ is machine.observations and cost.price(np.array([59]))[0] == pytest.approx(2.0, rel=0.05)
    assert feasibility.shape == (60,) and size == {5: 4, 7: 4, 50: 6}[runs]
    draws = {float(rng.random())}
    for seed in (0, 1):
        other = Spy()
        AdaptiveStrategy(StrategyContext(GRID, ("y_s",), None, np.full(len(GRID), 2.0), seed), initial=FIRST[:0],
                         choose=other).propose(machine.observations)
        draws.add(float(other.asked[0][5].random()))
    assert len(draws) == 2  # the same again for the same seed and runs, another for another seed


def test_given_nothing_it_is_ours() -> None:
    ours = AdaptiveStrategy(CONTEXT)
    given = AdaptiveStrategy(CONTEXT, model=GridModel(GRID, None), cost=CostModel(GRID, CONTEXT.accelerators),
                             initial=initial_design(GRID, None, 0), choose=choose_batch)
    assert Machine(3.0).play(ours, 25) == Machine(3.0).play(given, 25)


def test_a_price_holds_the_engine_start_where_one_is_needed() -> None:
    machine, strategy = Machine(30.0), AdaptiveStrategy(CONTEXT)
    assert strategy.price(3, machine.observations) == 0.0  # nothing is known yet
    for row in (20, 3, 9):
        machine.run(row)
    here, there = strategy.price(10, machine.observations), strategy.price(30, machine.observations)
    assert here == pytest.approx(2.0, rel=0.05) and there == pytest.approx(2 * 30 + 2.0, rel=0.05)
    machine.run(22, elsewhere=True)  # by another process, on an engine of its own
    assert strategy.price(10, machine.observations) == pytest.approx(here, rel=0.05)
    assert strategy.price(30, machine.observations) == pytest.approx(there, rel=0.05)


def test_a_process_that_goes_on_pays_a_start_wherever_it_goes() -> None:
    """It has no engine yet, though the last run of the record was on a."""
    machine = Machine(30.0)
    for row in (20, 3, 9):
        machine.run(row, elsewhere=True)
    strategy = AdaptiveStrategy(CONTEXT)
    for row in (10, 30, 50):
        assert strategy.price(row, machine.observations) == pytest.approx(2 * 30 + 2.0, rel=0.05)


# --------------------------------------------------------------------------------------------------- several workers


def test_while_others_measure_each_run_is_chosen_by_itself_from_the_last_fit() -> None:
    """The batch is not held to: others do not see it. Models are fitted again, and a checkpoint is due, once as many
    runs have ended as a batch has, of any worker."""
    machine, spy = Machine(0.0), Spy()
    for row in range(8):
        machine.run(row)
    model = GridModel(GRID, None)
    strategy = AdaptiveStrategy(CONTEXT, model=model, initial=FIRST[:0], choose=spy)
    observations = machine.observations
    assert strategy.is_due(observations) and strategy.propose(observations) == 59 and spy.asked[-1][4] == 4
    machine.run(59)
    observations.pending = {30}
    assert not strategy.is_due(observations)
    assert strategy.propose(observations) == 58 == strategy.propose(observations)
    assert [asked[4] for asked in spy.asked] == [4, 1, 1] and model.fitted_runs_ == 8
    machine.run(58)
    observations.pending = set()
    machine.run(30, elsewhere=True)
    assert not strategy.is_due(observations), "11 of 12 runs"
    assert strategy.propose(observations) == 57 and spy.asked[-1][4] == 1, "another has measured since the plan"
    machine.run(31, elsewhere=True)
    assert strategy.is_due(observations)
    assert strategy.propose(observations) == 57 and spy.asked[-1][4] == 4 and model.fitted_runs_ == 12


def test_before_anything_worked_others_change_nothing() -> None:
    machine = Machine(0.0, fails=(3,))
    strategy = AdaptiveStrategy(CONTEXT, initial=FIRST[:1], choose=Spy())
    assert machine.play(strategy, 1) == [3]
    for pending in ({5}, {5, 6}, set(range(60)) - {3, 8}):
        machine.observations.pending = pending
        row = strategy.propose(machine.observations)
        assert row is not None and row not in pending and row != 3
    machine.observations.pending = set(range(60))
    assert strategy.propose(machine.observations) is None


def test_nothing_is_left_while_others_have_the_rest() -> None:
    machine, strategy = Machine(0.0), AdaptiveStrategy(CONTEXT, initial=FIRST[:1])
    machine.play(strategy, 8)
    machine.observations.pending = set(np.flatnonzero(~machine.observations.known).tolist())
    assert strategy.propose(machine.observations) is None


@pytest.mark.parametrize("start_s", [0.0, 1.5, 2.4])
def test_a_question_changes_no_answer(start_s: float) -> None:
    """Asked whether a checkpoint is due after each run, several times, or never: the same runs and the same prices."""
    ways = []
    for questions in (0, 1, 3):
        machine, strategy = Machine(start_s), AdaptiveStrategy(CONTEXT)
        told: list[object] = []
        for _ in range(14):
            answers = {strategy.is_due(machine.observations) for _ in range(questions)}
            assert len(answers) <= 1
            row = strategy.propose(machine.observations)
            assert row is not None
            told += [row, strategy.price(row, machine.observations)]
            machine.run(row)
            for _ in range(questions):
                strategy.is_due(machine.observations)
        ways.append(told)
    assert ways[0] == ways[1] == ways[2]


def test_a_question_fits_nothing_that_is_used() -> None:
    """Runs that others end between two proposals: whether we asked meanwhile leaves no trace in what is learned."""
    prices = []
    for asked in (False, True):
        machine, strategy = Machine(1.5), AdaptiveStrategy(CONTEXT, initial=FIRST)
        for row in (3, 21, 40, 9):
            machine.run(row)
            if asked:
                strategy.is_due(machine.observations)
        strategy.propose(machine.observations)
        prices.append(strategy.price(15, machine.observations))
    assert prices[0] == prices[1]


@pytest.mark.parametrize("start_s", [0.0, 0.01])
def test_a_served_grid_spreads_at_once_where_starts_are_free(start_s: float) -> None:
    """A study may end before the design does. Where a start takes time, each engine's points stay together."""
    grid = full_grid([Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY),
                      Axis("max_concurrency", (1, 2, 4, 8, 16, 32), scale=Scale.LOG, roles=(Role.CONCURRENCY,))])
    strategy = AdaptiveStrategy(StrategyContext(grid, ("y_s",), None, np.ones(len(grid)), 0))
    observations, order = Observations(grid, ("y_s",)), []
    design = initial_design(grid, None, 0)
    for number in range(len(design)):
        row = strategy.propose(observations)
        assert row is not None
        order.append(row)
        start = start_s if grid.engine[row] != observations.current_engine else 0.0
        reading = Reading(grid.point(row), {"y_s": (1.0 + row,)}, 1.0)
        observations.add(Run(number, grid.point(row), Measurement(Status.OK, Cost(start, 0.0, 1.0), (reading,))))
    together = by_engine(design, grid.engine[design])
    assert order == (together if start_s else design.tolist()) and together != design.tolist()


def test_a_run_that_must_fail_as_another_did_is_left_out_of_the_design() -> None:
    """Out of memory at a batch of 8: neither 16 nor more is tried on that engine; on the other one they are."""
    grid = full_grid([Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY),
                      Axis("batch_size", tuple(2**k for k in range(8)), scale=Scale.LOG, roles=(Role.BATCH,))])
    context = StrategyContext(grid, ("y_s",), None, np.ones(len(grid)))
    strategy = AdaptiveStrategy(context, initial=np.array([3, 4, 0, 7, 2, 12]))
    seen, order = Observations(grid, ("y_s",)), []
    for fails in (True, False, False, False):
        row = strategy.propose(seen)
        assert row is not None
        order.append(row)
        point, cost = grid.point(row), Cost(measure_s=1.0)
        seen.add(Run(len(seen.runs), point, Measurement(Status.FAILED, cost, reason="out of memory") if fails else
                     Measurement(Status.OK, cost, (Reading(point, {"y_s": (1.0 + row,)}, 1.0),))))
    assert order == [3, 0, 2, 12] and {4, 7} <= set(seen.open_rows.tolist())
