"""What a model predicts at every grid point: computed when it is asked for, where the grid is large."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from planner.space.types import FloatArray, IntArray

__all__ = ["Prediction", "predicted_later"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Value (median), 90 % interval in the target's unit, and σ of each target; arrays (N,) by the target's name.

    NaN where nothing can be predicted. Measured points have a prediction too: what was measured is in the record.
    compute: of some rows alone; None where the arrays are there already.
    """

    value: Mapping[str, FloatArray]
    low: Mapping[str, FloatArray]
    high: Mapping[str, FloatArray]
    std: Mapping[str, FloatArray]
    compute: Callable[[IntArray | slice], Prediction] | None = None

    def at(self, rows: IntArray) -> Prediction:
        """The same at some rows, arrays (n,)."""
        if self.compute is not None:
            return self.compute(rows)
        value, low, high, std = ({name: array[rows] for name, array in part.items()}
                                 for part in (self.value, self.low, self.high, self.std))
        return Prediction(value, low, high, std)


def predicted_later(targets: tuple[str, ...], compute: Callable[[IntArray | slice], Prediction]) -> Prediction:
    """A prediction that `compute` makes: at every point when one of its arrays is first read, else where asked."""
    whole = _Whole(compute)
    value, low, high, std = (_Part(targets, whole, part) for part in ("value", "low", "high", "std"))
    return Prediction(value, low, high, std, compute)


class _Whole:
    """The prediction of every point, computed once."""

    def __init__(self, compute: Callable[[IntArray | slice], Prediction]) -> None:
        self._compute = compute

    @cached_property
    def prediction(self) -> Prediction:
        return self._compute(slice(None))


class _Part(Mapping[str, FloatArray]):
    """One of its mappings. Its keys are known before anything is computed."""

    def __init__(self, targets: tuple[str, ...], whole: _Whole, part: str) -> None:
        self._targets, self._whole, self._part = targets, whole, part

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._targets:
            raise KeyError(name)
        part: Mapping[str, FloatArray] = getattr(self._whole.prediction, self._part)
        return part[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)
