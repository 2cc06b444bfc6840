"""Whether recommendations hold: how often the chosen configuration meets its conditions in truth, and what it costs.

    python studies/compare/recommend.py a.yaml b.yaml --seeds 4 --at-cost 0.01,0.05 --quantiles 0.1,0.25,0.5,0.75

Each study replays a recorded grid. Its first throughput among the targets, else its first target, is the objective;
every other target is bounded, alone and together with the others, at quantiles of its true values. After each share of
the full cost the study is asked for its best point.

*silent*: questions without an answer. *holds*: share of answers that meet every condition in truth, to be compared
with the stated probability, *said*. *predicted*: answers that no run had measured, and how often those *hold*.
*regret*: 1 − true objective of the choice / best true objective of any point that meets the conditions; a choice that
does not meet them has none.
*too good*: predicted over true objective of the predicted answers, median over those that can run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from planner.analysis.recommendation.recommend import Recommendation, recommend
from planner.campaign.loop import Loop, Observer
from planner.campaign.setup import StudySetup, open_setup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations, Run
from planner.simulation.simulate import Memory, Replay, stage
from planner.space.question import Question
from planner.space.slo import Condition
from planner.space.types import BoolArray, FloatArray
from planner.strategies.registry import make_strategy


@dataclass(frozen=True)
class Answer:
    """One question at one state of one study. regret: NaN if nothing was chosen, or the choice does not hold."""

    study: str
    seed: int
    share: float
    runs: int
    conditions: list[str]
    said: float
    holds: bool | None
    measured: bool
    regret: float
    predicted_over_true: float


class Costs(Observer):
    """What had been spent after each run."""

    def __init__(self) -> None:
        self.spent: list[float] = []

    def finished(self, run: Run, observations: Observations) -> None:
        self.spent.append(observations.spent)


def answers(path: Path, seed: int, shares: list[float], quantiles: list[float], confidence: float) -> list[Answer]:
    """Play one study with one seed, and ask at each share of the full cost."""
    study = open_setup(path)
    replay = Replay(study.recorded(), study.metrics)
    full = replay.full_cost
    runner, context = stage(replay, "sweepwise", seed)
    observations, costs = Observations(study.grid, study.metrics), Costs()
    strategy = make_strategy("sweepwise", context)
    Loop(runner, strategy, Memory(), observations, Limits(cost=max(shares) * full), seed, costs, clock=None).run()
    truth = {target: replay.recorded.truth(target) for target in study.targets}
    found = []
    with threadpool_limits(limits=1):
        for share in shares:
            state = observations.prefix(int(np.searchsorted(costs.spent, share * full, side="right")))
            if not state.measured.any():
                continue
            posterior = make_strategy("sweepwise", context).posterior(state)
            for question in _questions(study, truth, quantiles, confidence):
                answer = recommend(question, posterior, state, context.accelerators)
                found.append(_scored(answer, truth, study.name, seed, share, len(state.runs)))
    return found


def _scored(
    answer: Recommendation, truth: dict[str, FloatArray], study: str, seed: int, share: float, runs: int
) -> Answer:
    question = answer.question
    conditions = [str(condition) for condition in question.conditions]
    if not len(answer.best):
        return Answer(study, seed, share, runs, conditions, math.nan, None, False, math.nan, math.nan)
    row = int(answer.best[0])
    value = float(answer.known[question.objective].value[row] / truth[question.objective][row])
    return Answer(study, seed, share, runs, conditions, float(answer.probability[row]),
                  bool(_meets(question, truth)[row]), bool(answer.measured[row]), _regret(question, truth, row), value)


def _questions(
    study: StudySetup, truth: dict[str, FloatArray], quantiles: list[float], confidence: float
) -> Iterator[Question]:
    """Every set of bounds that some point meets in truth."""
    better = {metric.name: metric.higher_is_better for metric in study.metrics}
    objective = next((target for target in study.targets if better[target]), study.targets[0])
    others = [target for target in study.targets if target != objective]
    sets = [[target] for target in others] + ([others] if len(others) > 1 else [])
    for metrics in sets:
        for at in itertools.product(quantiles, repeat=len(metrics)):
            conditions = []
            for metric, quantile in zip(metrics, at, strict=True):
                upper = not better[metric]
                bound = float(np.nanquantile(truth[metric], quantile if upper else 1 - quantile))
                conditions.append(Condition(metric, bound, upper))
            question = Question(objective, better[objective], tuple(conditions), confidence)
            if _meets(question, truth).any():
                yield question


def _meets(question: Question, truth: dict[str, FloatArray]) -> BoolArray:
    meets: BoolArray = np.isfinite(truth[question.objective])
    for condition in question.conditions:
        value = truth[condition.metric]
        with np.errstate(invalid="ignore"):
            meets &= value <= condition.bound if condition.is_upper else value >= condition.bound
    return meets


def _regret(question: Question, truth: dict[str, FloatArray], row: int) -> float:
    meets, value = _meets(question, truth), truth[question.objective]
    if not meets[row]:
        return math.nan
    best = value[meets].max() if question.maximise else value[meets].min()
    return float(1 - value[row] / best if question.maximise else 1 - best / value[row])


def summary(found: list[Answer]) -> Table:
    """A row for each study and share."""
    table = Table(box=None, title="Recommendations against truth", title_justify="left")
    for column in ("study", "cost", "runs", "asked", "silent", "said", "holds", "predicted", "hold",
                   "median regret", "mean", "too good"):
        table.add_column(column, justify="left" if column == "study" else "right")
    for (study, share), group in itertools.groupby(
            sorted(found, key=lambda a: (a.study, a.share)), key=lambda a: (a.study, a.share)):
        every = list(group)
        given = [a for a in every if a.holds is not None]
        predicted = [a for a in given if not a.measured]
        ratios = np.array([a.predicted_over_true for a in predicted])
        regret = [a.regret for a in given if math.isfinite(a.regret)]
        table.add_row(
            study, f"{share:.1%}", f"{np.median([a.runs for a in every]):g}", str(len(every)),
            str(len(every) - len(given)), _mean([a.said for a in given]), _mean([bool(a.holds) for a in given]),
            str(len(predicted)), _mean([bool(a.holds) for a in predicted]),
            f"{np.median(regret):.3f}" if regret else "–", _mean(regret),
            f"{np.nanmedian(ratios):.2f}" if np.isfinite(ratios).any() else "–")
    return table


def _mean(values: list[float] | list[bool]) -> str:
    return f"{np.mean(values):.3f}" if values else "–"


def main() -> None:
    """Read arguments, play, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--at-cost", default="0.01,0.05")
    parser.add_argument("--quantiles", default="0.1,0.25,0.5,0.75")
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    shares, quantiles = ([float(x) for x in text.split(",")] for text in (given.at_cost, given.quantiles))
    tasks = (delayed(answers)(path, seed, shares, quantiles, given.confidence)
             for path in given.studies for seed in range(given.seeds))
    found = [answer for part in Parallel(n_jobs=given.jobs)(tasks) for answer in part]
    if given.json:
        given.json.write_text(json.dumps([asdict(answer) for answer in found], indent=1) + "\n", encoding="utf-8")
    Console(highlight=False).print(summary(found))


if __name__ == "__main__":
    main()
