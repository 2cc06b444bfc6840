"""A decision in some ten lines, the tables behind it, and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console

from planner.analysis.recommendation.decision import Decision
from planner.analysis.recommendation.recommend import Recommendation
from planner.analysis.recommendation.saturation import Saturation
from planner.space.grid import Grid
from planner.space.question import Question
from planner.space.text import duration, percent, point_json
from planner.space.types import Point, Role
from planner.views.boundary import boundary_json, boundary_tables, line_entry
from planner.views.choice import sure_lines
from planner.views.listing import Listing
from planner.views.recommendation import (
    best_table,
    described,
    front_tables,
    interval,
    largest_table,
    likelihood,
    number,
    saturation_table,
    thinned,
)

__all__ = ["cases_table", "decision_json", "decision_lines", "question_text", "show_decision", "workload_text"]

_MOST_PARTS: Final = 4
_MOST_METRICS: Final = 4


def show_decision(out: Console, decision: Decision, grid: Grid, top: int, whole: bool) -> None:
    """Print the answer. grid: the study's. whole: with the tables behind it."""
    if (took := decision.verified) is not None:
        out.print(f"verified: {took.runs} runs for {duration(took.cost_s)} of accelerator time, kept in the study",
                  soft_wrap=True)
    answer = decision.only
    if answer is None:
        out.print(cases_table(decision, whole))
    else:
        for line in decision_lines(decision, answer):
            out.print(line, soft_wrap=True)
    for table in _tables(decision, grid, top, whole):
        out.print()
        out.print(table)
    if not whole:
        out.print("--all shows the tables behind this")


def _tables(decision: Decision, grid: Grid, top: int, whole: bool) -> Iterator[Listing]:
    """The tables of a decision: those of a boundary that was asked for, and with `whole` all others."""
    limits, answer, question = decision.limits, decision.only, decision.question
    if whole and answer is not None:
        if len(answer.best):
            yield best_table(answer, top)
        yield from front_tables(answer)
    asked = limits.boundaries if whole or question.tiers != question.own_tier else None
    if asked is not None:
        yield from boundary_tables(asked, grid)
    largest = largest_table(limits, grid, question.confidence) if limits.boundaries is None else None
    for table in (largest, saturation_table(limits, grid)):
        if whole and table is not None:
            yield table


def decision_lines(decision: Decision, answer: Recommendation) -> Iterator[str]:
    """The answer for one workload, in some ten lines."""
    if workload := workload_text(decision):
        yield f"for {workload}"
    yield question_text(decision.question)
    row = answer.winner
    if row is None:
        yield "nothing can be said: the objective or a condition is defined at no configuration that can run"
        return
    if not len(answer.best):
        why = f"{answer.obstacle} stands in the way" if answer.obstacle else "too many are likely to fail"
        yield (f"no configuration meets every condition with {percent(answer.question.confidence)}: {why}; the most "
               "probable:")
    yield from _configuration("best", answer, row)
    if (sure := decision.sure_of(answer)) is not None:
        yield from sure_lines(sure)
    if len(answer.best) and not answer.measured[row]:
        yield ("  predicted, not measured: the best of many predictions tends to be optimistic; --verify measures it")
    yield from _baseline(answer, row)
    if len(answer.best) > 1:
        other = int(answer.best[1])
        yield from _configuration("next", answer, other)
    yield from (f"  {note}" for note in (decision.workload.notes if decision.workload else ()))


def _configuration(name: str, answer: Recommendation, row: int) -> Iterator[str]:
    grid = answer.grid
    yield f"{name}: {described(grid, row, grid.axes) or 'the one configuration'}"
    metrics = dict.fromkeys((*answer.question.metrics, *answer.known))
    yield "  " + ", ".join(f"{metric} {interval(answer, metric, row)}" for metric in list(metrics)[:_MOST_METRICS])
    how = "measured" if answer.measured[row] else "predicted"
    meets = f"meets every condition with {likelihood(answer, row)}" if answer.question.conditions else (
        f"runs with {likelihood(answer, row)}")
    yield f"  {', '.join([f'{how}; {meets}', *_economy(answer, row)])}"


def _baseline(answer: Recommendation, row: int) -> Iterator[str]:
    """The tuning gain: what the best is worth over the baseline."""
    base, gain = answer.candidates.baseline, answer.gain(row)
    if base is None:
        return
    what = described(answer.grid, base, answer.grid.axes)
    how = f"{likelihood(answer, base)} to meet every condition"
    times = "" if gain is None or base == row else (
        f"; the best is {gain[0]:.2f}× ({gain[1]:.2f} … {gain[2]:.2f}) as good")
    yield f"baseline: {what}{' (it is the best)' if base == row else ''}"
    yield f"  {how}{times}"


def _economy(answer: Recommendation, row: int) -> Iterator[str]:
    """What an accelerator gives, and what tokens cost."""
    tokens = answer.tokens_per_accelerator(row)
    if tokens is not None and answer.accelerators[row] > 1:
        yield f"{number(tokens)} tokens/s per accelerator"
    for role, what in ((Role.OUTPUT_TOKENS, "output"), (Role.INPUT_TOKENS, "input")):
        if (cost := answer.cost_per_million(row, role)) is not None:
            yield f"{number(cost[0])} ({number(cost[1])} … {number(cost[2])}) a million {what} tokens"


def question_text(question: Question) -> str:
    """What is asked, in one line."""
    goal = f"{'most' if question.maximise else 'least'} {question.objective_text}"
    if not question.conditions:
        return goal
    where = "" if question.share >= 1 else f" for {percent(question.share)} of the requests"
    return f"{goal} with {' and '.join(map(str, question.conditions))}{where}"


def workload_text(decision: Decision) -> str:
    """The workload's parts, the largest first; empty without one."""
    found = decision.workload
    if found is None:
        return ""
    parts = decision.cases[0].candidates.mix.given
    order = sorted(range(len(parts)), key=lambda i: -found.weights[i])
    said = [f"{_point(parts[i])} ({percent(float(found.weights[i]))})" if len(parts) > 1 else _point(parts[i])
            for i in order[:_MOST_PARTS]]
    if len(parts) > _MOST_PARTS:
        said.append(f"{len(parts) - _MOST_PARTS} more kinds of requests")
    return ", ".join(said)


def _point(point: Point) -> str:
    return " ".join(f"{name}={value}" for name, value in point.items())


def cases_table(decision: Decision, whole: bool) -> Listing:
    """The best configuration for each combination of given values."""
    cases = list(decision.cases) if whole else thinned(list(decision.cases))
    question = decision.question
    given = list(decision.given(cases[0]))
    metrics = list(dict.fromkeys((*question.metrics, *cases[0].known)))[:_MOST_METRICS]
    chosen = [axis.name for axis in cases[0].grid.axes if len(axis.values) > 1]
    asked, best = " · ".join(given), f"best {' · '.join(chosen)}"
    every = len(decision.cases)
    more = f"; {len(cases)} of {every} rows, --all has them all" if len(cases) < every else ""
    table = Listing(f"Best configuration for each {' × '.join(given)}: {question_text(question)}",
                    [asked, best, *metrics, "meets"], [asked, best],
                    f"– where none meets every condition with {percent(question.confidence)}; --workload gives one "
                    f"answer for a mix{more}; intervals are in --json")
    for case in cases:
        values = " · ".join(str(value) for value in decision.given(case).values())
        if not len(case.best):
            table.add_row(values, *("–" for _ in metrics), "–", "–")
            continue
        row = int(case.best[0])
        point = case.grid.point(row)
        table.add_row(values, " · ".join(str(point[name]) for name in chosen),
                      *(number(float(case.known[metric].value[row])) for metric in metrics), likelihood(case, row))
    return table


def decision_json(decision: Decision, grid: Grid, top: int) -> dict[str, Any]:
    """The form of `recommend --json`. best: of the one case, best first; of several the best of each."""
    question, answer = decision.question, decision.only
    cases = [_case(decision, case, top) for case in decision.cases]
    whole = cases[0] if answer is not None else {
        "best": [case["best"][0] for case in cases if case["best"]], "meeting": sum(case["meeting"] for case in cases),
        "pareto": [], "obstacle": None, "most_probable": None, "cases": cases}
    limits = decision.limits
    return {
        "objective": {"metric": question.objective, "maximise": question.maximise,
                      "per_accelerator": question.per_accelerator},
        "slo": [str(condition) for condition in question.conditions], "confidence": question.confidence,
        "share": question.share, "workload": _workload(decision), "considered": decision.considered, **whole,
        "largest_batch": [_largest(decision, grid, *line) for line in limits.largest],
        "saturation": [_saturation(decision, grid, line) for line in limits.saturation],
        **({"highest_load": boundary_json(limits.boundaries, grid)} if limits.boundaries else {}),
        "verified": None if decision.verified is None else {
            "runs": decision.verified.runs, "cost_s": decision.verified.cost_s},
    }


def _workload(decision: Decision) -> list[dict[str, Any]] | None:
    if decision.workload is None:
        return None
    parts = decision.cases[0].candidates.mix.given
    return [{**point_json(point), "weight": float(weight)}
            for point, weight in zip(parts, decision.workload.weights, strict=True)]


def _case(decision: Decision, answer: Recommendation, top: int) -> dict[str, Any]:
    given = decision.given(answer)
    row, base, winner = answer.most_probable, answer.candidates.baseline, answer.winner
    return {
        "given": point_json(given), "best": [_entry(answer, int(one), given) for one in answer.best[:top]],
        "meeting": len(answer.best), "pareto": _front_entries(answer, given),
        "baseline": None if base is None else {
            **_entry(answer, base, given), "gain": None if winner is None else answer.gain(winner)},
        "obstacle": str(answer.obstacle) if answer.obstacle and not len(answer.best) else None,
        "most_probable": None if row is None else _entry(answer, row, given),
        "sure": None if (sure := decision.sure_of(answer)) is None else sure.to_json()}


def _entry(answer: Recommendation, row: int, given: Point) -> dict[str, Any]:
    conditions = zip(answer.question.conditions, answer.probabilities, strict=True)
    return {
        "point": point_json({**given, **answer.grid.point(row)}),
        "predicted": {metric: _triple(answer, metric, row) for metric in answer.known},
        "probability": float(answer.probability[row]),
        "chances": {str(condition): float(probability[row]) for condition, probability in conditions},
        "measured": bool(answer.measured[row]), "accelerators": float(answer.accelerators[row]),
        "tokens_per_s_per_accelerator": answer.tokens_per_accelerator(row),
        "cost_per_million_output_tokens": answer.cost_per_million(row),
        "cost_per_million_input_tokens": answer.cost_per_million(row, Role.INPUT_TOKENS),
    }


def _triple(answer: Recommendation, metric: str, row: int) -> list[float]:
    known = answer.known[metric]
    low, high = known.interval
    return [float(known.value[row]), float(low[row]), float(high[row])]


def _front_entries(answer: Recommendation, given: Point) -> list[dict[str, Any]]:
    """Each row of a front once, with the fronts that it is on."""
    fronts: dict[int, list[str]] = {}
    for name, rows in answer.fronts.items():
        for row in rows.tolist():
            fronts.setdefault(row, []).append(name)
    return [{**_entry(answer, row, given), "fronts": names} for row, names in fronts.items()]


def _largest(decision: Decision, grid: Grid, start: int, row: int | None) -> dict[str, Any]:
    assert decision.limits.batch is not None
    axis = decision.limits.batch.name
    return {**line_entry(grid, start, axis), axis: None if row is None else grid.point(row)[axis]}


def _saturation(decision: Decision, grid: Grid, line: Saturation) -> dict[str, Any]:
    assert decision.limits.batch is not None
    axis = decision.limits.batch.name
    rows = {"saturated_at": line.row, "earliest": line.earliest, "latest": line.latest}
    return {**line_entry(grid, line.start, axis),
            **{name: None if row is None else grid.point(row)[axis] for name, row in rows.items()}}
