"""Optimisers that tune one case at a time on a recorded grid, the cases in turn, until a cost is spent.

`tpe` and `gp` are Optuna's TPESampler and GPSampler with the conditions as constraints, `botorch` is BoTorch's LogEI
times the probability of meeting each condition, all over the candidates of the case; `random` takes any of them. A
point that was run already costs nothing again. What a baseline names is the best that it has run and that met the
conditions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from planner.campaign.setup import StudySetup
from planner.evaluation.choice import ChoiceQuestion
from planner.evaluation.mix import Mix, together
from planner.simulation.replay import Replay
from planner.simulation.simulate import stage
from planner.space.grid import Grid
from planner.space.types import FloatArray, Proposal, Scale, Status

__all__ = ["BASELINES", "play_baseline"]

_IDLE: Final = 40  # proposals in a row that were run already, after which a case is left alone
_PENALTY: Final = 1e3  # violation of a run that failed


class _Machine:
    """The recorded machine: runs points, pays once for each."""

    def __init__(self, study: StudySetup, seed: int) -> None:
        self._runner, _ = stage(Replay(study.recorded(), study.metrics), "sweepwise", seed)
        self._grid, self._seed = study.grid, seed
        self.cost, self.runs = 0.0, 0
        self.found: dict[int, Mapping[str, float] | None] = {}

    def run(self, row: int) -> Mapping[str, float] | None:
        """Medians of the metrics at a row; None after a failure."""
        if row not in self.found:
            point = self._grid.point(row)
            axis = self._runner.trajectory_axis
            rows = [] if axis is None else [int(one) for one in self._grid.shorter(axis, row)]
            measured = self._runner.measure(Proposal(
                point, tuple(self._grid.point(one) for one in [*rows, row]), self._seed + self.runs))
            self.cost, self.runs = self.cost + measured.cost.accelerator_seconds, self.runs + 1
            self.found[row] = None
            for reading in measured.readings if measured.status is Status.OK else ():
                place = self._grid.find(reading.point)
                if place is not None:
                    self.found[place] = {name: float(np.median(repeats)) for name, repeats in reading.metrics.items()}
        return self.found[row]


class Tuned:
    """One case, tuned by itself: its candidates, and what was run of them. tried: candidate → maximised objective and
    violation of each condition (above 0: missed); both None after a failure."""

    def __init__(self, study: StudySetup, asked: ChoiceQuestion, mix: Mix, machine: _Machine) -> None:
        self.mix, self.question, self.machine = mix, asked.question, machine
        self._metrics = {metric.name: metric for metric in study.metrics}
        self.candidates = np.flatnonzero(mix.is_whole)
        self.tried: dict[int, tuple[float | None, list[float]]] = {}
        self.idle = 0

    def run(self, candidate: int) -> tuple[float | None, list[float]]:
        """The candidate's value and violations, all parts run."""
        self.idle = self.idle + 1 if candidate in self.tried else 0
        if candidate not in self.tried:
            parts = [self.machine.run(int(row)) for row in self.mix.rows[candidate]]
            self.tried[candidate] = self._scored(parts)
        return self.tried[candidate]

    def _scored(self, parts: list[Mapping[str, float] | None]) -> tuple[float | None, list[float]]:
        conditions = self.question.conditions
        done = [part for part in parts if part is not None]
        if len(done) < len(parts):
            return None, [_PENALTY] * max(len(conditions), 1)
        values = np.array([[part.get(self.question.objective, np.nan)] for part in done])
        value = float(together(self.mix, self._metrics[self.question.objective], values)[0])
        if not np.isfinite(value):
            return None, [_PENALTY] * max(len(conditions), 1)
        missed = []
        for condition in conditions:
            x = np.array([part.get(condition.metric, np.nan) for part in done])
            gap = np.log(x / condition.bound) * (1 if condition.is_upper else -1)
            missed.append(float(np.nanmax(gap)) if np.isfinite(gap).any() else 0.0)
        return (value if self.question.maximise else -value), missed

    @property
    def is_done(self) -> bool:
        """Whether every candidate was run, or proposals only repeat."""
        return len(self.tried) >= len(self.candidates) or self.idle >= _IDLE

    @property
    def best(self) -> int | None:
        """The best candidate run that met every condition."""
        good = {c: value for c, (value, missed) in self.tried.items()
                if value is not None and all(one <= 0 for one in missed)}
        return max(good, key=lambda c: good[c]) if good else None


def play_baseline(name: str, study: StudySetup, asked: ChoiceQuestion, seed: int, budget: float
                  ) -> tuple[list[int | None], int]:
    """The candidate named for each case, and the number of runs, after `budget` accelerator-seconds."""
    machine = _Machine(study, seed)
    cases = [Tuned(study, asked, mix, machine) for mix in asked.mixes]
    tuners = [BASELINES[name](case, seed * 1000 + i) for i, case in enumerate(cases)]
    order = np.random.default_rng(seed).permutation(len(cases))
    while machine.cost < budget:
        left = [i for i in order if not cases[i].is_done]
        if not left:
            break
        for i in left:
            if machine.cost >= budget:
                break
            tuners[i]()
    return [case.best for case in cases], machine.runs


def _random(case: Tuned, seed: int) -> Callable[[], None]:
    order = np.random.default_rng(seed).permutation(case.candidates).tolist()

    def step() -> None:
        case.run(order.pop())
    return step


def _optuna(case: Tuned, seed: int, sampler: str) -> Callable[[], None]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    violations: dict[int, list[float]] = {}
    kind: Any = {"tpe": optuna.samplers.TPESampler, "gp": optuna.samplers.GPSampler}[sampler]
    made = kind(seed=seed, constraints_func=lambda trial: violations.get(trial.number, [_PENALTY]))
    study = optuna.create_study(direction="maximize", sampler=made)
    places = {tuple(codes): c for c, codes in enumerate(case.mix.grid.codes.tolist())}

    def step() -> None:
        trial = study.ask()
        codes = tuple(
            trial.suggest_categorical(axis.name, list(range(len(axis.values)))) if axis.scale is Scale.CATEGORY
            else trial.suggest_int(axis.name, 0, len(axis.values) - 1) for axis in case.mix.grid.axes)
        candidate = places.get(codes)
        if candidate is None or candidate not in case.candidates:
            violations[trial.number] = [_PENALTY] * max(len(case.question.conditions), 1)
            study.tell(trial, _worst(case))
            case.idle += 1
            return
        value, missed = case.run(candidate)
        violations[trial.number] = missed or [-1.0]
        study.tell(trial, _worst(case) if value is None else value)
    return step


def _worst(case: Tuned) -> float:
    known = [value for value, _ in case.tried.values() if value is not None]
    return min(known, default=0.0)


def _botorch(case: Tuned, seed: int) -> Callable[[], None]:
    rng = np.random.default_rng(seed)
    X = _unit(case.mix.grid)

    def step() -> None:
        left = [int(c) for c in case.candidates if int(c) not in case.tried]
        known = [c for c, (value, _) in case.tried.items() if value is not None]
        if len(known) < 3:
            case.run(int(rng.choice(left)))
            return
        case.run(left[int(np.argmax(_log_ei(case, X, known, left)))])
    return step


def _unit(grid: Grid) -> FloatArray:
    """Axes as numbers from 0 to 1, categories as indicators."""
    columns = []
    for i, axis in enumerate(grid.axes):
        codes, count = grid.codes[:, i], len(axis.values)
        if axis.scale is Scale.CATEGORY:
            columns += [codes == value for value in range(count)]
        else:
            columns.append(codes / max(count - 1, 1))
    return np.array(columns, dtype=np.float64).T.reshape(len(grid), -1)


def _log_ei(case: Tuned, X: FloatArray, known: list[int], left: list[int]) -> FloatArray:
    import torch
    from botorch.acquisition.analytic import LogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    x, at = torch.tensor(X[known]), torch.tensor(X[left])

    def fitted(y: FloatArray) -> Any:
        y = (y - y.mean()) / max(float(y.std()), 1e-9)
        model = SingleTaskGP(x, torch.tensor(y)[:, None])
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    values = np.array([case.tried[c][0] for c in known], dtype=np.float64)
    missed = np.array([case.tried[c][1] for c in known], dtype=np.float64)
    good = (missed <= 0).all(axis=1) if missed.size else np.ones(len(known), dtype=bool)
    scaled = (values - values.mean()) / max(float(values.std()), 1e-9)
    model = fitted(values)
    total = np.zeros(len(left))
    if good.any():
        with torch.no_grad():
            total = LogExpectedImprovement(model, best_f=float(scaled[good].max()))(at[:, None, :]).numpy()
    for column in missed.T:
        mean, scale = column.mean(), max(float(column.std()), 1e-9)
        model = fitted(column)
        with torch.no_grad():
            posterior = model.posterior(at)
            z = (-mean / scale - posterior.mean[:, 0]) / posterior.variance[:, 0].sqrt()
            total = total + torch.special.log_ndtr(z).numpy()
    return np.asarray(total)


BASELINES: Final[Mapping[str, Callable[[Tuned, int], Callable[[], None]]]] = {
    "random": _random,
    "tpe": lambda case, seed: _optuna(case, seed, "tpe"),
    "gp": lambda case, seed: _optuna(case, seed, "gp"),
    "botorch": _botorch,
}
