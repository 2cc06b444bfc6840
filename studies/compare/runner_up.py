"""What separates the runner-up: how often the stated interval of a difference has the true one, and how wide it is.

    python studies/compare/runner_up.py a.yaml b.yaml --seeds 4 --at-cost 0.01,0.05

Each study replays a recorded grid. At each share of the full cost it is asked for the best configuration of each
combination of given values and of a workload of several of them, with no condition, and with every other target bounded
at its true median. A random configuration is the baseline. Compared are the ratios of the objective that the answer
states, *runner-up* to best and best to *baseline*, with those of the recording.

*alone*: as if the errors of the two were independent. *joint*: as they are stated. *inside*: share of true ratios
within the 90 % interval. *width*: median of its upper over its lower end, less 1. *sure*: share of differences that are
stated as no chance, and *right*: of these, those with the true sign. *against*: of answers that are said to be within
2 % of the best with 95 % or more, those whose runner-up may be better by more, by its interval. *measured*: how many of
the two were measured (--by-measured).
What was measured in full has its true value by definition, unless runs take fewer `repeats` than the truth has. Noise
of the truth itself is in the intervals of what was predicted: a prediction is of what would be read.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from planner.analysis.recommendation.decision import Decision, decide
from planner.analysis.recommendation.recommend import Recommendation
from planner.campaign.loop import Loop
from planner.campaign.setup import StudySetup, open_setup
from planner.campaign.stopping import Limits
from planner.evaluation.mix import together
from planner.evaluation.settings import CHOICE_TOLERANCE
from planner.ledger.observations import Observations
from planner.simulation.replay import Replay
from planner.simulation.simulate import Memory, stage
from planner.space.question import Question, usual_objective
from planner.space.slo import Condition
from planner.space.types import FloatArray
from planner.strategies.registry import make_strategy
from planner.tables.workload import PlacedWorkload, given_axes
from studies.compare.recommend import Costs

PARTS = 3
"""Combinations of given values that the workload has, where there are so many."""

Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Pair:
    """One stated difference. true, joint, alone: ratios of the objective, above 1 where the first is better; the last
    two with their 90 % intervals. meets, within: what was said to be the probability that the best one meets every
    condition, and is within 2 % of the best that does. closest: whether the other is the closest competitor."""

    study: str
    seed: int
    share: float
    runs: int
    about: str
    parts: int
    measured: int
    true: float
    joint: Interval
    alone: Interval
    meets: float
    within: float
    closest: bool


def pairs(path: Path, seed: int, shares: Sequence[float]) -> list[Pair]:
    """Play one study with one seed, and ask at each share of the full cost."""
    study = open_setup(path)
    replay = Replay(study.recorded(), study.metrics)
    runner, context = stage(replay, "sweepwise", seed)
    observations, costs = Observations(study.grid, study.metrics), Costs()
    Loop(runner, make_strategy("sweepwise", context), Memory(), observations,
         Limits(cost=max(shares) * replay.full_cost), seed, costs, clock=None).run()
    found: list[Pair] = []
    with threadpool_limits(limits=1):
        for share in shares:
            state = observations.prefix(int(np.searchsorted(costs.spent, share * replay.full_cost, side="right")))
            if not state.measured.any():
                continue
            posterior = make_strategy("sweepwise", context).posterior(state)
            rng = np.random.default_rng(seed)
            for question, workload in itertools.product(_questions(study, rng), (None, _workload(study, rng))):
                answer = decide(question, posterior, state, context.accelerators, workload=workload)
                found += _stated(study, answer, seed, share, len(state.runs))
    return found


def _questions(study: StudySetup, rng: np.random.Generator) -> Iterator[Question]:
    """Without conditions, and with every other target bounded at its true median, against a random baseline."""
    objective = usual_objective(study.metrics)
    assert objective is not None
    given = {axis.name for axis in given_axes(study.grid)}
    point = study.grid.point(int(rng.integers(len(study.grid))))
    baseline = {name: value for name, value in point.items() if name not in given}
    bounds = tuple(
        Condition(metric.name, float(np.nanmedian(study.recorded().truth(metric.name))), not metric.higher_is_better)
        for metric in study.metrics if metric.name != objective.name)
    for conditions in dict.fromkeys(((), bounds)):
        yield Question(objective.name, objective.higher_is_better, conditions, baseline=baseline)


def _workload(study: StudySetup, rng: np.random.Generator) -> PlacedWorkload:
    names = tuple(axis.name for axis in given_axes(study.grid))
    codes = np.unique(study.grid.codes[:, [study.grid.position(name) for name in names]], axis=0)
    some = rng.permutation(len(codes))[:PARTS]
    return PlacedWorkload(names, codes[some], np.full(len(some), 1 / len(some)))


def _stated(study: StudySetup, answer: Decision, seed: int, share: float, runs: int) -> Iterator[Pair]:
    for case, sure in zip(answer.cases, answer.sure, strict=True):
        best = case.winner
        if best is None or not len(case.best):
            continue
        true = _true(study, case)
        for about, other in (("runner-up", case.second), ("baseline", case.candidates.baseline)):
            if other is None or other == best or not np.isfinite(true[[best, other]]).all():
                continue
            joint, alone = case.gain(best, other), replace(case, draws=None).gain(best, other)
            if joint is not None and alone is not None:
                ratio = float(true[best] / true[other])
                yield Pair(study.name, seed, share, runs, about, case.candidates.mix.rows.shape[1],
                           int(case.measured[[best, other]].sum()), ratio if case.question.maximise else 1 / ratio,
                           joint, alone, float(case.probability[best]), sure.probability,
                           case.grid.point(other) == sure.runner_up)


def _true(study: StudySetup, case: Recommendation) -> FloatArray:
    """The recorded objective of each candidate."""
    mix, name = case.candidates.mix, case.question.objective
    metric = next(one for one in study.metrics if one.name == name)
    parts = study.recorded().truth(name)[np.maximum(mix.rows, 0)].T
    return np.where(mix.is_whole, together(mix, metric, parts), np.nan)


def summary(found: Sequence[Pair], by_measured: bool) -> Table:
    """A row for each study and kind of difference."""
    table = Table(box=None, title="Stated differences against truth", title_justify="left")
    for column in ("study", "cost", "difference", "measured", "runs", "stated", "inside alone", "joint", "width alone",
                   "joint", "sure alone", "joint", "right alone", "joint", "against alone", "joint"):
        table.add_column(column, justify="left" if column in ("study", "difference") else "right")

    def key(one: Pair) -> tuple[str, float, str, str]:
        about = one.about + (", mix" if one.parts > 1 else "")
        return one.study, one.share, about, str(one.measured) if by_measured else ""

    for (study, share, about, measured), group in itertools.groupby(sorted(found, key=key), key=key):
        every = list(group)
        each = [_scores(every, [getattr(one, how) for one in every]) for how in ("alone", "joint")]
        table.add_row(study, f"{share:.1%}", about, measured, f"{np.median([one.runs for one in every]):g}",
                      str(len(every)),
                      *(text for both in zip(*each, strict=True) for text in both))
    return table


def _scores(every: Sequence[Pair], stated: Sequence[Interval]) -> tuple[str, ...]:
    true = np.array([one.true for one in every])
    middle, low, high = np.array(stated).T
    inside = (low * (1 - 1e-9) <= true) & (true <= high * (1 + 1e-9))
    sure = (low > 1) | (high < 1)
    right = (np.sign(middle - 1) == np.sign(true - 1))[sure]
    against = (1 / low > 1 / (1 - CHOICE_TOLERANCE))[np.array([one.within >= 0.95 for one in every])]
    return (f"{inside.mean():.3f}", f"{np.median(high / low) - 1:.1%}", f"{sure.mean():.0%}",
            f"{right.mean():.3f}" if len(right) else "–",
            f"{against.mean():.0%}" if len(against) and every[0].about == "runner-up" else "–")


def main() -> None:
    """Read arguments, play, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--at-cost", default="0.01,0.05")
    parser.add_argument("--by-measured", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    shares = [float(x) for x in given.at_cost.split(",")]
    tasks = (delayed(pairs)(path, seed, shares)
             for path in given.studies for seed in range(given.seeds))
    found = [pair for part in Parallel(n_jobs=given.jobs)(tasks) for pair in part]
    if given.json:
        given.json.write_text(json.dumps([asdict(pair) for pair in found], indent=1) + "\n", encoding="utf-8")
    Console(highlight=False, width=180).print(summary(found, given.by_measured))


if __name__ == "__main__":
    main()
