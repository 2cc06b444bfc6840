"""Opening a trial: created at a point, or taken over from those that a person enqueued."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import optuna
from optuna.trial import FrozenTrial, TrialState

from planner.ledger.optuna_private import ChoicesChanged, claim, contains, create_trial, enqueued_params
from planner.ledger.storage import distributions, widen
from planner.space.types import Axis, Point, Value

__all__ = ["Opening"]

_ATTEMPTS: Final = 20  # an attempt fails only if another process has just added a value to an axis

T = TypeVar("T")


class Opening:
    """Opens trials of one study. Other processes may widen its record at any moment; then their choices are used.
    Raises StudyError if the study has other axes."""

    def __init__(self, study: optuna.Study, axes: tuple[Axis, ...]) -> None:
        self._study = study
        self._axes = axes
        self._distributions = distributions(study, axes)

    def create(self, **template: Any) -> optuna.Trial:
        """A new trial, in one transaction; `template` as for `optuna.trial.create_trial`, without distributions."""
        return self._beside_the_record(lambda: create_trial(
            self._study, optuna.trial.create_trial(distributions=self._distributions, **template)))

    def take_over(self, point: Point, user_attrs: Mapping[str, Any]) -> tuple[optuna.Trial, dict[str, Value]] | None:
        """The first enqueued trial that no other process takes, and those of its values that are not on their axes;
        None without such a trial. `point` fills axes that it leaves open.

        A trial with values off the axes has no point and cannot be run.
        """
        for waiting in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            given = {**point, **waiting.params, **enqueued_params(waiting)}
            asked = {name: given[name] for name in self._distributions}
            if self._unknown(asked):
                self._distributions = distributions(self._study, self._axes)  # another process may have added it by now
            unknown = self._unknown(asked)
            trial = self._claim(waiting, {n: v for n, v in asked.items() if n not in unknown}, user_attrs)
            if trial is not None:
                return trial, unknown
        return None

    def _claim(self, waiting: FrozenTrial, params: Point, user_attrs: Mapping[str, Any]) -> optuna.Trial | None:
        return self._beside_the_record(lambda: claim(self._study, waiting, params, self._distributions, user_attrs))

    def _unknown(self, point: Point) -> dict[str, Value]:
        return {name: value for name, value in point.items() if not contains(self._distributions[name], value)}

    def _beside_the_record(self, write: Callable[[], T]) -> T:
        """What `write` returns, as soon as the record takes `_distributions`."""
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(ChoicesChanged):
                return write()
            self._distributions = widen(self._study, self._axes)
        return write()
