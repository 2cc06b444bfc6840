"""Leave one value of an axis out: learn from all other rows of a table, predict the rows of that value.

A table becomes a study by the public API. The study's table has the left-out points, since it is the grid, and 1 in
place of every value that was measured there. What is imported as measured are the other rows alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import yaml

import planner
from planner.space.types import Point

__all__ = ["Case", "Fold", "folds", "points_of", "predict_by_study", "predictions"]

_NOT_MEASURED: Final = 1.0  # a valid reading that says nothing


@dataclass(frozen=True, eq=False)
class Case:
    """A published table as a study.

    table: a row for each point, no point twice. axes: as in a study file. targets: metric → its entry in a study file.
    left_out: the axis whose values are left out in turn.
    """

    table: pd.DataFrame
    axes: Mapping[str, Mapping[str, Any]]
    targets: Mapping[str, Any]
    left_out: str
    runner: Mapping[str, Any]

    def descriptors(self, axis: str) -> dict[str, dict[str, float]]:
        """Name → value of the axis → number."""
        return dict(self.axes[axis].get("descriptors", {}))


@dataclass(frozen=True, eq=False)
class Fold:
    """What is learned from, and the points to predict: `asked` has their axes alone."""

    value: str
    known: pd.DataFrame
    asked: pd.DataFrame


Predictor = Callable[[Case, Fold], pd.DataFrame]
"""Predictions of the points asked for, in their order: for each target a column of its name and, where the method has
intervals, NAME_low and NAME_high."""


def folds(case: Case) -> Iterator[Fold]:
    """One for each value of the axis that is left out, in the order of their names."""
    for value in sorted(case.table[case.left_out].unique()):
        out = case.table[case.left_out] == value
        yield Fold(value, case.table[~out].reset_index(drop=True),
                   case.table.loc[out, list(case.axes)].reset_index(drop=True))


def predict_by_study(case: Case, fold: Fold) -> pd.DataFrame:
    """Predictions of a sweepwise study that measured what is known."""
    blank = fold.asked.assign(**dict.fromkeys(case.targets, _NOT_MEASURED))
    file = {
        "study": {"name": "leave-one-out"},
        "space": {"axes": {name: dict(axis) for name, axis in case.axes.items()}},
        "runner": {"kind": "replay", "table": "grid.csv", **case.runner},
        "targets": list(case.targets.values()),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.concat([fold.known, blank]).to_csv(folder / "grid.csv", index=False)
        fold.known.to_csv(folder / "known.csv", index=False)
        (folder / "study.yaml").write_text(yaml.safe_dump(file, allow_unicode=True, sort_keys=False))
        study = planner.open_study(folder / "study.yaml", storage=f"sqlite:///{folder}/study.db")
        study.import_table(folder / "known.csv")
        found = study.predict(points_of(fold.asked))
    if set(found["source"]) != {"predicted"}:
        raise RuntimeError(f"{fold.value}: a point that was left out is in the record as measured")
    return found.reset_index(drop=True)


def predictions(case: Case, predictor: Predictor, saved: Path | None = None, only: str | None = None) -> pd.DataFrame:
    """The axes of every point, the truth as NAME_true, and what the predictor says with the point's value left out.

    saved: a folder in which each fold is kept; one that is there already is not computed again. only: one value.
    """
    parts = []
    for fold in folds(case):
        if only not in (None, fold.value):
            continue
        file = None if saved is None else saved / f"{fold.value.replace('/', '_')}.csv"
        if file is None or not file.is_file():
            found = predictor(case, fold)
            part = fold.asked.assign(**{column: found[column].to_numpy() for column in _columns(case, found)})
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                part.to_csv(file, index=False)
        else:
            part = pd.read_csv(file)
        parts.append(part)
    truth = case.table.rename(columns={target: f"{target}_true" for target in case.targets})
    joined = pd.concat(parts).merge(truth, on=list(case.axes), validate="one_to_one")
    if not np.isfinite(joined[list(case.targets)].to_numpy(dtype=float)).all():
        raise RuntimeError("a point has no prediction")
    return joined


def points_of(table: pd.DataFrame) -> list[Point]:
    """The rows as points of a study."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _columns(case: Case, found: pd.DataFrame) -> list[str]:
    names = [f"{target}{end}" for target in case.targets for end in ("", "_low", "_high")]
    return [name for name in names if name in found]
