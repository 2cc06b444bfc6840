"""SweepSampler is an Optuna sampler like any other, and no point is spent twice."""

from __future__ import annotations

import datetime
import math
import pickle
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from planner.acquisition.variance_reduction import choose_batch
from planner.campaign.sampler import SweepSampler
from planner.ledger.observations import Observations, Run
from planner.models.cost import CostModel
from planner.models.grid_model import GridModel
from planner.space.grid import Grid, full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Status
from planner.strategies.adaptive import AdaptiveStrategy

AXES = (Axis("mode", ("eager", "graph"), scale=Scale.CATEGORY), Axis("batch", (1, 2, 4, 8), scale=Scale.LOG),
        Axis("rate", (0.5, 4.0)), Axis("fixed", (3,)))
GRID = full_grid(AXES)
N = 16


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def suggest(trial: Trial) -> tuple[str, int, float]:
    mode = trial.suggest_categorical("mode", ["graph", "eager"])
    batch = trial.suggest_int("batch", 1, 8)
    rate = trial.suggest_float("rate", 0.1, 10.0, log=True)
    return mode, batch, rate


def latency(mode: str, batch: int, rate: float) -> float:
    return (2.0 if mode == "eager" else 1.0) * (1 + 0.3 * batch) + rate


def objective(trial: Trial) -> float:
    return latency(*suggest(trial))


def create(grid: Grid = GRID, **given: Any) -> optuna.Study:
    return optuna.create_study(sampler=SweepSampler(grid, seed=given.pop("seed", 0)), **given)


def points(trials: Sequence[FrozenTrial]) -> list[tuple[Any, ...]]:
    return [tuple(trial.params.values()) for trial in trials]


def check_once(study: optuna.Study, count: int) -> None:
    found = points(study.trials)
    assert len(found) == count and len(set(found)) == count
    for mode, batch, rate in found:
        assert GRID.find({"mode": mode, "batch": batch, "rate": rate, "fixed": 3}) is not None


def test_each_point_of_the_grid_once() -> None:
    study = create()
    study.optimize(objective, n_trials=N)
    check_once(study, N)
    assert study.best_value == min(latency(m, b, r) for m in AXES[0].values for b in AXES[1].values
                                   for r in AXES[2].values)


def test_the_same_seed_draws_the_same() -> None:
    """Costs are durations here: only the first points, which are chosen without any, can be the same."""
    first, again, other = create(), create(), create(seed=1)
    for study in (first, again, other):
        study.optimize(objective, n_trials=6)
    assert points(first.trials) == points(again.trials) != points(other.trials)


def test_several_objectives() -> None:
    study = create(directions=["minimize", "maximize"])
    study.set_metric_names(["latency_ms", "output_throughput"])
    study.optimize(lambda trial: (objective(trial), 1 / objective(trial)), n_trials=N)
    check_once(study, N)
    assert all(trial.state is TrialState.COMPLETE and len(trial.values) == 2 for trial in study.trials)


def test_values_that_are_not_positive() -> None:
    study = create()
    study.optimize(lambda trial: objective(trial) - 3.0, n_trials=N)
    check_once(study, N)


def test_two_threads_never_measure_the_same_point() -> None:
    study = create()
    study.optimize(objective, n_trials=N, n_jobs=2)
    check_once(study, N)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_failed_trial_is_not_tried_again_however_early_it_failed(after: int) -> None:
    """The objective fails on large batches, before it has suggested the last axes, say."""
    attempts: list[tuple[int, str]] = []

    def failing(trial: Trial) -> float:
        batch = trial.suggest_int("batch", 1, 8)
        if after == 1 and batch == 8:
            attempts.append((batch, ""))
            raise RuntimeError("out of memory")
        mode = trial.suggest_categorical("mode", ["graph", "eager"])
        if after == 2 and batch == 8:
            raise RuntimeError("out of memory")
        rate = trial.suggest_float("rate", 0.5, 4.0)
        if batch == 8:
            raise RuntimeError("out of memory")
        return latency(mode, batch, rate)

    study = create()
    study.optimize(failing, n_trials=N, catch=(RuntimeError,))
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAIL) == 4 and states.count(TrialState.COMPLETE) == 12
    complete = points(study.get_trials(states=(TrialState.COMPLETE,)))
    assert len(set(complete)) == 12


def test_an_exhausted_grid_warns_and_goes_on_inside_it() -> None:
    study = create()
    study.optimize(objective, n_trials=N)
    with pytest.warns(UserWarning, match="every grid point"):
        study.optimize(objective, n_trials=1)
    assert set(points(study.trials)) == set(points(study.trials[:N])) and len(study.trials) == N + 1


def test_an_enqueued_trial_is_respected_and_not_repeated() -> None:
    study = create()
    study.optimize(objective, n_trials=2)
    left = [p for p in ({"mode": m, "batch": b, "rate": 4.0} for m in ("graph", "eager") for b in (1, 8))
            if tuple(p.values()) not in points(study.trials)]
    for point in left:
        study.enqueue_trial(point)
    study.optimize(objective, n_trials=N - 2)
    assert [trial.params for trial in study.trials[2:2 + len(left)]] == left
    check_once(study, N)


def test_a_partly_enqueued_trial_gets_the_rest_from_the_grid() -> None:
    study = create()
    study.enqueue_trial({"batch": 4})
    study.optimize(objective, n_trials=1)
    assert study.trials[0].params["batch"] == 4
    assert GRID.find({**study.trials[0].params, "fixed": 3}) is not None


@pytest.mark.parametrize("pickled", [False, True])
def test_a_study_goes_on_from_its_storage(tmp_path: Path, pickled: bool) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(storage=url, study_name="s")
    study.optimize(objective, n_trials=10)
    sampler = pickle.loads(pickle.dumps(study.sampler)) if pickled else SweepSampler(GRID, seed=0)
    again = optuna.load_study(study_name="s", storage=url, sampler=sampler)
    again.optimize(objective, n_trials=N - 10)
    check_once(again, N)


def test_one_sampler_in_two_studies_mixes_nothing_up() -> None:
    sampler = SweepSampler(GRID, seed=0)
    for _ in range(2):
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=N)
        check_once(study, N)


@pytest.mark.parametrize("measured", [0, 1])
def test_ask_and_tell(measured: int) -> None:
    """All points of the grid under way at once."""
    study = create()
    study.optimize(objective, n_trials=measured)
    held = [study.ask() for _ in range(N - measured)]
    asked = [suggest(trial) for trial in held]
    assert len(set(asked)) == N - measured
    for trial, point in zip(held, asked, strict=True):
        study.tell(trial, latency(*point))
    check_once(study, N)


def bad_range(trial: Trial) -> float:
    return float(trial.suggest_int("batch", 100, 200))


def bad_choice(trial: Trial) -> float:
    return len(trial.suggest_categorical("mode", ["other"] * 1 + ["more"]))


def bad_name(trial: Trial) -> float:
    return trial.suggest_float("temperature", 0.0, 1.0)


@pytest.mark.parametrize(("wrong", "said"), [
    (bad_range, "outside"), (bad_choice, "outside"), (bad_name, "not an axis of the space"),
])
def test_values_off_the_grid_are_an_error(wrong: Callable[[Trial], float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        create().optimize(wrong, n_trials=1)


def test_it_learns_where_it_matters() -> None:
    """A strategy of the caller's is used, and sees each trial as a run with its seconds and its devices."""
    contexts, checkpoints = [], []

    class Last:
        def __init__(self, context: Any) -> None:
            contexts.append(context)

        def propose(self, observations: Any) -> int | None:
            checkpoints.append([(run.number, run.measurement.cost.accelerators) for run in observations.runs])
            free = [row for row in range(N) if not observations.known[row] and row not in observations.pending]
            return free[-1] if free else None

    sampler = SweepSampler(GRID, strategy=Last, accelerators=lambda point: float(point["batch"]))  # type: ignore[arg-type]
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=3)
    assert [trial.params["rate"] for trial in study.trials] == [4.0, 0.5, 4.0]
    assert checkpoints == [[], [(0, 8.0)], [(0, 8.0), (1, 8.0)]] and len(contexts) == 1


def test_trials_asked_one_after_the_other_are_as_one_batch() -> None:
    """What runs already is counted on: of four trials asked while none has ended, none is the neighbour of another."""
    grid = full_grid([Axis("x", tuple(range(40))), Axis("y", tuple(range(10)))])
    ranges = {"x": IntDistribution(0, 39), "y": IntDistribution(0, 9)}
    began = datetime.datetime(2026, 1, 1)

    def ended(number: int, row: int) -> FrozenTrial:
        point = grid.point(row)
        value = 5 + point["x"] / 4 + math.sin(point["x"] / 3) * math.cos(point["y"] / 2)
        return FrozenTrial(number=number, state=TrialState.COMPLETE, value=value, datetime_start=began,
                           datetime_complete=began + datetime.timedelta(seconds=1), params=point,
                           distributions=ranges, user_attrs={}, system_attrs={}, intermediate_values={},
                           trial_id=number)

    strategy = partial(AdaptiveStrategy, initial=np.empty(0, dtype=np.int64))
    study = optuna.create_study(sampler=SweepSampler(grid, seed=0, strategy=strategy))
    study.add_trials([ended(number, row) for number, row in enumerate(range(3, 400, 21))])
    chosen = [grid.find({name: trial.suggest_int(name, ends.low, ends.high) for name, ends in ranges.items()})
              for trial in [study.ask() for _ in range(4)]]
    observations = Observations(grid, ("value_0",))
    for number, row in enumerate(range(3, 400, 21)):
        trial = ended(number, row)
        reading = Reading(trial.params, {"value_0": (trial.value,)}, 1.0)
        observations.add(Run(number, trial.params, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    model, cost = GridModel(grid, None).fit(observations), CostModel(grid, np.ones(400)).fit(observations)
    rng = np.random.default_rng([0, len(observations.runs)])
    assert chosen == choose_batch(model, cost, observations, np.ones(400), 4, rng)
