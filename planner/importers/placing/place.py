"""The point of a row: each axis' value as the file or --set says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from planner.importers.placing.options import ImportOptions, amount, cell, shortly, values_of
from planner.importers.rows import Row
from planner.space.grid import Grid
from planner.space.meaning import match
from planner.space.text import point_text
from planner.space.types import Axis, Role, Value

__all__ = ["Places"]

_ALIASES: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.INPUT_TOKENS: ("input_len", "random_input_len", "isl", "ii", "prompt_tokens", "input_size"),
    Role.OUTPUT_TOKENS: ("output_len", "random_output_len", "osl", "oo", "output_tokens", "output_size"),
    Role.BATCH: ("batch_size", "bb"), Role.CONCURRENCY: ("max_concurrency", "concurrency"),
    Role.RATE: ("request_rate",), Role.ACCELERATORS: ("tensor_parallel_size", "tensor_parallel", "tp"),
    Role.MODEL: ("model", "model_id", "model_name", "mm"),
}
_SYNONYMS: Final = {name: names for names in _ALIASES.values() for name in names}


class Places:
    """Finds the points of rows. rows: all of them; names: all that they have.

    --set fills rows that do not say an axis. Rows that say something else keep it, if there are rows to fill; if there
    are none, --set was meant to override, and is refused.
    """

    def __init__(self, grid: Grid, options: ImportOptions, names: set[str], rows: Sequence[Row]) -> None:
        self._grid, self._options, self._all = grid, options, names
        self._amounts = {axis.name: amount(text, names, "", f"--map {axis.name}") for axis in grid.axes
                         if (text := options.renames.get(axis.name)) is not None}
        self.covered = {other for axis in grid.axes for other in (axis.name, *_names(axis))}
        """Every name that may be the source of an axis."""
        self.covered |= {name for found in self._amounts.values() for name in found.names}
        self._fills = {axis.name for axis in grid.axes if axis.name in options.given
                       and any(self.said(axis, row) is None for row in rows)}

    def of(self, row: Row) -> tuple[dict[str, Value], str]:
        """The point of the row and an empty text, or an empty point and the problem."""
        point: dict[str, Value] = {}
        for axis in self._grid.axes:
            there, given = self.said(axis, row), self._options.given.get(axis.name)
            value = given if there is None else there
            none = match(axis.values, None) if value is None and self._is_column(axis) else None
            if value is None and none is None:
                return {}, f"no {axis.name}: it is not in the file, or not the same for all requests; add " \
                           f"--set {axis.name}=VALUE or --map {axis.name}=COLUMN"
            found = match(axis.values, value) if none is None else none
            if given is not None and axis.name not in self._fills and match(axis.values, given) != found:
                return {}, f"{axis.name} said twice: {shortly(there)} in the file and {given} by --set, which only " \
                           "fills what a file does not say; choose rows with " \
                           f"--where \"{axis.name} == {_quoted(given)}\""
            if found is None:
                return {}, f"{axis.name} off the axis: {shortly(value)} is not one of {values_of(axis)}; add it to " \
                           "the study file"
            point[axis.name] = found
        if self._grid.find(point) is None:
            return {}, f"off the grid: the study's constraints or its table exclude {point_text(point, ', ')}"
        return point, ""

    def sources(self, row: Row) -> set[str]:
        """The names in the row that give its axes."""
        return {name for axis in self._grid.axes for name in self._names(axis, row)}

    def _is_column(self, axis: Axis) -> bool:
        """Whether some row has the axis, so that a blank is an answer: the value None, if the axis lists it."""
        return axis.name in self._amounts or not self._all.isdisjoint((axis.name, *_names(axis)))

    def said(self, axis: Axis, row: Row) -> Value | None:
        """What the row says of the axis; None if nothing."""
        found = self._amounts.get(axis.name)
        if found is not None and found.expression is not None:
            values = found.of(row)
            return values[0] if values else None
        return next((cell(row, name) for name in self._names(axis, row)), None)

    def _names(self, axis: Axis, row: Row) -> list[str]:
        if axis.name in self._amounts:
            return sorted(self._amounts[axis.name].names)
        return [name for name in (axis.name, *_names(axis)) if cell(row, name) is not None][:1]


def _names(axis: Axis) -> tuple[str, ...]:
    """Other tools' names for the axis."""
    by_role = [name for role in axis.roles for name in _ALIASES.get(role, ())]
    return tuple(dict.fromkeys([*_SYNONYMS.get(axis.name, ()), *by_role]))


def _quoted(value: Value) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
