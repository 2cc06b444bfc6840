"""A recommendation as tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from planner.analysis.recommendation.recommend import Recommendation
from planner.analysis.recommendation.saturation import Saturation
from planner.analysis.settings import SATURATION_SHARE
from planner.space.grid import Grid
from planner.space.text import duration, percent
from planner.space.types import Axis, Role, Scale, Scope
from planner.views.boundary import boundary_json, boundary_tables, line_entry
from planner.views.listing import Listing

__all__ = ["best_table", "front_tables", "largest_table", "saturation_table", "show_recommendation", "summary_lines",
           "to_json"]

_MOST_ROWS = 12
_MOST_COLUMNS = 8
_CERTAIN = 0.9995  # above it, a tenth of a percent rounds to 100 %


def to_json(answer: Recommendation, grid: Grid, top: int) -> dict[str, Any]:
    """The form of `recommend --json`."""
    question = answer.question
    return {
        "objective": {"metric": question.objective, "maximise": question.maximise,
                      "per_accelerator": question.per_accelerator},
        "slo": [str(condition) for condition in question.conditions], "confidence": question.confidence,
        "best": [_entry(answer, grid, int(row)) for row in answer.best[:top]],
        "meeting": len(answer.best), "considered": answer.considered, "pareto": _front_entries(answer, grid),
        "obstacle": str(answer.obstacle) if answer.obstacle and not len(answer.best) else None,
        "most_probable": _entry(answer, grid, row) if (row := answer.most_probable) is not None else None,
        "largest_batch": [_largest_entry(answer, grid, *line) for line in answer.largest],
        "saturation": [_saturation_entry(answer, grid, line) for line in answer.saturation],
        **({"highest_load": boundary_json(answer.boundaries, grid)} if answer.boundaries else {}),
        "verified": None if answer.verified is None else {
            "runs": answer.verified.runs, "cost_s": answer.verified.cost_s},
    }


def show_recommendation(out: Console, answer: Recommendation, grid: Grid, top: int) -> None:
    """Print the answer: the best `top` points, remarks, fronts, batches."""
    if (took := answer.verified) is not None:
        out.print(f"verified: {took.runs} runs for {duration(took.cost_s)} of accelerator time, kept in the study",
                  soft_wrap=True)
    if len(answer.best):
        out.print(best_table(answer, grid, top))
    for line in summary_lines(answer, grid):
        out.print(line, soft_wrap=True)
    highest = boundary_tables(answer.boundaries, grid) if answer.boundaries else []
    largest = None if highest else largest_table(answer, grid)  # the same question, answered without intervals
    for table in (*highest, *front_tables(answer, grid), largest, saturation_table(answer, grid)):
        if table is not None:
            out.print()
            out.print(table)


def summary_lines(answer: Recommendation, grid: Grid) -> Iterator[str]:
    """Remarks on the answer: why no point is recommended, or that the winner was only predicted."""
    if len(answer.best):
        if not answer.measured[answer.best[0]]:
            yield ("the best one was predicted, not measured, and the best of many predictions tends to be "
                   "optimistic; --verify measures it")
        return
    row, confidence = answer.most_probable, percent(answer.question.confidence)
    if row is None:
        yield "nothing can be said: the objective or a condition is defined at no point that can run"
        return
    why = f"{answer.obstacle} stands in the way" if answer.obstacle else "too many points are likely to fail"
    how = "measured" if answer.measured[row] else "predicted"
    yield (f"no point meets every condition with {confidence}: {why}; the most probable, {how}, has "
           f"{_likelihood(answer, row)}: {_text(grid, row, grid.axes)}")


def best_table(answer: Recommendation, grid: Grid, top: int) -> Listing:
    """The best points with their values and probabilities."""
    question, rows = answer.question, [int(row) for row in answer.best[:top]]
    goal = f"{'most' if question.maximise else 'least'} {question.objective_text}"
    given = f", {' and '.join(map(str, question.conditions))}" if question.conditions else ""
    axes = [axis for axis in grid.axes if len(axis.values) > 1]
    metrics = list(dict.fromkeys((*question.metrics, *answer.known)))
    extra = _extra_columns(answer)
    meeting = "meet every condition" if question.conditions else "can run (no condition was given)"
    table = Listing(f"Best configurations: {goal}{given}",
                    [*(axis.name for axis in axes), *metrics, *extra, "probability", "known"],
                    [axis.name for axis in axes if axis.scale is Scale.CATEGORY] + ["known"],
                    f"{len(answer.best):,} of {answer.considered:,} points {meeting} with a probability of "
                    f"{percent(question.confidence)} or more; in brackets 90 % intervals")
    for row in rows:
        point = grid.point(row)
        table.add_row(
            *(str(point[axis.name]) for axis in axes), *(_interval(answer, metric, row) for metric in metrics),
            *_extra_cells(answer, extra, row), _likelihood(answer, row),
            "measured" if answer.measured[row] else "predicted")
    return table


def front_tables(answer: Recommendation, grid: Grid) -> Iterator[Listing]:
    """Each Pareto front, thinned out if it is long."""
    axes = [axis for axis in grid.axes if len(axis.values) > 1]
    for name, rows in answer.fronts.items():
        shown = _thinned(rows.tolist())
        metrics = [metric for metric in answer.known if metric in name or metric in answer.question.metrics
                   or (metric == "tpot_ms" and "per user" in name)]
        thinned = f"{len(shown)} of {len(rows)}; all are, with their intervals, in --json" \
            if len(shown) < len(rows) else "intervals are in --json"
        table = Listing(f"Pareto front: {name}",
                        [*(axis.name for axis in axes), *metrics, "accelerators", "probability", "known"],
                        [axis.name for axis in axes if axis.scale is Scale.CATEGORY] + ["known"], thinned)
        for row in shown:
            point = grid.point(row)
            table.add_row(*(str(point[axis.name]) for axis in axes),
                          *(_number(float(answer.known[metric].value[row])) for metric in metrics),
                          f"{answer.accelerators[row]:g}", _likelihood(answer, row),
                          "measured" if answer.measured[row] else "predicted")
        yield table


def largest_table(answer: Recommendation, grid: Grid) -> Listing | None:
    """The largest batch that meets every condition, by engine configuration and the first other workload axis."""
    if answer.batch is None or not answer.largest:
        return None
    axis = answer.batch.name
    across = _across(answer, grid)
    values = _thinned(list(across.values), _MOST_COLUMNS) if across else [None]
    table = Listing(f"Largest {axis} that meets every condition with {percent(answer.question.confidence)}",
                    ["engine", *(f"{across.name} {value}" if across else axis for value in values)], ["engine"])
    cells: dict[int, dict[Any, list[Any]]] = {}
    first: dict[int, int] = {}
    for start, row in answer.largest:
        engine = int(grid.engine[start])
        first.setdefault(engine, start)
        key = grid.point(start)[across.name] if across else None
        cells.setdefault(engine, {}).setdefault(key, []).append(None if row is None else grid.point(row)[axis])
    for engine in list(cells)[:_MOST_ROWS]:
        table.add_row(_engine(grid, first[engine]), *(_range(cells[engine].get(value, [])) for value in values))
    notes = ["a range is over the other workload axes; – where none does"] if across else []
    if len(cells) > _MOST_ROWS:
        notes.append(f"{_MOST_ROWS} of {len(cells)} engine configurations; all are in --json")
    table.caption = "; ".join(notes)
    return table


def saturation_table(answer: Recommendation, grid: Grid) -> Listing | None:
    """The batch at which throughput is saturated, by engine configuration."""
    if answer.batch is None or not answer.saturation:
        return None
    axis = answer.batch.name
    table = Listing(f"Saturation: the {axis} beyond which a larger one hardly brings throughput",
                    ["engine", "saturated in", f"{axis} as predicted", "the intervals allow"], ["engine"])
    by_engine: dict[int, list[Saturation]] = {}
    for line in answer.saturation:
        by_engine.setdefault(int(grid.engine[line.start]), []).append(line)
    for lines in list(by_engine.values())[:_MOST_ROWS]:
        found = [grid.point(line.row)[axis] for line in lines if line.row is not None]
        earliest = [grid.point(line.earliest)[axis] for line in lines if line.earliest is not None]
        latest = [grid.point(line.latest)[axis] for line in lines if line.latest is not None]
        beyond = f"beyond {answer.batch.values[-1]}"
        last = beyond if len(latest) < len(lines) else str(max(latest))
        table.add_row(_engine(grid, lines[0].start), f"{len(found)} of {len(lines)} workloads", _range(found),
                      f"{min(earliest)} … {last}" if earliest else beyond)
    more = f"; {_MOST_ROWS} of {len(by_engine)} engines, all are in --json" if len(by_engine) > _MOST_ROWS else ""
    table.caption = f"saturated: no larger {axis} brings {100 * SATURATION_SHARE:g} % more throughput a doubling{more}"
    return table


def _entry(answer: Recommendation, grid: Grid, row: int) -> dict[str, Any]:
    conditions = zip(answer.question.conditions, answer.probabilities, strict=True)
    return {
        "point": grid.point(row), "predicted": {metric: _triple(answer, metric, row) for metric in answer.known},
        "probability": float(answer.probability[row]),
        "chances": {str(condition): float(probability[row]) for condition, probability in conditions},
        "measured": bool(answer.measured[row]), "accelerators": float(answer.accelerators[row]),
        "tokens_per_s_per_accelerator": answer.tokens_per_accelerator(row),
        "cost_per_million_output_tokens": answer.cost_per_million(row),
    }


def _front_entries(answer: Recommendation, grid: Grid) -> list[dict[str, Any]]:
    """Each row of a front once, with the fronts that it is on."""
    fronts: dict[int, list[str]] = {}
    for name, rows in answer.fronts.items():
        for row in rows.tolist():
            fronts.setdefault(row, []).append(name)
    return [{**_entry(answer, grid, row), "fronts": names} for row, names in fronts.items()]


def _largest_entry(answer: Recommendation, grid: Grid, start: int, row: int | None) -> dict[str, Any]:
    assert answer.batch is not None
    axis = answer.batch.name
    return {**line_entry(grid, start, axis), axis: None if row is None else grid.point(row)[axis],
            "at": None if row is None else _entry(answer, grid, row)}


def _saturation_entry(answer: Recommendation, grid: Grid, line: Saturation) -> dict[str, Any]:
    assert answer.batch is not None
    axis = answer.batch.name
    rows = {"saturated_at": line.row, "earliest": line.earliest, "latest": line.latest}
    return {**line_entry(grid, line.start, axis),
            **{name: None if row is None else grid.point(row)[axis] for name, row in rows.items()}}


def _triple(answer: Recommendation, metric: str, row: int) -> list[float]:
    known = answer.known[metric]
    low, high = known.interval
    return [float(known.value[row]), float(low[row]), float(high[row])]


def _interval(answer: Recommendation, metric: str, row: int) -> str:
    value, low, high = _triple(answer, metric, row)
    return f"{_number(value)} ({_number(low)} … {_number(high)})" if math.isfinite(value) else "–"


def _extra_columns(answer: Recommendation) -> list[str]:
    columns = []
    if answer.question.per_accelerator:
        columns.append(answer.question.objective_text)
    if "output_throughput" in answer.known and bool((answer.accelerators > 1).any()):
        columns.append("tokens/s per accelerator")
    if "output_throughput" in answer.known and answer.price is not None:
        columns.append("cost of a million output tokens")
    return columns


def _extra_cells(answer: Recommendation, columns: list[str], row: int) -> Iterator[str]:
    """The cells of `columns` at `row`."""
    for column in columns:
        if column == answer.question.objective_text:
            yield _number(answer.asked(row))
        elif column.startswith("tokens/s") and (tokens := answer.tokens_per_accelerator(row)) is not None:
            yield _number(tokens)
        elif (cost := answer.cost_per_million(row)) is not None:
            yield f"{_number(cost[0])} ({_number(cost[1])} … {_number(cost[2])})"
        else:
            yield "–"


def _across(answer: Recommendation, grid: Grid) -> Axis | None:
    """The workload axis, other than the batch, whose values become columns: input tokens if there are any."""
    others = [axis for axis in grid.axes
              if axis.scope is Scope.WORKLOAD and axis != answer.batch and len(axis.values) > 1]
    others.sort(key=lambda axis: Role.INPUT_TOKENS not in axis.roles)
    return others[0] if others else None


def _likelihood(answer: Recommendation, row: int) -> str:
    """The probability as text; never 100 % for a point that was only predicted."""
    probability = float(answer.probability[row])
    return "above 99.9 %" if probability >= _CERTAIN and not answer.measured[row] else percent(probability)


def _engine(grid: Grid, row: int) -> str:
    return _text(grid, row, tuple(axis for axis in grid.axes if axis.scope is Scope.ENGINE)) or "the one engine"


def _text(grid: Grid, row: int, axes: tuple[Axis, ...]) -> str:
    point = grid.point(row)
    return "  ".join(f"{axis.name}={point[axis.name]}" for axis in axes if len(axis.values) > 1)


def _range(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low = "–" if len(known) < len(values) else str(min(known))
    return str(max(known)) if low == str(max(known)) else f"{low} … {max(known)}"


def _thinned(items: list[Any], most: int = _MOST_ROWS) -> list[Any]:
    """At most so many of them, evenly, both ends included."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
