"""Optuna's storage: opening it, the distributions of our axes, and rebuilding a study whose categories grew."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from planner.space.types import Axis, Scale, StudyError, Value

__all__ = ["distributions", "finish_rebuild", "grown", "load_whole", "open_storage", "rebuild",
           "recorded_distributions"]

_ATTEMPTS: Final = 50
_PAUSE_S: Final = 0.1


def distributions(
    axes: tuple[Axis, ...], recorded: Mapping[str, BaseDistribution] | None = None
) -> dict[str, BaseDistribution]:
    """Optuna's form of each axis. Categories already recorded keep their place, since Optuna compares them."""
    return {axis.name: _distribution(axis, (recorded or {}).get(axis.name)) for axis in axes}


def open_storage(url: str, must_exist: bool = False) -> optuna.storages.RDBStorage:
    """The storage behind `url`. Raises StudyError in one line; with `must_exist` a missing file is not created."""
    path = url.removeprefix("sqlite:///")
    if must_exist and path != url and not Path(path).exists():
        raise StudyError(f"study.storage: {path} does not exist; `sweepwise run` creates it")
    connect = {"timeout": 60} if url.startswith("sqlite") else {}
    for attempt in range(_ATTEMPTS):
        try:
            return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": connect})
        except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
            # Another process is making the same tables at the same moment: both see none, and one is first.
            beaten = isinstance(error, IntegrityError) or "already exists" in str(error)
            if beaten and attempt < _ATTEMPTS - 1:
                time.sleep(_PAUSE_S)
                continue
            problem = " ".join(str(error).split())[:160]
            raise StudyError(f"study.storage: cannot open {url} ({problem}); mend the address") from error
    raise AssertionError("the last attempt returns or raises")


def _distribution(axis: Axis, recorded: BaseDistribution | None) -> BaseDistribution:
    values: list[Value] = list(axis.values)
    if axis.scale is Scale.CATEGORY:
        old = list(recorded.choices) if isinstance(recorded, CategoricalDistribution) else []
        return CategoricalDistribution(old + [v for v in values if v not in old])
    low, high = float(min(values)), float(max(values))
    log = axis.scale is Scale.LOG and low > 0
    if all(isinstance(value, int) for value in values):
        return IntDistribution(int(low), int(high), log=log and low >= 1)
    return FloatDistribution(low, high, log=log)


def recorded_distributions(study: optuna.Study) -> dict[str, BaseDistribution]:
    recorded: dict[str, BaseDistribution] = {}
    for trial in study.get_trials(deepcopy=False):
        recorded.update(trial.distributions)
    return recorded


def grown(study: optuna.Study, axes: tuple[Axis, ...]) -> bool:
    recorded = recorded_distributions(study)
    if recorded and set(recorded) != {axis.name for axis in axes}:
        raise StudyError(f"space.axes: the study has the axes {', '.join(sorted(recorded))}; keep them, or give "
                         "the new study another name (study.name or --name)")
    for name, present in distributions(axes, recorded).items():
        try:
            if name in recorded:
                check_distribution_compatibility(recorded[name], present)
        except ValueError:
            return True
    return False


def rebuild(
    study: optuna.Study, storage: optuna.storages.RDBStorage, present: Mapping[str, BaseDistribution]
) -> optuna.Study:
    """Write the study anew with wider categories, which Optuna does not let grow. Safe to kill at any moment."""
    copy = optuna.create_study(storage=storage, study_name=_rebuilt(study.study_name), directions=study.directions)
    _copy(study, copy, present)
    copy.set_user_attr("rebuilt", True)
    finish_rebuild(storage, study.study_name)
    return optuna.load_study(study_name=study.study_name, storage=storage, sampler=optuna.samplers.RandomSampler())


def finish_rebuild(storage: optuna.storages.RDBStorage, name: str) -> None:
    names = optuna.get_all_study_names(storage)
    if _rebuilt(name) not in names:
        return
    copy = optuna.load_study(study_name=_rebuilt(name), storage=storage)
    if copy.user_attrs.get("rebuilt"):
        if name in names:
            optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(storage=storage, study_name=name, directions=copy.directions)
        _copy(copy, study, {})
    optuna.delete_study(study_name=_rebuilt(name), storage=storage)


def load_whole(storage: optuna.storages.RDBStorage, name: str) -> optuna.Study:
    """The study; the whole copy of it where a rebuild was cut short in the midst of copying back. Raises KeyError."""
    if _rebuilt(name) in optuna.get_all_study_names(storage):
        copy = optuna.load_study(study_name=_rebuilt(name), storage=storage)
        if copy.user_attrs.get("rebuilt"):
            return copy
    return optuna.load_study(study_name=name, storage=storage)


def _copy(source: optuna.Study, target: optuna.Study, wider: Mapping[str, BaseDistribution]) -> None:
    for key, value in source.user_attrs.items():
        if key != "rebuilt":
            target.set_user_attr(key, value)
    if source.metric_names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            target.set_metric_names(source.metric_names)
    for trial in source.get_trials():
        trial.distributions = {**trial.distributions, **{n: d for n, d in wider.items() if n in trial.params}}
        target.add_trial(trial)


def _rebuilt(name: str) -> str:
    return f"{name} (being rebuilt)"
