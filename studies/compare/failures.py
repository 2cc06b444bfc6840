"""Failed runs that a study pays for, how well it tells what can run, and how far a run exceeds its predicted time.

    python studies/compare/failures.py grid.yaml --seeds 5 --jobs 2
    python studies/compare/failures.py grid.yaml --learn --seeds 20

Plays strategies on recorded grids, and at shares of the full cost counts the failed runs and what they cost, and scores
the probability that a point can run over the points without a run: balanced accuracy and Brier score (0 is best, 0.25
is knowing nothing). *logistic* is a logistic regression on the encoded axes for all failures alike, *now* what the
planner uses. With `--learn` no strategy plays: both learn from the same random runs.

limits: of the runs that ended well and had a time limit, the largest multiple of the upper predicted seconds, and how
many took longer than their limit; these runs are not ended.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from planner.campaign.loop import Loop, Measurer
from planner.campaign.setup import open_setup
from planner.campaign.stopping import Limits
from planner.evaluation.accuracy import balanced_accuracy
from planner.ledger.observations import Observations, Run
from planner.models import feasibility
from planner.models.settings import FEASIBILITY_UNKNOWN, HANG_FACTOR, HANG_FLOOR_S
from planner.simulation.simulate import Memory, Replay, stage
from planner.space.grid import Grid
from planner.space.types import BoolArray, FloatArray, Measurement, Proposal, Status
from planner.strategies import adaptive
from planner.strategies.registry import make_strategy

__all__ = ["logistic", "main", "truth_of"]

Predictor: TypeAlias = Callable[[Grid, Observations], FloatArray]
PREDICTORS: Final[dict[str, Predictor]] = {}
PLAYED: Final = (0.005, 0.01, 0.02)
DRAWN: Final = (0.02, 0.05, 0.1, 0.2)


def logistic(grid: Grid, observations: Observations) -> FloatArray:
    """The former surrogate: one logistic regression, C = 10, whatever the failure."""
    from sklearn.linear_model import LogisticRegression

    probability = np.ones(len(grid))
    if not observations.failed.any():
        return probability
    if not observations.measured.any():
        return np.where(observations.failed, 0.0, FEASIBILITY_UNKNOWN)
    columns = np.hstack([grid.features.numeric, *(
        np.eye(levels)[grid.features.category[:, place]] for place, levels in enumerate(grid.features.levels))])
    rows = np.flatnonzero(observations.known)
    model = LogisticRegression(C=10.0, max_iter=500).fit(columns[rows], observations.measured[rows])
    probability = np.asarray(model.predict_proba(columns)[:, 1], dtype=np.float64)
    probability[observations.measured], probability[observations.failed] = 1.0, 0.0
    return probability


PREDICTORS.update(logistic=logistic, now=feasibility.probability_of_feasibility)


@dataclass(frozen=True)
class _Unlimited:
    """A runner that ends no run, and notes each limit."""

    inner: Measurer
    limits: list[float | None]
    trajectory_axis: str | None = None

    def measure(self, proposal: Proposal) -> Measurement:
        self.limits.append(proposal.limit_s)
        return self.inner.measure(replace(proposal, limit_s=None))


def truth_of(replay: Replay) -> BoolArray:
    """Whether a run at each point fails, (N,)."""
    runner, grid = replay.recorded.runner.reseeded(0), replay.recorded.grid
    return np.array([runner.measure(Proposal(point, (point,))).status is Status.FAILED
                     for point in map(grid.point, range(len(grid)))])


def played(replay: Replay, name: str, seed: int, share: float) -> tuple[Observations, list[float | None]]:
    """The runs of a strategy up to a share of the full cost, and their limits."""
    runner, context = stage(replay, name, seed)
    watched = _Unlimited(runner, [], runner.trajectory_axis)
    seen = Observations(replay.recorded.grid, replay.metrics)
    Loop(watched, make_strategy(name, context), Memory(), seen, Limits(cost=share * replay.full_cost), seed,
         clock=None).run()
    return seen, watched.limits


def drawn(replay: Replay, seed: int, share: float) -> Observations:
    """Runs at random, up to a share of the full cost, without a strategy."""
    runner, grid = replay.recorded.runner.reseeded(seed), replay.recorded.grid
    seen = Observations(grid, replay.metrics)
    for row in np.random.default_rng(seed).permutation(len(grid)):
        point = grid.point(int(row))
        measurement = runner.measure(Proposal(point, (point,), seed))
        if seen.spent + measurement.cost.accelerator_seconds > share * replay.full_cost:
            return seen
        seen.add(Run(len(seen.runs), point, measurement))
    return seen


def states(seen: Observations, full: float, shares: Sequence[float]) -> Iterator[Observations]:
    """The observations up to each share of the full cost."""
    spent = np.cumsum([run.measurement.cost.accelerator_seconds for run in seen.runs])
    for share in shares:
        yield seen.prefix(int(np.searchsorted(spent, share * full, side="right")))


def scored(seen: Observations, fails: BoolArray, predictor: Predictor) -> tuple[float, float]:
    """Balanced accuracy and Brier score over the points without a run."""
    found, u = predictor(seen.grid, seen), ~seen.known
    return balanced_accuracy(found, fails, seen.known), float(np.mean((found[u] - ~fails[u]) ** 2))


def overrun(seen: Observations, limits: Sequence[float | None]) -> tuple[float, int, int]:
    """The largest multiple of the upper predicted seconds that a good run with a limit took, how many such runs took
    longer than the limit, and how many there are."""
    pairs = [(run.measurement.cost.run_s, limit) for run, limit in zip(seen.runs, limits, strict=True)
             if limit is not None and run.measurement.status is Status.OK]
    most = max((took * HANG_FACTOR / (limit - HANG_FLOOR_S) for took, limit in pairs), default=0.0)
    return most, sum(took > limit for took, limit in pairs), len(pairs)


def one(study: Path, name: str, surrogate: str, seed: int) -> list[tuple[float, ...]]:
    """For each share: runs, failed runs, share of the cost that they took, then balanced accuracy and Brier score of
    each predictor; last, the limits. name: a strategy, or "" for runs without one."""
    setup = open_setup(study)
    replay = Replay(setup.recorded(), setup.metrics)
    fails, shares = truth_of(replay), PLAYED if name else DRAWN
    with threadpool_limits(1):
        vars(adaptive)["probability_of_feasibility"] = PREDICTORS[surrogate]
        seen, limits = played(replay, name, seed, shares[-1]) if name else (drawn(replay, seed, shares[-1]), [])
    rows: list[tuple[float, ...]] = []
    for state in states(seen, replay.full_cost, shares):
        lost = sum(run.measurement.cost.accelerator_seconds for run in state.runs
                   if run.measurement.status is Status.FAILED)
        scores = [value for predictor in PREDICTORS.values() for value in scored(state, fails, predictor)]
        rows.append((len(state.runs), state.failures, lost / max(state.spent, 1e-9), *scores))
    return [*rows, overrun(seen, limits) if name else (0.0, 0, 0)]


def main() -> None:
    """Print a row for each study, strategy, surrogate and share: means over the seeds."""
    from joblib import Parallel, delayed

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--learn", action="store_true")
    given = parser.parse_args()
    plays = [("", "now")] if given.learn else [("random", "now"), ("sweepwise", "logistic"), ("sweepwise", "now")]
    print("study strategy surrogate | share runs failed lost | logistic: balanced Brier | now: balanced Brier")
    for study in given.studies:
        for name, surrogate in plays:
            found = Parallel(n_jobs=given.jobs)(
                delayed(one)(study, name, surrogate, given.first_seed + i) for i in range(given.seeds))
            for i, share in enumerate(PLAYED if name else DRAWN):
                runs, failed, lost, *scores = _mean([each[i] for each in found])
                print(f"{study.stem} {name or 'at random'} {surrogate} | {share:.3f} {runs:.0f} {failed:.1f} "
                      f"{lost:.3f} | " + " | ".join(f"{b:.3f} {s:.3f}" for b, s in zip(
                          scores[::2], scores[1::2], strict=True)), flush=True)
            if name:
                ends = [each[-1] for each in found]
                print(f"limits: at most {max(end[0] for end in ends):.2f} times the upper predicted seconds, "
                      f"{sum(end[1] for end in ends):.0f} of {sum(end[2] for end in ends):.0f} runs over", flush=True)


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    with np.errstate(all="ignore"):
        return [float(value) for value in np.nanmean(np.array(rows, dtype=float), axis=0)]


if __name__ == "__main__":
    main()
