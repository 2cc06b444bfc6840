"""The transform of each target, fixed when the study is created.

A transform that followed the data would change from logarithmic to linear in mid-study, at the first zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import optuna

from planner.space.metrics import metric_named
from planner.space.types import Metric, StudyError, Transform

__all__ = ["METRICS_KEY", "settled_metrics"]

METRICS_KEY: Final = "metrics"
"""The study's user attribute with its metrics."""


def settled_metrics(study: optuna.Study, targets: Sequence[str | Metric]) -> tuple[Metric, ...]:
    """The targets as the study file describes them now, each with the transform with which the study was created.

    In a study older than this record, the transform is a logarithm if all measured values allow it. Raises StudyError
    if the study file asks for a different transform.
    """
    kept = {data["name"]: Metric.from_json(data) for data in study.user_attrs.get(METRICS_KEY, [])}
    metrics = [metric_named(target) if isinstance(target, str) else target for target in targets]
    if not kept:
        return tuple(_by_what_was_measured(study, metric) for metric in metrics)
    for metric in metrics:
        settled = kept.get(metric.name)
        asked_for = metric.transform is not metric_named(metric.name).transform
        if settled is not None and asked_for and settled.transform is not metric.transform:
            raise StudyError(
                f"targets: study '{study.study_name}' was created with transform {settled.transform} for "
                f"'{metric.name}', not {metric.transform}; keep that, or give the new study another name "
                "(study.name or --name)")
    return tuple(replace(metric, transform=kept[metric.name].transform) if metric.name in kept else metric
                 for metric in metrics)


def _by_what_was_measured(study: optuna.Study, metric: Metric) -> Metric:
    values = [value for trial in study.get_trials(deepcopy=False) for value in _readings(trial, metric.name)]
    if metric.transform is Transform.LOG and not all(map(metric.takes, values)):
        return replace(metric, transform=Transform.LINEAR)
    return metric


def _readings(trial: optuna.trial.FrozenTrial, metric: str) -> list[float]:
    measurement: dict[str, Any] = trial.user_attrs.get("measurement", {})
    return [value for reading in measurement.get("readings", []) for value in reading["metrics"].get(metric, [])]
