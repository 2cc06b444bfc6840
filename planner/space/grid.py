"""All valid points, as integers: codes, features, engine configurations, trajectory lines.

Notation: N points, A axes, codes[i, a] the position of point i's value among axis a's values.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from planner.space.descriptors import columns_of_axis
from planner.space.expressions import Expression
from planner.space.types import (
    Axis,
    BoolArray,
    Features,
    FloatArray,
    IntArray,
    Point,
    Role,
    Scale,
    Scope,
    StudyError,
    Value,
)

__all__ = ["Grid", "check_size", "check_values", "full_grid", "grid_of_rows"]

_MAX_POINTS: Final = 2_000_000
_MAX_CODES: Final = 2**27
"""Points × axes: the codes of a grid take 8 bytes each, here 1 GiB."""
_MAX_KEY: Final = 2**62  # a point's key among all combinations is a 64-bit integer


@dataclass(frozen=True, eq=False)
class Grid:
    """The valid points of a space. Points are addressed by their row, 0 … N − 1, everywhere in the planner.

    codes: (N, A), unique rows.
    """

    axes: tuple[Axis, ...]
    codes: IntArray

    def __len__(self) -> int:
        return len(self.codes)

    def point(self, row: int) -> dict[str, Value]:
        """The point at `row`."""
        return {axis.name: axis.values[code] for axis, code in zip(self.axes, self.codes[row], strict=True)}

    def find(self, point: Point) -> int | None:
        """The row of `point`; None if it is not in the grid (an unknown value or axis, a constraint)."""
        if set(point) != {axis.name for axis in self.axes}:
            return None
        codes = [self._code_of[axis.name].get(point[axis.name]) for axis in self.axes]
        if None in codes:
            return None
        return self._row_of_key(int(np.dot(np.array(codes, dtype=np.int64), self._strides)))

    def axis(self, name: str) -> Axis:
        """The axis called `name`. Raises KeyError."""
        return self.axes[self.position(name)]

    def position(self, name: str) -> int:
        """The index of the axis called `name` among the axes. Raises KeyError."""
        for i, axis in enumerate(self.axes):
            if axis.name == name:
                return i
        raise KeyError(name)

    def by_role(self, role: Role) -> Axis | None:
        """The first axis with this role; None if there is none."""
        return next((axis for axis in self.axes if role in axis.roles), None)

    def column(self, name: str) -> Any:
        """The values of one axis at all points, (N,); numbers where the axis holds numbers, else objects."""
        position = self.position(name)
        values = self.axes[position].values
        numeric = not any(isinstance(value, str) for value in values)
        return np.array(values, dtype=float if numeric else object)[self.codes[:, position]]

    def size_column(self, role: Role) -> FloatArray:
        """Values of the axis with this role at all points, (N,); all 1 if no numeric axis has it."""
        axis = self.by_role(role)
        if axis is None or any(isinstance(value, str) for value in axis.values):
            return np.ones(len(self))
        return self.numbers(axis.name)

    def numbers(self, name: str) -> FloatArray:
        """Values of one axis at all points, (N,), finite: an infinite rate (all requests at once) counts as twice the
        largest finite one."""
        numbers = np.asarray(self.column(name), dtype=np.float64)
        finite = numbers[np.isfinite(numbers)]
        return np.where(np.isfinite(numbers), numbers, 2 * finite.max() if len(finite) else 1.0)

    @property
    def is_served(self) -> bool:
        """Whether an axis is a load on a server: a concurrency or a request rate."""
        return any(role in axis.roles for axis in self.axes for role in (Role.CONCURRENCY, Role.RATE))

    @cached_property
    def single_token(self) -> BoolArray:
        """Whether the output is a single token, (N,): times between tokens are undefined there. All False without an
        axis of output tokens."""
        single: BoolArray = self.size_column(Role.OUTPUT_TOKENS) == 1
        return single if self.by_role(Role.OUTPUT_TOKENS) is not None else np.zeros(len(self), dtype=bool)

    @cached_property
    def engine(self) -> IntArray:
        """The engine configuration of each point, (N,): points with equal numbers share an engine."""
        scoped = [i for i, axis in enumerate(self.axes) if axis.scope is Scope.ENGINE]
        return _groups(self.codes[:, scoped] @ self._strides[scoped])

    @cached_property
    def features(self) -> Features:
        """All points encoded for the surrogates."""
        return self.features_without(None)

    @cached_property
    def step_features(self) -> Features:
        """All points encoded for metrics that are a mean over the o − 1 steps after an output's first token.

        The extra cost of the first of these steps is spread over all of them, so the mean converges as 1/(o − 1).
        Encoding log2(o) instead would extrapolate a straight line from short outputs to long ones without limit.
        """
        outputs = self.size_column(Role.OUTPUT_TOKENS)
        return self.features_without(None, 1 / np.maximum(outputs - 1, 1))

    def features_without(self, omitted: str | None, *more: FloatArray) -> Features:
        """All points encoded without the axis `omitted`. more: additional numeric columns, (N,) each."""
        return self.features_of([axis.name for axis in self.axes if axis.name != omitted], *more)

    def features_of(self, names: Collection[str], *more: FloatArray) -> Features:
        """All points encoded by these axes alone. more: additional numeric columns, (N,) each."""
        columns = list(more)
        for axis in self.axes:
            if axis.name not in names:
                continue
            if axis.scale is not Scale.CATEGORY:
                columns.append(_encode(self.numbers(axis.name), axis.scale))
            for numbers in columns_of_axis(axis).values():
                scale = Scale.LOG if min(numbers) >= 0 else Scale.LINEAR
                columns.append(_encode(np.array(numbers)[self.codes[:, self.position(axis.name)]], scale))
        useful = [_standardised(c) for c in columns if np.ptp(c) > 0]
        numeric = np.column_stack(useful) if useful else np.empty((len(self), 0))
        categories = [
            i for i, axis in enumerate(self.axes)
            if axis.scale is Scale.CATEGORY and len(axis.values) > 1 and axis.name in names
        ]
        levels = tuple(len(self.axes[i].values) for i in categories)
        return Features(numeric, self.codes[:, categories], levels)

    def lines(self, axis: str) -> IntArray:
        """The line of each point along `axis`, (N,): points with equal numbers differ only by that axis."""
        others = [i for i in range(len(self.axes)) if i != self.position(axis)]
        return _groups(self.codes[:, others] @ self._strides[others])

    def combinations(self, names: Collection[str]) -> IntArray:
        """The combination of these axes at each point, (N,): points with equal numbers share all of their values."""
        named = [i for i, axis in enumerate(self.axes) if axis.name in names]
        return _groups(self.codes[:, named] @ self._strides[named])

    def shorter(self, axis: str, row: int) -> IntArray:
        """The rows that differ from `row` only by a smaller value of `axis`, ascending by that value."""
        position = self.position(axis)
        stride, code = int(self._strides[position]), int(self.codes[row, position])
        key = int(self.codes[row] @ self._strides)
        found = [self._row_of_key(key - step * stride) for step in range(code, 0, -1)]
        return np.array([other for other in found if other is not None], dtype=np.int64)

    @cached_property
    def _strides(self) -> IntArray:
        sizes = [len(axis.values) for axis in self.axes]
        return np.array([int(np.prod(sizes[i + 1:], dtype=np.int64)) for i in range(len(sizes))], dtype=np.int64)

    def _row_of_key(self, key: int) -> int | None:
        keys, rows = self._sorted_keys
        place = int(np.searchsorted(keys, key))
        if place == len(keys) or keys[place] != key:
            return None
        return place if rows is None else int(rows[place])

    @cached_property
    def _sorted_keys(self) -> tuple[IntArray, IntArray | None]:
        """Every point's key among all combinations, ascending, (N,), and the row of each, (N,), or None if rows are in
        this order already. Arrays, since a dict of 2,000,000 numbers would take 250 MB."""
        keys: IntArray = self.codes @ self._strides
        if bool((keys[1:] > keys[:-1]).all()):
            return keys, None
        rows = np.argsort(keys)
        return keys[rows], rows

    @cached_property
    def _code_of(self) -> dict[str, dict[Value, int]]:
        return {axis.name: {value: code for code, value in enumerate(axis.values)} for axis in self.axes}


def full_grid(axes: Sequence[Axis], constraints: Sequence[Expression] = ()) -> Grid:
    """The grid of all combinations that meet the constraints. Raises StudyError if there are none, or too many."""
    sizes = [len(axis.values) for axis in axes]
    check_size(sizes)
    numbers = np.arange(math.prod(sizes), dtype=np.int64)
    codes = np.empty((len(numbers), len(axes)), dtype=np.int64)
    for position in reversed(range(len(axes))):  # a dimension for each axis would end at numpy's 64
        codes[:, position] = numbers % sizes[position]
        numbers //= sizes[position]
    return _constrained(Grid(tuple(axes), codes), constraints)


def check_values(sizes: Sequence[int]) -> None:
    """Refuse axes of so many values each, whatever a table has of their combinations. Raises StudyError."""
    if sum(sizes) > _MAX_POINTS:
        raise StudyError(f"space.axes: {sum(sizes):,} values are more than {_MAX_POINTS:,}; narrow a range")


def check_size(sizes: Sequence[int]) -> None:
    """Refuse a grid of axes of so many values each. Raises StudyError."""
    size = math.prod(sizes)
    if size > _MAX_POINTS:
        said = f"{size:,}" if size < 10**18 else f"some 10^{int(math.log10(size))}"
        raise StudyError(f"space.axes: {said} combinations are more than {_MAX_POINTS:,}; thin out an axis")
    if size * len(sizes) > _MAX_CODES:
        raise StudyError(f"space.axes: {size:,} combinations of {len(sizes):,} axes are too many to hold; thin out an "
                         "axis, or leave out axes of one value")


def grid_of_rows(axes: Sequence[Axis], rows: Mapping[str, Sequence[Value]], constraints: Sequence[Expression]) -> Grid:
    """The grid of a recorded table. rows: axis → its value at each point; points are unique and on the axes."""
    if math.prod(len(axis.values) for axis in axes) > _MAX_KEY:
        raise StudyError("space.axes: too many combinations of the recorded values to number; thin out an axis")
    columns = []
    for axis in axes:
        code = {value: i for i, value in enumerate(axis.values)}
        columns.append([code[value] for value in rows[axis.name]])
    return _constrained(Grid(tuple(axes), np.array(columns, dtype=np.int64).T), constraints)


def _constrained(grid: Grid, constraints: Sequence[Expression]) -> Grid:
    keep = np.ones(len(grid), dtype=bool)
    for constraint in constraints:
        columns = {name: grid.column(name) for name in constraint.names}
        keep &= np.broadcast_to(np.asarray(constraint(columns), dtype=bool), keep.shape)
        if not keep.any():
            raise StudyError(f"{constraint.key}: '{constraint.text}' leaves no point in the grid; loosen it")
    if not len(grid):
        raise StudyError("space.axes: the grid is empty; give each axis a value")
    return grid if keep.all() else Grid(grid.axes, grid.codes[keep])


def _groups(keys: IntArray) -> IntArray:
    groups: IntArray = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    return groups


def _encode(column: Any, scale: Scale) -> FloatArray:
    numbers: FloatArray = np.asarray(column, dtype=float)
    if scale is Scale.LOG:
        numbers = np.log2(1 + numbers) if numbers.min() <= 0 else np.log2(numbers)
    return numbers


def _standardised(column: FloatArray) -> FloatArray:
    """The column with mean 0 and standard deviation 1; scaled to 0 … 1 first, since tiny squares underflow."""
    column = (column - column.min()) / np.ptp(column)
    standardised: FloatArray = (column - column.mean()) / column.std()
    return standardised
