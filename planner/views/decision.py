"""A decision in some ten lines, the tables behind it, and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from rich.console import Console

from planner.analysis.recommendation.decision import Decision
from planner.analysis.recommendation.recommend import Recommendation
from planner.analysis.recommendation.saturation import Saturation
from planner.analysis.recommendation.separation import separation
from planner.space.grid import Grid
from planner.space.text import duration, percent, point_json, point_text
from planner.space.types import FloatArray, Point, Role
from planner.views.boundary import boundary_json, boundary_tables, line_entry
from planner.views.cases import cases_table, question_text
from planner.views.cells import described, interval, likelihood, number
from planner.views.choice import sure_lines
from planner.views.listing import Listing
from planner.views.recommendation import (
    best_table,
    front_tables,
    largest_table,
    saturation_table,
)
from planner.views.separation import gain_text, gap_texts

__all__ = ["baseline_missing", "cases_table", "decision_json", "decision_lines", "nothing_text", "parts_text",
           "question_text", "show_decision", "workload_text"]

_MOST_PARTS: Final = 4
_LINE: Final = 98  # characters of a line that is indented by two


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
    if hints := "; ".join(_hints(answer, whole)):
        out.print(hints, soft_wrap=True)


def _hints(answer: Recommendation | None, whole: bool) -> Iterator[str]:
    """What to do next."""
    if answer is not None and len(answer.best) and not answer.measured[answer.best[0]]:
        yield "predicted, not measured, so rather optimistic: --verify measures it"
    if not whole:
        yield "--all shows the tables"


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
        yield nothing_text(answer)
        return
    if not len(answer.best):
        why = f"{answer.obstacle} stands in the way" if answer.obstacle else "too many are likely to fail"
        yield f"no configuration meets every condition with {percent(answer.question.confidence)}: {why}"
    yield from _configuration("best" if len(answer.best) else "most probable", answer, row)
    if (sure := decision.sure_of(answer)) is not None:
        yield from sure_lines(sure, None if answer.second is None else answer.grid.point(answer.second))
    yield from _baseline(answer, row)
    yield from _second(answer, row)
    yield from (f"  {note}" for note in (decision.workload.notes if decision.workload else ()))


def _configuration(name: str, answer: Recommendation, row: int) -> Iterator[str]:
    grid = answer.grid
    yield f"{name}: {described(grid, row, grid.axes) or 'the one configuration'}"
    metrics = dict.fromkeys((*answer.question.metrics, *answer.known))
    yield "  " + _fitted(f"{metric} {interval(answer, metric, row)}" for metric in metrics)
    yield f"  {_fitted([_meets(answer, row), *_economy(answer, row)], '; ')}"


def _fitted(parts: Iterable[str], between: str = ", ") -> str:
    """As many of the parts as a line holds, the first at least."""
    line = ""
    for part in parts:
        if line and len(line) + len(between) + len(part) > _LINE:
            break
        line += f"{between}{part}" if line else part
    return line


def _meets(answer: Recommendation, row: int) -> str:
    how = "measured" if answer.measured[row] else "predicted"
    what = "meets every condition" if answer.question.conditions else "runs"
    return f"{how}; {what} with {likelihood(answer, row)}"


def _baseline(answer: Recommendation, row: int) -> Iterator[str]:
    """The tuning gain: what the best is worth over the baseline."""
    base, gain = answer.candidates.baseline, answer.gain(row)
    if base is None:
        if missing := baseline_missing(answer):
            yield f"not compared with the {missing}"
        return
    yield f"baseline: {described(answer.grid, base, answer.grid.axes)}{' (it is the best)' if base == row else ''}"
    parts = [] if gain is None or base == row else [f"tuning gain {gain_text(gain)}"]
    yield f"  {_fitted([*parts, _meets(answer, base)], '; ')}"


def nothing_text(answer: Recommendation) -> str:
    """Why there is no answer."""
    if any(condition.of_baseline for condition in answer.question.conditions) and (why := baseline_missing(answer)):
        return f"nothing can be said: a condition is relative to the {why}"
    return "nothing can be said: the objective or a condition is defined at no configuration that can run"


def baseline_missing(answer: Recommendation) -> str | None:
    """What is said where a baseline was asked for and nothing can be compared with it."""
    if not answer.question.baseline or answer.candidates.baseline is not None:
        return None
    said = ", ".join(f"{name}={value}" for name, value in answer.question.baseline.items())
    return f"baseline {said}, which has failed or is not on the grid for these requests; choose another"


def _second(answer: Recommendation, row: int) -> Iterator[str]:
    """The runner-up, and what separates it from the best."""
    other = answer.second
    if other is None:
        return
    yield f"runner-up: {described(answer.grid, other, answer.grid.axes)}"
    yield f"  {_fitted(gap_texts(separation(answer, row, other), answer.question.objective))}"
    yield f"  {_fitted([_meets(answer, other), *_economy(answer, other)], '; ')}"


def _economy(answer: Recommendation, row: int) -> Iterator[str]:
    """What tokens cost, and what an accelerator gives."""
    for role, what in ((Role.OUTPUT_TOKENS, "output"), (Role.INPUT_TOKENS, "input")):
        if (cost := answer.cost_per_million(row, role)) is not None:
            yield f"${number(cost[0])} ({number(cost[1])} … {number(cost[2])}) a million {what} tokens"
    tokens = answer.tokens_per_accelerator(row)
    if tokens is not None and answer.accelerators[row] > 1:
        yield f"{number(tokens)} tokens/s per accelerator"


def workload_text(decision: Decision) -> str:
    """The workload's parts, the largest first; empty without one."""
    mix = decision.cases[0].candidates.mix
    return "" if decision.workload is None else parts_text(mix.given, mix.weights)


def parts_text(given: Iterable[Point], weights: FloatArray) -> str:
    """The parts of a mix with their weights (P,), the largest first; empty where nothing is given."""
    parts = [point for point in given if point]
    order = sorted(range(len(parts)), key=lambda i: -weights[i])
    said = [point_text(parts[i], " ") + (f" ({percent(float(weights[i]))})" if len(parts) > 1 else "")
            for i in order[:_MOST_PARTS]]
    if len(parts) > _MOST_PARTS:
        said.append(f"{len(parts) - _MOST_PARTS} more kinds of requests")
    return ", ".join(said)


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
