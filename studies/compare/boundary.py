"""How well a boundary is found, and what that costs: ours against bisection, AIPerf's search and random points.

    python studies/compare/boundary.py studies/replay_served.yaml --seeds 10 --at-runs 40,60,80 --at-cost 0.05,0.1

The study replays a recorded grid, and its file asks for a boundary. Each strategy plays to its own end: ours to its
stop, the searches until every line is bracketed by neighbours; `random` to the last of --at-runs. After so many runs,
after so much of the plain sweep's cost, and at the end (`end`), the boundary of each line and tier is compared with
that of the recorded values.

*error*: mean |log2(found / true)| of the load, in doublings; a boundary outside the grid is one step beyond it. *within
a step*: share of lines whose boundary is at most one grid step away. *wrong*: share of all loads of all lines that are
said to meet a tier and do not, or the other way round. *open*: share of loads still undecided. *inside*: share of lines
whose true boundary is inside the stated 90 % interval. With --with-model the runs of the searches are read by our
model too, as `+ model`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from planner.analysis.boundary import Boundaries, HighestLoad, boundaries_of, crossing
from planner.campaign.loop import Loop
from planner.campaign.setup import StudySetup, open_setup
from planner.campaign.stopping import Limits
from planner.ledger.observations import Observations
from planner.simulation.simulate import Memory, Replay, stage
from planner.space.load import ascending_lines, load_axis
from planner.space.slo import Boundary
from planner.space.types import BoolArray, FloatArray
from planner.strategies.adaptive import AdaptiveStrategy
from planner.strategies.line_search import LineSearch
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import Strategy, with_attainment

BINS = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)


@dataclass(frozen=True)
class State:
    """One strategy with one seed at one state. at: a number of runs, a cost, or "end", its own. inside: NaN for
    searches, which state no interval. said, held: sums of P(met) and of what was met in each of BINS, and counts."""

    strategy: str
    seed: int
    at: str
    runs: int
    cost: float
    error: float
    within: float
    wrong: float
    open: float
    inside: float
    reason: str
    said: list[float]
    held: list[float]
    count: list[int]


class Truth:
    """The recorded values: which loads meet each tier, and each line's boundary as a place among its loads."""

    def __init__(self, study: StudySetup, boundary: Boundary) -> None:
        self.grid, recorded = study.grid, study.recorded()
        axis = load_axis(study.grid)
        assert axis is not None
        self.lines = ascending_lines(study.grid, axis)
        self.size = study.grid.numbers(axis.name)
        values = {metric: recorded.truth(metric) for metric in boundary.metrics}
        margins = {c: (math.log(c.bound) - np.log(values[c.metric])) * (1 if c.is_upper else -1)
                   for tier in boundary.tiers for c in tier.conditions}
        nearest = [np.min([margins[c] for c in tier.conditions], axis=0) for tier in boundary.tiers]
        self.met = np.nan_to_num(np.array(nearest), nan=-1.0) >= 0
        self.place = np.array([[self._place(margin[rows]) for rows in self.lines] for margin in nearest])

    def _place(self, margin: FloatArray) -> float:
        inside: FloatArray = np.where(np.nan_to_num(margin, nan=-1.0) >= 0, 1.0, -1.0)
        loads: FloatArray = np.exp2(np.arange(len(margin), dtype=np.float64))
        load, position = crossing(loads, inside, margin)
        return place_of(load, position, loads)

    def load(self, line: int, place: FloatArray) -> FloatArray:
        """log2 of the load at places among the loads of a line; a step beyond the grid where outside."""
        logs = np.log2(self.size[self.lines[line]])
        steps = np.diff(logs) if len(logs) > 1 else np.ones(1)
        logs = np.concatenate([[logs[0] - steps[0]], logs, [logs[-1] + steps[-1]]])
        found: FloatArray = np.interp(place, np.arange(-1, len(logs) - 1), logs)
        return found


def place_of(load: float | None, position: str, loads: FloatArray) -> float:
    """A boundary as a place among the loads: −1 below the first, L above the last."""
    if load is None:
        return -1.0 if position == "below the grid" else float(len(loads))
    return float(np.interp(math.log(load), np.log(loads), np.arange(len(loads))))


def scored(
    truth: Truth, place: FloatArray, met: BoolArray, found: Boundaries | None
) -> dict[str, float | list[float] | list[int]]:
    """place: (T, lines). met: (T, N), what is said of each load. found: with probabilities and intervals, if any."""
    error = np.array([[np.abs(truth.load(i, place[t, i]) - truth.load(i, truth.place[t, i]))
                       for i in range(len(truth.lines))] for t in range(len(place))])
    answer: dict[str, float | list[float] | list[int]] = {
        "error": float(error.mean()), "within": float((np.abs(place - truth.place) <= 1).mean()),
        "wrong": float((met != truth.met).mean()), "open": math.nan, "inside": math.nan,
        "said": [], "held": [], "count": []}
    if found is None:
        return answer
    attainment = found.attainment
    inside = [is_inside(highest, truth, t, i) for i, line in enumerate(found.lines)
              for t, highest in enumerate(line.highest)]
    measured = np.array([np.all([attainment.metrics[m].measured for m in tier.metrics], axis=0)
                         for tier in found.tiers])
    p, held = attainment.probability[~measured], truth.met[~measured]
    bins = np.clip(np.digitize(p, BINS) - 1, 0, len(BINS) - 2)
    answer |= {"open": attainment.open_count / attainment.total, "inside": float(np.mean(inside)),
               "said": [float(p[bins == b].sum()) for b in range(len(BINS) - 1)],
               "held": [float(held[bins == b].sum()) for b in range(len(BINS) - 1)],
               "count": [int((bins == b).sum()) for b in range(len(BINS) - 1)]}
    return answer


def is_inside(highest: HighestLoad, truth: Truth, tier: int, line: int) -> bool:
    """Whether the interval holds the true boundary."""
    size = truth.size[truth.lines[line]]
    low = -1.0 if highest.low is None else float(np.searchsorted(size, highest.low))
    high = float(len(size)) if highest.high is None else float(np.searchsorted(size, highest.high))
    return bool(low - 1e-9 <= truth.place[tier, line] <= high + 1e-9)


def by_model(strategy: Strategy, observations: Observations, boundary: Boundary, truth: Truth
             ) -> dict[str, float | list[float] | list[int]]:
    """The score of our reading of the runs."""
    with threadpool_limits(limits=1):
        posterior = with_attainment(strategy.posterior(observations), boundary, observations)
    assert posterior.attainment is not None
    found = boundaries_of(posterior.attainment, observations.grid)
    place = np.array([[place_of(line.highest[t].load, line.highest[t].position, line.loads) for line in found.lines]
                      for t in range(len(boundary.tiers))])
    return scored(truth, place, posterior.attainment.probability >= 0.5, found)


def by_search(search: LineSearch, observations: Observations, truth: Truth
              ) -> dict[str, float | list[float] | list[int]]:
    """The score of what a search says of its own runs."""
    order = {int(rows[0]): i for i, rows in enumerate(search.lines)}
    place = search.located(observations)[:, [order[int(rows[0])] for rows in truth.lines]]
    met = np.zeros_like(truth.met)
    for i, rows in enumerate(truth.lines):
        met[:, rows] = np.arange(len(rows)) <= place[:, i:i + 1] + 1e-9
    return scored(truth, place, met, None)


def play(path: Path, name: str, seed: int, at_runs: Sequence[int], at_cost: Sequence[float] = (),
         with_model: bool = False) -> list[State]:
    """One strategy with one seed, scored after each number of runs, at each share of the full cost, and at its end."""
    study = open_setup(path)
    boundary = study.boundary
    assert boundary is not None, "the study asks for no boundary"
    truth, replay = Truth(study, boundary), Replay(study.recorded(), study.metrics, boundary)
    runner, context = stage(replay, name, seed)
    observations = Observations(study.grid, study.metrics)
    searching = isinstance(make_strategy(name, context), LineSearch)
    limits = Limits(trials=max(at_runs)) if name in {"random", "lhs"} else Limits() if searching else Limits(
        boundary=boundary)
    reason = Loop(runner, make_strategy(name, context), Memory(), observations, limits, seed, clock=None).run()
    costs = np.cumsum([run.measurement.cost.accelerator_seconds for run in observations.runs])
    states = []
    for at, runs in stages(costs / replay.full_cost, at_runs, at_cost):
        now = observations.prefix(runs)
        found = [(f"{name} + model" if searching else name, by_model(AdaptiveStrategy(context), now, boundary, truth))
                 ] if with_model or not searching else []
        fresh = make_strategy(name, context)
        if isinstance(fresh, LineSearch):
            found.append((name, by_search(fresh, now, truth)))
        states += [State(label, seed, at, runs, float(costs[runs - 1]), reason=reason, **score)  # type: ignore[arg-type]
                   for label, score in found]
    return states


def stages(costs: FloatArray, at_runs: Sequence[int], at_cost: Sequence[float]) -> list[tuple[str, int]]:
    """Label and number of runs of each state to score. costs: after each run, as shares of the full cost."""
    by_cost = [(f"{share:.1%}", int(np.searchsorted(costs, share, side="right"))) for share in at_cost]
    some = [*((f"{n} runs", n) for n in at_runs), *by_cost]
    return [*((label, n) for label, n in some if 0 < n < len(costs)), ("end", len(costs))]


def table_of(states: list[State], full_cost: float) -> Table:
    """A row for each strategy and number of runs: means over seeds."""
    table = Table(box=None, title="The boundary against truth", title_justify="left")
    for column in ("strategy", "after", "runs", "cost", "error", "within a step", "wrong", "open", "inside", "ended"):
        table.add_column(column, justify="left" if column in {"strategy", "ended"} else "right")
    order = {at: i for i, at in enumerate(dict.fromkeys(state.at for state in states if state.at != "end"))}
    key = lambda s: (s.strategy, order.get(s.at, len(order)), s.at)  # noqa: E731
    for (name, _, at), group in itertools.groupby(sorted(states, key=key), key):
        every = list(group)
        reasons = sorted({state.reason for state in every}) if at == "end" else []
        table.add_row(
            name, at, f"{np.mean([s.runs for s in every]):.0f}",
            f"{np.mean([s.cost for s in every]) / full_cost:.1%}",
            f"{np.mean([s.error for s in every]):.3f} ± {np.std([s.error for s in every]):.3f}",
            *(f"{np.mean([getattr(s, part) for s in every]):.1%}" for part in ("within", "wrong", "open", "inside")),
            ", ".join(reasons))
    return table


def calibration_of(states: list[State]) -> Table:
    """What was said of loads not measured, and how often it held, over our states."""
    table = Table(box=None, title="P(met) of loads not measured, and how often it was so", title_justify="left")
    for column in ("strategy", "said", "mean said", "held", "loads"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    key = lambda s: s.strategy  # noqa: E731
    for name, group in itertools.groupby(sorted((s for s in states if s.count), key=key), key):
        every = list(group)
        said, held, count = (np.sum([getattr(s, part) for s in every], axis=0) for part in ("said", "held", "count"))
        for b in range(len(BINS) - 1):
            if count[b]:
                table.add_row(name, f"{BINS[b]:g} … {BINS[b + 1]:g}", f"{said[b] / count[b]:.3f}",
                              f"{held[b] / count[b]:.3f}", f"{count[b]:,}")
    return table


def draw(states: list[State], file: Path) -> None:
    """Error against runs, a line for each strategy; needs plotly and kaleido."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for name in dict.fromkeys(state.strategy for state in states):
        own = [state for state in states if state.strategy == name]
        places = [at for at in dict.fromkeys(state.at for state in own) if not at.endswith("%")]
        x = [float(np.mean([s.runs for s in own if s.at == at])) for at in places]
        y = [float(np.mean([s.error for s in own if s.at == at])) for at in places]
        order = np.argsort(x)
        figure.add_scatter(x=np.array(x)[order], y=np.array(y)[order], name=name, mode="lines+markers")
    figure.update_layout(xaxis_title="runs", yaxis_title="error of the boundary (doublings of the load)",
                         template="plotly_white", width=900, height=520)
    figure.update_yaxes(type="log")
    if file.suffix == ".html":
        figure.write_html(file, config={"displayModeBar": False})
    else:
        figure.write_image(file, scale=2)


def main() -> None:
    """Read arguments, play, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--strategies", default="sweepwise,random,bisection,aiperf_boundary")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--at-runs", default="40,60,80,120,160")
    parser.add_argument("--at-cost", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--with-model", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    tasks = (delayed(play)(given.study, name, seed, [int(n) for n in given.at_runs.split(",")],
                           [float(share) for share in given.at_cost.split(",") if share], given.with_model)
             for name in given.strategies.split(",") for seed in seeds)
    states = [state for part in Parallel(n_jobs=given.jobs)(tasks) for state in part]
    if given.json:
        given.json.write_text(json.dumps([asdict(state) for state in states], indent=1) + "\n", encoding="utf-8")
    out = Console(highlight=False, width=140)
    out.print(table_of(states, Replay(open_setup(given.study).recorded(), ()).full_cost))
    out.print(calibration_of(states))
    if given.figure:
        draw(states, given.figure)


if __name__ == "__main__":
    main()
