"""Every grid point with its measured or predicted values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from planner.analysis.unlisted_values import Described, unlisted_values, with_values
from planner.campaign.setup import StudySetup
from planner.evaluation.metric_posterior import undefined
from planner.ledger.observations import Observations
from planner.models.transforms import back, forward
from planner.space.grid import Grid
from planner.space.meaning import match
from planner.space.text import listed, point_text
from planner.space.types import Z90, FloatArray, IntArray, Point, StudyError, Transform, Value
from planner.strategies.strategy import Posterior

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["answers", "find_points", "predicted", "prediction_table"]


def answers(
    posterior: Posterior, observations: Observations, target: str, rows: IntArray | None = None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Value, low and high of a target at each of `rows`, by default at each point: measured if available, else
    predicted.

    A measured value's interval is the spread of its median over repeats; without repeats, or of a share or of a metric
    that some axes alone can change, that of the model.
    """
    here = slice(None) if rows is None else rows
    measured = observations.column(target)[here]
    prediction = posterior.prediction if rows is None else posterior.prediction.at(rows)
    value = np.where(np.isfinite(measured), measured, prediction.value[target])
    low, high = prediction.low[target].copy(), prediction.high[target].copy()
    noise = observations.repeat_noise(target)
    about = observations.metric(target)
    by_model = about.transform is Transform.LOGIT or about.depends_on is not None
    for row, repeats in _repeats(observations, target, rows):
        if by_model:
            known = np.array([low[row], high[row], measured[row], prediction.value[target][row]])
            left, right, there, predicted = forward(about.transform, known)
            left, right = back(about.transform, np.array([left, right]) + there - predicted)
            low[row], high[row] = np.fmin(left, measured[row]), np.fmax(right, measured[row])
        elif np.isfinite(noise) and measured[row] > 0:
            # The standard error of a median of n normal readings is about 1.2533 σ / √n.
            half = Z90 * 1.2533 * noise / np.sqrt(len(repeats))
            low[row], high[row] = measured[row] * np.exp(-half), measured[row] * np.exp(half)
        elif np.isfinite(prediction.value[target][row]):
            shift = measured[row] - prediction.value[target][row]
            low[row], high[row] = low[row] + shift, high[row] + shift
    failed = observations.failed[here]
    value[failed] = low[failed] = high[failed] = np.nan
    nowhere = undefined(target, observations)[here]
    for array in (value, low, high):
        array[nowhere] = np.nan
    return value, low, high


def _repeats(
    observations: Observations, target: str, rows: IntArray | None
) -> Iterable[tuple[int, tuple[float, ...]]]:
    """The repeats at each measured one of `rows`, by its place among them."""
    known = observations.repeats(target)
    if rows is None:
        return known.items()
    return [(place, known[row]) for place, row in enumerate(rows.tolist()) if row in known]


def prediction_table(
    posterior: Posterior, observations: Observations, rows: Sequence[int] | None = None
) -> pd.DataFrame:
    """One row for each of the grid's `rows`, by default for each point: the axes, `source` (measured, failed or
    predicted), `probability_ok`, and for each target its value and the ends of its 90 % interval."""
    import pandas as pd

    grid = observations.grid
    asked = None if rows is None else np.array(rows, dtype=np.int64)
    here = slice(None) if asked is None else asked
    columns: dict[str, Any] = {
        axis.name: [axis.values[code] for code in grid.codes[here, i]] for i, axis in enumerate(grid.axes)
    }
    columns["source"] = np.where(observations.measured, "measured", np.where(observations.failed, "failed",
        "predicted"))[here]
    columns["probability_ok"] = posterior.feasibility[here]
    for target in observations.targets:
        value, low, high = answers(posterior, observations, target, asked)
        columns |= {target: value, f"{target}_low": low, f"{target}_high": high}
    return pd.DataFrame(columns, index=None if asked is None else asked)


def predicted(
    study: StudySetup, observations: Observations, posterior: Posterior, points: Iterable[str | Point] | None,
    described: Described,
) -> pd.DataFrame:
    """`prediction_table` of `points`, or of every point. described: numbers of values that are on no axis. Raises
    StudyError."""
    if points is None:
        return prediction_table(posterior, observations)
    points = list(points)
    given = [_given(point, observations.grid) for point in points]
    if described or unlisted_values(observations.grid, given):
        observations, posterior = with_values(study, observations, given, described)
    return prediction_table(posterior, observations, find_points(points, observations))


def find_points(points: Iterable[str | Point], observations: Observations) -> list[int]:
    """Grid rows of points: mappings of axis to value, or text 'axis=value,axis=value'. An axis of one value may be left
    out. Raises StudyError."""
    return [_find_point(point, observations) for point in points]


def _find_point(written: str | Point, observations: Observations) -> int:
    names = [axis.name for axis in observations.grid.axes]
    given = _given(written, observations.grid)
    for name in given:
        if name not in names:
            raise StudyError(f"--point: unknown axis '{name}'; use {', '.join(names)}")
    for name, value in given.items():  # a part that belongs to no value names an axis that is none
        part = re.search(r",\s*([^,=]+?)\s*=", value) if isinstance(value, str) else None
        if part and match(observations.grid.axis(name).values, value) is None:
            raise StudyError(f"--point: unknown axis '{part[1]}'; use {', '.join(names)}")
    point: dict[str, Value] = {}
    for axis in observations.grid.axes:
        if axis.name not in given and len(axis.values) > 1:
            raise StudyError(f"--point: '{axis.name}' is missing; name every axis, as in {axis.name}={axis.values[0]}")
        own = match(axis.values, given[axis.name]) if axis.name in given else axis.values[0]
        if own is None:
            raise StudyError(f"--point: {axis.name}={given[axis.name]} is not on the axis; its values are "
                             f"{listed(axis.values)}")
        point[axis.name] = own
    row = observations.grid.find(point)
    if row is None:
        text = written if isinstance(written, str) else point_text(given, ",")
        raise StudyError(f"--point: {text} is not in the grid (a constraint excludes it); choose another")
    return row


def _given(written: str | Point, grid: Grid) -> Mapping[str, Value]:
    return _written(written, [axis.name for axis in grid.axes]) if isinstance(written, str) else written


def _written(text: str, names: Sequence[str]) -> dict[str, Value]:
    """The values in 'axis=value,axis=value'. A part without an axis before its '=' belongs to the value before it, as
    in 'kv_cache=Weight = fp16, KV Cache = fp16,batch_size=1'; so does what stands in quotes."""
    axis = "|".join(map(re.escape, names))
    parts = re.split(rf"(?:^|,)\s*({axis})\s*=", _hidden(text))
    if parts[0].strip() or len(parts) < 3:
        name = text.partition("=")[0].strip()
        raise StudyError(f"--point: unknown axis '{name}'; use {', '.join(names)}")
    # What is hidden has the length of what it hides.
    found: dict[str, Value] = {}
    end = len(parts[0])
    for name, value in zip(parts[1::2], parts[2::2], strict=True):
        begin = text.index("=", text.index(name, end)) + 1
        end = begin + len(value)
        found[name] = _unquoted(text[begin:end].strip())
    return found


def _hidden(text: str) -> str:
    """The text with each value in quotes replaced by as many dots; an apostrophe within a value quotes nothing."""
    return re.sub(r"(?<==)\s*(\"[^\"]*\"|'[^']*')(?=\s*(,|$))", lambda quoted: "." * len(quoted[0]), text)


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
