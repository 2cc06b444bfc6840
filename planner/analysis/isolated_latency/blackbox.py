"""Timings of a black box, read from a CSV file, against the idealized runtime of the study's engines."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.analysis.isolated_latency.idealize import Idealized, Prompt
from planner.space.expressions import suggestion
from planner.space.grid import Grid
from planner.space.types import Axis, Scope, StudyError

__all__ = ["Ratio", "Timing", "ratios", "read_timings"]

_OPTION: Final = "--blackbox"
_NEEDED: Final = ("prompt_tokens", "output_tokens", "seconds")
_SERVICE: Final = "engine"


@dataclass(frozen=True, slots=True)
class Timing:
    """One request: its prompt, its seconds, who served it ('' if unknown), and the engine axes that
    the file fixes."""

    prompt: Prompt
    seconds: float
    service: str
    axes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ratio:
    """Raw over idealized runtime: median and the 10 % and 90 % points over `timings`; `outside` have no ratio,
    being shorter or longer than the timed requests. row: a grid row of the engine."""

    service: str
    row: int
    timings: int
    outside: int
    ratio: float
    low: float
    high: float


def read_timings(path: Path, grid: Grid) -> list[Timing]:
    """Columns prompt_tokens, output_tokens, seconds; engine (who served it) and any engine axis of the study, such as
    model, are optional. Raises StudyError that names the line and the fix."""
    axes = {axis.name: axis for axis in grid.axes if axis.scope is Scope.ENGINE}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, axes)
            timings = [_timing(path, reader.line_num, header, row, axes) for row in reader if any(row)]
    except FileNotFoundError as error:
        raise StudyError(f"{_OPTION}: {path}: no such file; give a CSV file of timings") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{_OPTION}: {path}: cannot be read as CSV; give a CSV file of timings") from error
    if not timings:
        raise StudyError(f"{_OPTION}: {path} holds no timing; add rows under {', '.join(_NEEDED)}")
    return timings


def ratios(timings: list[Timing], engines: list[Idealized], grid: Grid) -> list[Ratio]:
    """A ratio for each service and each engine configuration that its timings can be compared with."""
    found = []
    for service in dict.fromkeys(timing.service for timing in timings):
        for engine in engines:
            point = grid.point(engine.row)
            ours = [t for t in timings if t.service == service
                    and all(str(point[name]) == value for name, value in t.axes.items())]
            if ours:
                found.append(_ratio(service, engine, ours))
    return found


def _ratio(service: str, engine: Idealized, timings: list[Timing]) -> Ratio:
    p, o, seconds = (np.array(sizes, dtype=float) for sizes in zip(
        *((t.prompt.inputs, t.prompt.outputs, t.seconds) for t in timings), strict=True))
    ratio = seconds / engine.latency.seconds(p, o)
    ratio = ratio[np.isfinite(ratio)]
    low, middle, high = np.quantile(ratio, [0.1, 0.5, 0.9]) if len(ratio) else (math.nan,) * 3
    return Ratio(service, engine.row, len(ratio), len(timings) - len(ratio), float(middle), float(low), float(high))


def _check_header(path: Path, header: list[str], axes: Mapping[str, Axis]) -> None:
    for name in _NEEDED:
        if name not in header:
            raise StudyError(f"{_OPTION}: {path}: no column '{name}'; name the columns {', '.join(_NEEDED)}")
    allowed = (*_NEEDED, _SERVICE, *axes)
    for name in header:
        if name not in allowed:
            raise StudyError(f"{_OPTION}: {path}: unknown column '{name}'{suggestion(name, allowed)}")
        if header.count(name) > 1:
            raise StudyError(f"{_OPTION}: {path}: column '{name}' stands twice; keep one")


def _timing(path: Path, line: int, header: list[str], row: list[str], axes: Mapping[str, Axis]) -> Timing:
    where = f"{_OPTION}: {path} line {line}"
    if len(row) != len(header):
        raise StudyError(f"{where}: {len(row)} values for {len(header)} columns; give one for each")
    cells = {name: text.strip() for name, text in zip(header, row, strict=True)}
    fixed = {name: _value(where, axes[name], cells[name]) for name in axes if cells.get(name)}
    inputs, outputs = (_number(where, name, cells[name], whole=True) for name in _NEEDED[:2])
    return Timing(Prompt(int(inputs), int(outputs)), _number(where, "seconds", cells["seconds"]),
                  cells.get(_SERVICE, "") if _SERVICE not in axes else "", fixed)


def _number(where: str, name: str, text: str, whole: bool = False) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0 and (not whole or number == int(number))):
        kind = "whole number" if whole else "number"
        raise StudyError(f"{where}: {name} is '{text}'; write a {kind} above 0")
    return number


def _value(where: str, axis: Axis, text: str) -> str:
    for value in axis.values:
        if str(value) == text or _same_number(value, text):
            return str(value)
    raise StudyError(f"{where}: {axis.name} '{text}' is not in the study{suggestion(text, map(str, axis.values))}")


def _same_number(value: Any, text: str) -> bool:
    try:
        return not isinstance(value, str) and float(value) == float(text)
    except ValueError:
        return False
