"""The tables behind a decision: its best configurations, Pareto fronts, largest batches, saturation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from planner.analysis.recommendation.limits import LoadLimits
from planner.analysis.recommendation.recommend import Recommendation
from planner.analysis.recommendation.saturation import Saturation
from planner.analysis.settings import SATURATION_SHARE
from planner.space.grid import Grid
from planner.space.text import percent
from planner.space.types import Axis, Role, Scale, Scope
from planner.views.cells import MOST_ROWS, engine_text, interval, likelihood, number, thinned
from planner.views.listing import Listing

__all__ = ["best_table", "front_tables", "largest_table", "saturation_table"]

_MOST_COLUMNS = 8


def best_table(answer: Recommendation, top: int) -> Listing:
    """The best points with their values and probabilities."""
    question, rows, grid = answer.question, [int(row) for row in answer.best[:top]], answer.grid
    goal = f"{'most' if question.maximise else 'least'} {question.objective_text}"
    given = f", {' and '.join(map(str, question.conditions))}" if question.conditions else ""
    axes = [axis for axis in grid.axes if len(axis.values) > 1]
    metrics = list(dict.fromkeys((*question.metrics, *answer.known)))
    extra = _extra_columns(answer)
    meeting = "meet every condition" if question.conditions else "can run (no condition was given)"
    table = Listing(f"Best configurations: {goal}{given}",
                    [*(axis.name for axis in axes), *metrics, *extra, "probability", "known"],
                    [axis.name for axis in axes if axis.scale is Scale.CATEGORY] + ["known"],
                    f"{len(answer.best):,} of {answer.considered:,} configurations {meeting} with a probability of "
                    f"{percent(question.confidence)} or more; in brackets 90 % intervals")
    for row in rows:
        point = grid.point(row)
        table.add_row(
            *(str(point[axis.name]) for axis in axes), *(interval(answer, metric, row) for metric in metrics),
            *_extra_cells(answer, extra, row), likelihood(answer, row),
            "measured" if answer.measured[row] else "predicted")
    return table


def front_tables(answer: Recommendation) -> Iterator[Listing]:
    """Each Pareto front, thinned out if it is long."""
    grid = answer.grid
    axes = [axis for axis in grid.axes if len(axis.values) > 1]
    for name, rows in answer.fronts.items():
        shown = thinned(rows.tolist())
        metrics = [metric for metric in answer.known if metric in name or metric in answer.question.metrics
                   or (metric == "tpot_ms" and "per user" in name)]
        note = f"{len(shown)} of {len(rows)}; all are, with their intervals, in --json" \
            if len(shown) < len(rows) else "intervals are in --json"
        table = Listing(f"Pareto front: {name}",
                        [*(axis.name for axis in axes), *metrics, "accelerators", "probability", "known"],
                        [axis.name for axis in axes if axis.scale is Scale.CATEGORY] + ["known"], note)
        for row in shown:
            point = grid.point(row)
            table.add_row(*(str(point[axis.name]) for axis in axes),
                          *(number(float(answer.known[metric].value[row])) for metric in metrics),
                          f"{answer.accelerators[row]:g}", likelihood(answer, row),
                          "measured" if answer.measured[row] else "predicted")
        yield table


def largest_table(limits: LoadLimits, grid: Grid, confidence: float) -> Listing | None:
    """The largest batch that meets every condition, by engine configuration and the first other workload axis."""
    if limits.batch is None or not limits.largest:
        return None
    axis = limits.batch.name
    across = _across(limits, grid)
    values = thinned(list(across.values), _MOST_COLUMNS) if across else [None]
    table = Listing(f"Largest {axis} that meets every condition with {percent(confidence)}",
                    ["engine", *(f"{across.name} {value}" if across else axis for value in values)], ["engine"])
    cells: dict[int, dict[Any, list[Any]]] = {}
    first: dict[int, int] = {}
    for start, row in limits.largest:
        engine = int(grid.engine[start])
        first.setdefault(engine, start)
        key = grid.point(start)[across.name] if across else None
        cells.setdefault(engine, {}).setdefault(key, []).append(None if row is None else grid.point(row)[axis])
    for engine in list(cells)[:MOST_ROWS]:
        table.add_row(engine_text(grid, first[engine]), *(_range(cells[engine].get(value, [])) for value in values))
    notes = ["a range is over the other workload axes; – where none does"] if across else []
    if len(cells) > MOST_ROWS:
        notes.append(f"{MOST_ROWS} of {len(cells)} engine configurations; all are in --json")
    table.caption = "; ".join(notes)
    return table


def saturation_table(limits: LoadLimits, grid: Grid) -> Listing | None:
    """The batch at which throughput is saturated, by engine configuration."""
    if limits.batch is None or not limits.saturation:
        return None
    axis = limits.batch.name
    table = Listing(f"Saturation: the {axis} beyond which a larger one hardly brings throughput",
                    ["engine", "saturated in", f"{axis} as predicted", "the intervals allow"], ["engine"])
    by_engine: dict[int, list[Saturation]] = {}
    for line in limits.saturation:
        by_engine.setdefault(int(grid.engine[line.start]), []).append(line)
    for lines in list(by_engine.values())[:MOST_ROWS]:
        found = [grid.point(line.row)[axis] for line in lines if line.row is not None]
        earliest = [grid.point(line.earliest)[axis] for line in lines if line.earliest is not None]
        latest = [grid.point(line.latest)[axis] for line in lines if line.latest is not None]
        beyond = f"beyond {limits.batch.values[-1]}"
        last = beyond if len(latest) < len(lines) else str(max(latest))
        table.add_row(engine_text(grid, lines[0].start), f"{len(found)} of {len(lines)} workloads", _range(found),
                      f"{min(earliest)} … {last}" if earliest else beyond)
    more = f"; {MOST_ROWS} of {len(by_engine)} engines, all are in --json" if len(by_engine) > MOST_ROWS else ""
    table.caption = f"saturated: no larger {axis} brings {100 * SATURATION_SHARE:g} % more throughput a doubling{more}"
    return table


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
            yield number(answer.asked(row))
        elif column.startswith("tokens/s") and (tokens := answer.tokens_per_accelerator(row)) is not None:
            yield number(tokens)
        elif (cost := answer.cost_per_million(row)) is not None:
            yield f"{number(cost[0])} ({number(cost[1])} … {number(cost[2])})"
        else:
            yield "–"


def _across(limits: LoadLimits, grid: Grid) -> Axis | None:
    """The workload axis, other than the batch, whose values become columns: input tokens if there are any."""
    others = [axis for axis in grid.axes
              if axis.scope is Scope.WORKLOAD and axis != limits.batch and len(axis.values) > 1]
    others.sort(key=lambda axis: Role.INPUT_TOKENS not in axis.roles)
    return others[0] if others else None


def _range(values: list[Any]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low = "–" if len(known) < len(values) else str(min(known))
    return str(max(known)) if low == str(max(known)) else f"{low} … {max(known)}"
