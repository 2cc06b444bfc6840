"""How far predictions are from what was measured, as the papers and we say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from planner.space.types import FloatArray

__all__ = ["Scores", "markdown", "scores_of"]

_RESAMPLES: Final = 2000


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one method on one target, over the points of all that was left out.

    median, mean: of |ŷ − y| / y. low, high: the 90 % interval of the median, by a bootstrap over what was left out: the
    points of one model are no independent trials. of_groups: the median over what was left out of its own median.
    r2, r2_log: the share of the variance of y, and of log y, that is explained. coverage: the share of points inside
    their 90 % interval, and width the median of high / low; NaN for a method without intervals.
    """

    points: int
    median: float
    low: float
    high: float
    of_groups: float
    mean: float
    r2: float
    r2_log: float
    coverage: float
    width: float


def scores_of(
    truth: FloatArray, predicted: FloatArray, groups: Sequence[str],
    interval: tuple[FloatArray, FloatArray] | None = None,
) -> Scores:
    """truth, predicted: (n,) above 0; a prediction at or below 0 counts as a hundredth of the least truth in a
    logarithm. groups: what was left out at each point. interval: its ends, (n,) each."""
    error = np.abs(predicted - truth) / truth
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    parts = [error[codes == code] for code in range(len(names))]
    draws = np.random.default_rng(0).integers(len(parts), size=(_RESAMPLES, len(parts)))
    medians = [float(np.median(np.concatenate([parts[i] for i in draw]))) for draw in draws]
    low, high = np.percentile(medians, [5, 95])
    logs = np.log(np.maximum(predicted, truth.min() / 100))
    covered, width = np.nan, np.nan
    if interval is not None:
        covered = float(np.mean((interval[0] <= truth) & (truth <= interval[1])))
        width = float(np.median(interval[1] / interval[0]))
    return Scores(len(truth), float(np.median(error)), float(low), float(high),
                  float(np.median([np.median(part) for part in parts])), float(np.mean(error)),
                  _explained(truth, predicted), _explained(np.log(truth), logs), covered, width)


def _explained(truth: FloatArray, predicted: FloatArray) -> float:
    return float(1 - np.sum((predicted - truth) ** 2) / np.sum((truth - truth.mean()) ** 2))


def markdown(rows: Sequence[tuple[str, Scores]]) -> str:
    """The scores of several methods as a Markdown table."""
    head = ["method", "median error", "median of medians", "mean error", "R²", "R² of the log", "inside 90 %", "width"]
    lines = [head, ["---"] * len(head)]
    for name, score in rows:
        held = {field.name: getattr(score, field.name) for field in fields(score)}
        lines.append([
            name, "{median:.1%} [{low:.1%}–{high:.1%}]".format(**held), f"{score.of_groups:.1%}", f"{score.mean:.1%}",
            f"{score.r2:.2f}", f"{score.r2_log:.2f}",
            *(("–", "–") if np.isnan(score.coverage) else (f"{score.coverage:.1%}", f"{score.width:.1f}×"))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("%", " %").replace("  %", " %")
