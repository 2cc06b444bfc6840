"""Strategies against each other: `sweepwise simulate --json` in, a figure and tables out.

Usage: python studies/compare/compare.py OUT.json [OUT.json ...] -o DIR

Writes DIR/accuracy.html, DIR/tables.md, and DIR/equal_cost.csv, cost_to_reach.csv, estimates.csv, stops.csv.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from planner.space.types import StudyError
from studies.compare.curves import cost_to_reach, equal_cost, estimates, read, stops
from studies.compare.figure import write_figure

__all__ = ["main", "markdown"]

Record = dict[Any, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, compute, write, and print the tables."""
    parser = argparse.ArgumentParser(description="Compare strategies by what `sweepwise simulate --json` wrote.")
    parser.add_argument("files", nargs="+", type=Path, metavar="OUT.json")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="made where it is missing")
    given = parser.parse_args(arguments)
    try:
        at, ends = read(given.files)
    except StudyError as error:
        parser.error(str(error))
    tables = {"equal_cost": equal_cost(at), "cost_to_reach": cost_to_reach(at), "estimates": estimates(at, ends),
              "stops": stops(at, ends)}
    given.output.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(given.output / f"{name}.csv", index=False)
    write_figure(tables["equal_cost"], given.output / "accuracy.html")
    text = markdown(tables)
    (given.output / "tables.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def markdown(tables: Mapping[str, pd.DataFrame]) -> str:
    """The four tables with their headings; accuracies and shares in per cent, errors in points."""
    equal, reach, estimated, stopped = (tables[name].to_dict("records") for name in (
        "equal_cost", "cost_to_reach", "estimates", "stops"))
    parts = [
        "## Accuracy (%) by share of the full cost", _grid(equal, "share", _interval),
        "## Share of the full cost (%) from which on an accuracy holds", _grid(reach, "goal", _reached),
        "## Estimated against true accuracy", _rows(estimated, {
            "at": lambda row: str(row["at"]), "estimated − true": lambda row: f"{row['error'] * 100:+.1f}",
            "absolute": lambda row: _percent(row["absolute_error"]),
            "truth inside (%)": lambda row: _percent(row["inside"]),
            "points inside (%)": lambda row: _percent(row["coverage90"]), "seeds": lambda row: str(row["seeds"])}),
        "## Stops", _rows(stopped, {
            "asked for (%)": lambda row: _percent(row["goal"]),
            "stopped": lambda row: f"{row['stopped']} of {row['seeds']}", "goal met": lambda row: str(row["met"]),
            "true accuracy (%)": lambda row: _percent(row["accuracy"]),
            "share of the cost (%)": lambda row: _percent(row["share"], 2),
            "over the oracle's": lambda row: _known(row["over_oracle"], f"{row['over_oracle']:.2f}×")}),
    ]
    return "\n\n".join(parts) + "\n"


def _grid(records: list[Record], across: str, cell: Callable[[Record], str]) -> str:
    """A line for each study, target and strategy; a column for each value of `across`."""
    values = sorted({record[across] for record in records})
    lines: dict[tuple[str, ...], dict[float, str]] = {}
    for record in records:
        lines.setdefault(_key(record), {})[record[across]] = cell(record)
    return _markdown([f"{value * 100:g} %" for value in values],
                     [(*key, *(cells.get(value, "") for value in values)) for key, cells in lines.items()])


def _rows(records: list[Record], columns: Mapping[str, Callable[[Record], str]]) -> str:
    """A line for each record."""
    return _markdown(columns, [(*_key(record), *(cell(record) for cell in columns.values())) for record in records])


def _key(record: Record) -> tuple[str, str, str]:
    return str(record["study"]), str(record["target"]), str(record["strategy"])


def _interval(record: Record) -> str:
    ends = f"{_percent(record['median'])} [{_percent(record['low'])}, {_percent(record['high'])}]"
    return _known(record["median"], ends)


def _reached(record: Record) -> str:
    if math.isinf(record["median"]):
        return f"not reached ({record['reached']} of {record['seeds']})"
    low, high = (_known(record[end], _percent(record[end], 2), "never") for end in ("low", "high"))
    return f"{_percent(record['median'], 2)} [{low}, {high}]"


def _percent(share: float, digits: int = 1) -> str:
    return _known(share, f"{share * 100:.{digits}f}")


def _known(value: float, text: str, otherwise: str = "–") -> str:
    return text if math.isfinite(value) else otherwise


def _markdown(columns: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    head = ("study", "target", "strategy", *columns)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *lines))


if __name__ == "__main__":
    main()
