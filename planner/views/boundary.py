"""The boundary as a table and as JSON: the highest load of each engine and workload that meets each tier."""

from __future__ import annotations

from typing import Any, Final

from planner.analysis.boundary import Boundaries, HighestLoad, Line
from planner.space.grid import Grid
from planner.space.text import percent
from planner.space.types import Scope
from planner.views.cells import described, engine_text
from planner.views.listing import Listing

__all__ = ["boundary_json", "boundary_rows", "boundary_tables", "line_entry", "load_name", "load_text",
           "undecided_text", "workload_text"]

_MOST_ROWS: Final = 60
_MOST_COLUMNS: Final = 8


def boundary_tables(found: Boundaries, grid: Grid) -> list[Listing]:
    """One table for each tier, or one for all where workloads are too many for columns."""
    tables = []
    for title, head, rows in boundary_rows(found, grid):
        more = f"; {_MOST_ROWS} of {len(rows)} rows, all are in --json" if len(rows) > _MOST_ROWS else ""
        table = Listing(f"Highest {load_name(found)} that meets {title}", head, head[:1 if title else 2],
                        f"in brackets: met with 95 % up to the first, with 5 % at most from the second on{more}")
        for row in rows[:_MOST_ROWS]:
            table.add_row(*row)
        tables.append(table)
    return tables


def boundary_rows(found: Boundaries, grid: Grid) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, headings and rows of each table, as text: engines down and workloads across, a table for each tier. Where
    workloads are many, one table with a row for each engine and workload, and a column for each tier."""
    places = [(engine_text(grid, int(line.rows[0])), workload_text(grid, line, found)) for line in found.lines]
    engines, workloads = (list(dict.fromkeys(names)) for names in zip(*places, strict=True))
    if len(workloads) > _MOST_COLUMNS:
        rows = [[*place, *(load_text(highest, line) for highest in line.highest)]
                for place, line in zip(places, found.lines, strict=True)]
        return [("", ["engine", "workload", *map(str, found.tiers)], rows)]
    tables = []
    for t, tier in enumerate(found.tiers):
        cells = {place: load_text(line.highest[t], line) for place, line in zip(places, found.lines, strict=True)}
        rows = [[engine, *(cells.get((engine, workload), "–") for workload in workloads)] for engine in engines]
        tables.append((str(tier), ["engine", *workloads], rows))
    return tables


def boundary_json(found: Boundaries, grid: Grid) -> dict[str, Any]:
    """Each line with its tiers: the boundary, its interval, and P(met) at every load."""
    attainment = found.attainment
    return {
        "axis": load_name(found), "tiers": [str(tier) for tier in found.tiers],
        "undecided": attainment.open_count, "of": attainment.total, "confidence": attainment.boundary.confidence,
        "lines": [{**line_entry(grid, int(line.rows[0]), line.load), "axis": line.load,
                   "loads": list(line.values),
                   "highest": [{"tier": str(tier), "load": highest.load, "position": highest.position,
                                "low": line.value_of(highest.low), "high": line.value_of(highest.high),
                                "probability": [round(float(p), 4) for p in line.probability[t]]}
                               for t, (tier, highest) in enumerate(zip(found.tiers, line.highest, strict=True))]}
                  for line in found.lines]}


def load_text(highest: HighestLoad, line: Line) -> str:
    """93 (64 … 128), or where it lies outside the grid."""
    first, last = line.values[0], line.values[-1]
    load = {"below the grid": f"below {first}", "above the grid": f"{last} or more"}.get(highest.position)
    low = f"below {first}" if highest.low is None else f"{line.value_of(highest.low)}"
    high = f"above {last}" if highest.high is None else f"{line.value_of(highest.high)}"
    return f"{load or f'{highest.load:.3g}'} ({low} … {high})"


def undecided_text(open_count: int, total: int, confidence: float) -> str:
    """How much of the boundary is still open."""
    return (f"undecided: {open_count:,} of {total:,} loads (met with {percent(1 - confidence)} to "
            f"{percent(confidence)})")


def line_entry(grid: Grid, start: int, omitted: str) -> dict[str, Any]:
    """The engine configuration and the workload of the line through a row, without the axis `omitted`."""
    point = grid.point(start)
    return {"engine": {axis.name: point[axis.name] for axis in grid.axes if axis.scope is Scope.ENGINE},
            "workload": {axis.name: point[axis.name] for axis in grid.axes
                         if axis.scope is Scope.WORKLOAD and axis.name != omitted}}


def workload_text(grid: Grid, line: Line, found: Boundaries) -> str:
    """The workload of a line, without its load. In a grid of closed and open loops the other load is left out where it
    is the same on all such lines, and the text says which load is meant."""
    others = [name for name in found.loads if name != line.load]
    alike = [line.load, *(name for name in others if _is_same(grid, name, line.load, found))]
    axes = tuple(axis for axis in grid.axes if axis.scope is Scope.WORKLOAD and axis.name not in alike)
    text = described(grid, int(line.rows[0]), axes) or "the one workload"
    return f"{text}  by {line.load}" if others else text


def load_name(found: Boundaries) -> str:
    """The load, or both of them."""
    return " or ".join(found.loads)


def _is_same(grid: Grid, name: str, load: str, found: Boundaries) -> bool:
    """Whether an axis has one value on all lines along a load."""
    codes = grid.codes[:, grid.position(name)]
    return len({int(code) for line in found.lines if line.load == load for code in codes[line.rows]}) == 1
