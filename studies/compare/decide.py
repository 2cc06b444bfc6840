"""What it costs to decide, and whether the stated probability holds: `stop: {decision: 0.95}` on recorded grids.

    python studies/compare/decide.py STUDY.yaml --seeds 10 --slo "tpot_ms <= 8" --baselines random,tpe,gp

The study replays a recorded grid. Ours plays to its stop. At the stop each case (a combination of given values, or the
study's workload) has a chosen configuration, and the truth tells its *regret*: by what share the best configuration of
the recording that meets the service levels is better. One that misses a service level has a regret of 1.

*cost*: share of the plain sweep's. *of the map*: share of what a study costs that stops at --map accuracy, with the
same seed. *within 2 %*: share of cases whose regret is at most that. *said*: their mean stated probability;
calibration compares the two. *one named is*: share of cases where one of those that a shortlist or a tie names is
within 2 %. *narrowed*, *tied*: share of cases that ended with a shortlist (--shortlist 3), or because noise alone was
in the way. Baselines spend what ours did, on the cases in turn, and name the best that they have run.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from planner.campaign.loop import Loop, Observer
from planner.campaign.setup import StudySetup, open_setup
from planner.campaign.stopping import Limits
from planner.evaluation.choice import Choice
from planner.evaluation.settings import CHOICE_TOLERANCE
from planner.ledger.observations import Observations
from planner.simulation.choice_truth import ChoiceTruth
from planner.simulation.replay import Replay
from planner.simulation.simulate import Memory, stage
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import Posterior
from studies.compare.decide_baselines import BASELINES, play_baseline

BINS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0001)


@dataclass(frozen=True)
class Outcome:
    """One case of one strategy with one seed. cost: share of the plain sweep. regret: of the chosen configuration; NaN
    where nothing was chosen. said: P, NaN for baselines. state: of the case at the end. named: whether
    one of those that it names is right."""

    study: str
    strategy: str
    seed: int
    case: int
    cost: float
    runs: int
    regret: float
    said: float
    state: str
    named: bool


@dataclass
class Last(Observer):
    """Keeps every checkpoint's answer."""

    choices: list[tuple[float, Choice]]

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        if posterior.choice is not None:
            self.choices.append((observations.spent, posterior.choice))


def asked_study(path: Path, slo: Sequence[str], probability: float, shortlist: int = 1) -> StudySetup:
    """The study, asked to decide."""
    study = open_setup(path)
    stop = study.spec.stop.model_copy(update={
        "accuracy": None, "boundary": None, "decision": probability, "shortlist": shortlist})
    spec = study.spec.model_copy(update={"stop": stop, "slo": list(slo) or study.spec.slo})
    return replace(study, spec=spec)


def play(
    path: Path, seed: int, slo: Sequence[str], probability: float, shortlist: int, baselines: Sequence[str], most: float
) -> tuple[list[Outcome], list[tuple[float, float]]]:
    """The outcomes of ours and of the baselines with one seed, and of each case at each checkpoint what was said and
    whether it held."""
    study = asked_study(path, slo, probability, shortlist)
    asked = study.choice
    assert asked is not None
    replay = Replay(study.recorded(), study.metrics, choice=asked)
    truth = ChoiceTruth(asked, replay.recorded, study.metrics)
    runner, context = stage(replay, "sweepwise", seed)
    seen, last = Observations(study.grid, study.metrics), Last([])
    Loop(runner, make_strategy("sweepwise", context), Memory(), seen,
         Limits(choice=asked, cost=most * replay.full_cost), seed, last, clock=None).run()
    spent, found = last.choices[-1]
    outcomes = [Outcome(path.stem, "sweepwise", seed, i, spent / replay.full_cost, len(seen.runs), case["regret"],
                        case["probability"], case["state"], case["among_right"])
                for i, case in enumerate(truth.to_json(found)["cases"])]
    for name in baselines:
        best, runs = play_baseline(name, study, asked, seed, spent)
        outcomes += [Outcome(path.stem, name, seed, i, spent / replay.full_cost, runs, truth.regret(i, one),
                             float("nan"), "", truth.regret(i, one) <= CHOICE_TOLERANCE) for i, one in enumerate(best)]
    said = [(case["probability"], float(case["right"]))
            for _, choice in last.choices for case in truth.to_json(choice)["cases"]]
    return outcomes, said


def map_cost(path: Path, seed: int, accuracy: float) -> float:
    """Share of the plain sweep that a study costs which stops at that accuracy."""
    study = open_setup(path)
    replay = Replay(study.recorded(), study.metrics)
    runner, context = stage(replay, "sweepwise", seed)
    seen = Observations(study.grid, study.metrics)
    Loop(runner, make_strategy("sweepwise", context), Memory(), seen, Limits(accuracy=accuracy), seed,
         clock=None).run()
    return seen.spent / replay.full_cost


def table_of(outcomes: Sequence[Outcome], maps: dict[int, float]) -> Table:
    """A row for each strategy: means over seeds and cases."""
    table = Table(box=None, title="Decisions against truth", title_justify="left")
    for column in ("strategy", "runs", "cost", "of the map", "mean regret", "within 2 %", "one named is",
                   "said", "decided", "narrowed", "tied"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for name in dict.fromkeys(one.strategy for one in outcomes):
        own = [one for one in outcomes if one.strategy == name]
        seeds = sorted({one.seed for one in own})
        costs = [next(one.cost for one in own if one.seed == seed) for seed in seeds]
        of_map = [cost / maps[seed] for cost, seed in zip(costs, seeds, strict=True) if seed in maps]
        ours = not np.isnan(own[0].said)
        table.add_row(
            name, f"{np.mean([one.runs for one in own]):.0f}", f"{np.mean(costs):.1%}",
            f"{np.mean(of_map):.0%}" if of_map else "–", f"{np.mean([one.regret for one in own]):.1%}",
            f"{np.mean([one.regret <= CHOICE_TOLERANCE for one in own]):.1%}",
            f"{np.mean([one.named for one in own]):.1%}",
            *((f"{np.mean([one.said for one in own]):.1%}",
               *(f"{np.mean([one.state == state for one in own]):.0%}" for state in ("decided", "narrowed", "tied")))
              if ours else ("–",) * 4))
    return table


def calibration_of(pairs: Sequence[tuple[float, float]], title: str) -> Table:
    """What was said, and how often it held."""
    table = Table(box=None, title=title, title_justify="left")
    for column in ("said", "mean said", "held", "cases"):
        table.add_column(column, justify="right")
    said, held = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    for low, high in itertools.pairwise(BINS):
        here = (said >= low) & (said < high)
        if here.any():
            table.add_row(f"{low:g} … {min(high, 1):g}", f"{said[here].mean():.3f}", f"{held[here].mean():.3f}",
                          f"{here.sum():,}")
    return table


def main() -> None:
    """Read arguments, play, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--slo", action="append", default=[])
    parser.add_argument("--decision", type=float, default=0.95)
    parser.add_argument("--shortlist", type=int, default=1, help="configurations that may be left of a case")
    parser.add_argument("--baselines", default="", help=f"of {', '.join(BASELINES)}")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--map", type=float, help="accuracy at which a study of the whole map stops, to compare with")
    parser.add_argument("--most", type=float, default=1.0, help="share of the plain sweep's cost that ours may spend")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    names = [name for name in given.baselines.split(",") if name]
    played: list[Any] = Parallel(n_jobs=given.jobs)(
        delayed(play)(given.study, seed, given.slo, given.decision, given.shortlist, names, given.most)
        for seed in seeds)
    outcomes = [one for found, _ in played for one in found]
    maps: dict[int, float] = {}
    if given.map:
        maps = dict(zip(seeds, Parallel(n_jobs=given.jobs)(
            delayed(map_cost)(given.study, seed, given.map) for seed in seeds), strict=True))
    pairs = [pair for _, said in played for pair in said]
    if given.json:
        given.json.write_text(json.dumps({"outcomes": [asdict(one) for one in outcomes], "maps": maps, "said": pairs},
                                         indent=1) + "\n", encoding="utf-8")
    out = Console(highlight=False, width=140)
    out.print(table_of(outcomes, maps))
    ours = [(one.said, float(one.regret <= CHOICE_TOLERANCE)) for one in outcomes if one.strategy == "sweepwise"]
    out.print(calibration_of(ours, "At the end: P(within 2 %) said, and held"))
    out.print(calibration_of(pairs, "At every checkpoint"))


if __name__ == "__main__":
    main()
