"""Every private name of Optuna that this project uses, one small function for each need.

No other file may use them (tests/ledger/test_optuna_private.py reads the source), so that a new version of Optuna is
checked here alone. Functions that write to the database take the study's lock first: the write lock on SQLite, the
study's row elsewhere, which is also the lock under which Optuna numbers new trials. A transaction is complete or has no
effect, whenever the process is killed. Nothing here deletes a study or a trial.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Row, Table, bindparam, func, insert, or_, select, update

from planner.ledger.distributions import Recorded, are_compatible
from planner.space.types import Point, Value

__all__ = ["ChoicesChanged", "QuickStorage", "beat", "change_user_attrs", "claim", "contains", "create_trial",
           "enqueued_params", "heartbeats", "identity", "open_trial", "recorded", "set_violations", "study_id", "unify",
           "violations_attribute", "written_at_once"]

# `Trial.set_constraint`, Optuna 5's public way, writes one attribute a constraint, which optuna-dashboard (0.21) does
# not read. Both read this older list.
_CONSTRAINTS: Final = "constraints"
_ENQUEUED: Final = "fixed_params"

_STUDIES: Final[Table] = models.StudyModel.__table__
_TRIALS: Final[Table] = models.TrialModel.__table__
_PARAMS: Final[Table] = models.TrialParamModel.__table__
_STUDY_USER: Final[Table] = models.StudyUserAttributeModel.__table__
_STUDY_SYSTEM: Final[Table] = models.StudySystemAttributeModel.__table__
_TRIAL_USER: Final[Table] = models.TrialUserAttributeModel.__table__
_HEARTBEATS: Final[Table] = models.TrialHeartbeatModel.__table__
_VALUES: Final[Table] = models.TrialValueModel.__table__
_STEPS: Final[Table] = models.TrialIntermediateValueModel.__table__
_TRIAL_SYSTEM: Final[Table] = models.TrialSystemAttributeModel.__table__
_MOST_NUMBERS: Final = 500  # in one query: SQLite allowed 999 for long


class ChoicesChanged(ValueError):  # noqa: N818 -- not the caller's error: use the record's choices and try again
    """Optuna refuses a distribution beside the recorded ones: another process widened them, or it must be joined."""


# ------------------------------------------------------------------------------------------------- studies and trials


def study_id(study: optuna.Study) -> int:
    """The study's number in its storage, as in optuna-dashboard's addresses."""
    return study._study_id


def identity(study: optuna.Study) -> tuple[BaseStorage, int]:
    """A key that is equal for two objects of one study in one storage object, and different otherwise."""
    return study._storage, study._study_id


def contains(distribution: BaseDistribution, value: Value) -> bool:
    """Whether the distribution contains the value: a choice, or a number in range and on its step."""
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except (TypeError, ValueError):
        return False


def enqueued_params(trial: FrozenTrial) -> dict[str, Any]:
    """The parameters given to `Study.enqueue_trial` for this trial; empty for other trials."""
    return dict(trial.system_attrs.get(_ENQUEUED, {}))


def open_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A handle that writes to a trial of the record, like the one that `Study.ask` returns."""
    return optuna.Trial(study, trial._trial_id)


def create_trial(study: optuna.Study, template: FrozenTrial) -> optuna.Trial:
    """The handle of a new trial with the content of the template, written in one transaction.

    `Study.add_trial` writes the same but does not return the trial. Raises ChoicesChanged, with nothing written.
    """
    try:
        return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))
    except ValueError as error:
        raise ChoicesChanged(str(error)) from error


def violations_attribute(violations: Sequence[float]) -> dict[str, Any]:
    """System attributes for `optuna.trial.create_trial` that record these constraint violations."""
    return {_CONSTRAINTS: list(violations)} if violations else {}


def set_violations(trial: optuna.Trial, violations: Sequence[float]) -> None:
    """Record the constraint violations of a running trial. Does nothing without constraints."""
    for key, value in violations_attribute(violations).items():
        trial.storage.set_trial_system_attr(trial._trial_id, key, value)


# ------------------------------------------------------------------------------------------------------- transactions


def claim(
    study: optuna.Study, waiting: FrozenTrial, params: Point, distributions: Mapping[str, BaseDistribution],
    user_attrs: Mapping[str, Any],
) -> optuna.Trial | None:
    """The handle of a WAITING trial, taken over: RUNNING with these parameters and attributes, in one transaction.

    None if another process was first. Exactly one is, on SQLite too, where Optuna's own method lets several through.
    Parameters that the trial already has stay. Raises ChoicesChanged, with nothing written.
    """
    number = waiting._trial_id
    new = {name: distributions[name] for name in params if name not in waiting.params}
    with _alone(study) as connection:
        begun = update(_TRIALS).where(_TRIALS.c.trial_id == number, _TRIALS.c.state == TrialState.WAITING).values(
            state=TrialState.RUNNING, datetime_start=datetime.now(UTC).replace(tzinfo=None))
        if connection.execute(begun).rowcount != 1:
            return None
        for name, known in _recorded(connection, study._study_id).items():
            if name in new and not all(are_compatible(one, new[name]) for one in known.distributions):
                raise ChoicesChanged(f"{name}: the record has other choices than {new[name]}")
        _put(connection, _TRIAL_USER, _TRIAL_USER.c.trial_id, number, user_attrs)
        if new:
            connection.execute(insert(_PARAMS), [
                {"trial_id": number, "param_name": name, "distribution_json": distribution_to_json(distribution),
                 "param_value": distribution.to_internal_repr(params[name])} for name, distribution in new.items()])
    return optuna.Trial(study, number)


def recorded(study: optuna.Study) -> dict[str, Recorded]:
    """Parameter → its distributions and values in the trials of the study, read from the database: trials that Optuna
    keeps in memory may have outdated distributions."""
    with _database(study).engine.connect() as connection:
        return _recorded(connection, study._study_id)


def unify(study: optuna.Study, choose: Callable[[str, Recorded], BaseDistribution]) -> None:
    """Give all trials of the study one distribution for each parameter, `choose(name, recorded)`, in one transaction.

    Every value stays what it was: `choose` must return a distribution that holds all recorded values, or its
    ValueError undoes everything. A trial whose distribution Optuna accepts beside the chosen one is unchanged.
    """
    query = select(_PARAMS).join(_TRIALS).where(_TRIALS.c.study_id == study._study_id).order_by(_PARAMS.c.param_id)
    change = update(_PARAMS).where(_PARAMS.c.param_id == bindparam("row")).values(
        param_value=bindparam("value"), distribution_json=bindparam("distribution"))
    with _alone(study) as connection:
        chosen = {name: choose(name, known) for name, known in _recorded(connection, study._study_id).items()}
        changed = []
        for row in connection.execute(query):
            old, new = json_to_distribution(row.distribution_json), chosen[row.param_name]
            if not are_compatible(old, new):
                value = new.to_internal_repr(old.to_external_repr(row.param_value))
                changed.append({"row": row.param_id, "value": value, "distribution": distribution_to_json(new)})
        if changed:
            connection.execute(change, changed)
    _reread(study)


def change_user_attrs(study: optuna.Study, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Set user attributes of the study to `change(recorded ones)`, in one transaction: what another process wrote
    meanwhile is read and kept. Attributes that `change` does not return stay. If it raises, nothing is written."""
    query = select(_STUDY_USER.c.key, _STUDY_USER.c.value_json).where(_STUDY_USER.c.study_id == study._study_id)
    with _alone(study) as connection:
        present = {row.key: json.loads(row.value_json) for row in connection.execute(query)}
        wanted = {key: value for key, value in change(dict(present)).items()
                  if key not in present or present[key] != value}
        _put(connection, _STUDY_USER, _STUDY_USER.c.study_id, study._study_id, wanted)


def beat(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Record that the workers of these trials are alive now, by the database's clock.

    Optuna's `record_heartbeat` writes to the same table, but in the session's local time: an hour passes for a run
    whenever clocks change to summer time, and its worker is taken for dead.
    """
    numbers = [trial._trial_id for trial in trials]
    if not numbers:
        return
    with _alone(study) as connection:
        now = _utc_now(connection)
        connection.execute(_HEARTBEATS.delete().where(_HEARTBEATS.c.trial_id.in_(numbers)))
        connection.execute(insert(_HEARTBEATS), [{"trial_id": number, "heartbeat": now} for number in numbers])


def heartbeats(study: optuna.Study) -> tuple[datetime, dict[int, datetime]]:
    """Now, and the last heartbeat of each RUNNING trial that has one, by its number; both by the database's clock."""
    query = select(_TRIALS.c.number, _HEARTBEATS.c.heartbeat).join_from(_HEARTBEATS, _TRIALS).where(
        _TRIALS.c.study_id == study._study_id, _TRIALS.c.state == TrialState.RUNNING)
    with _database(study).engine.connect() as connection:
        found = {row.number: row.heartbeat for row in connection.execute(query)}
        return _utc_now(connection), found


@contextmanager
def written_at_once(study: optuna.Study) -> Iterator[optuna.Study]:
    """A view of the study: system attributes set within the block are stored together at its end, none if it raises.

    In one transaction if the storage is a database, else one by one.
    """
    gathered = _Gathered(study._storage)
    draft = copy.copy(study)
    draft._storage = gathered  # type: ignore[assignment]
    yield draft
    if _backend(study._storage) is None:
        for key, value in gathered.written.items():
            study._storage.set_study_system_attr(study._study_id, key, value)
    else:
        with _alone(study) as connection:
            _put(connection, _STUDY_SYSTEM, _STUDY_SYSTEM.c.study_id, study._study_id, gathered.written)


class QuickStorage(RDBStorage):
    """Optuna's storage, which reads many trials ten times as fast: rows in place of objects of SQLAlchemy's, and each
    distribution decoded once. What it returns is what Optuna returns."""

    def _get_trials(
        self, study_id: int, states: Container[TrialState] | None, included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        again = {number for number in included_trial_ids if number <= trial_id_greater_than}
        if states is not None or len(again) > _MOST_NUMBERS:
            return super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        wanted = (_TRIALS.c.study_id == study_id) & or_(
            _TRIALS.c.trial_id > trial_id_greater_than, _TRIALS.c.trial_id.in_(again))
        with self.engine.connect() as connection:
            if connection.execute(select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study_id)).first() is None:
                raise KeyError(f"study {study_id} is gone")
            trials = connection.execute(select(_TRIALS).where(wanted).order_by(_TRIALS.c.trial_id)).all()
            parts = [_by_trial(connection, table, wanted) if trials else {} for table in (
                _PARAMS, _VALUES, _TRIAL_USER, _TRIAL_SYSTEM, _STEPS)]
        known: dict[str, BaseDistribution] = {}
        return [_frozen(row, [part.get(row.trial_id, []) for part in parts], known) for row in trials]


def _by_trial(connection: Connection, table: Table, wanted: Any) -> dict[int, list[Row[Any]]]:
    """The rows of the wanted trials by trial, in the order in which they were written."""
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    key = next(iter(table.primary_key))
    for row in connection.execute(select(table).join(_TRIALS).where(wanted).order_by(key)).all():
        found[row.trial_id].append(row)
    return found


def _frozen(trial: Row[Any], parts: Sequence[list[Row[Any]]], known: dict[str, BaseDistribution]) -> FrozenTrial:
    """A trial from its rows. known: distributions by their text."""
    params, values, user, system, steps = parts
    for row in params:
        if row.distribution_json not in known:
            known[row.distribution_json] = json_to_distribution(row.distribution_json)
    distributions = {row.param_name: known[row.distribution_json] for row in params}
    value_of = models.TrialValueModel.stored_repr_to_value
    step_of = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value
    targets = {row.objective: value_of(row.value, row.value_type) for row in values}
    return FrozenTrial(
        number=trial.number, state=trial.state, value=None,
        values=[targets[place] for place in sorted(targets)] if targets else None,
        datetime_start=_local(trial.datetime_start), datetime_complete=_local(trial.datetime_complete),
        params={row.param_name: distributions[row.param_name].to_external_repr(row.param_value) for row in params},
        distributions=distributions, user_attrs={row.key: json.loads(row.value_json) for row in user},
        system_attrs={row.key: json.loads(row.value_json) for row in system},
        intermediate_values={row.step: step_of(row.intermediate_value, row.intermediate_value_type) for row in steps},
        trial_id=trial.trial_id)


def _local(utc: datetime | None) -> datetime | None:
    """A time of the database, without a zone, in this machine's zone, without it too, as Optuna has it."""
    return utc and utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


class _Gathered:
    """A stand-in for a storage: reads from it, and keeps in memory what is written to the study."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.written: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {**self._storage.get_study_system_attrs(study_id), **self.written}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self.written[key] = value


def _backend(storage: BaseStorage) -> RDBStorage | None:
    """The database behind a storage; None for a storage of another kind."""
    inner = storage._backend if isinstance(storage, _CachedStorage) else storage
    return inner if isinstance(inner, RDBStorage) else None


def _database(study: optuna.Study) -> RDBStorage:
    database = _backend(study._storage)
    if database is None:
        raise TypeError(f"study '{study.study_name}' is not in a database")
    return database


@contextmanager
def _alone(study: optuna.Study) -> Iterator[Connection]:
    """A transaction under the study's lock: committed at the end, rolled back if the block raises. Raises KeyError."""
    with _database(study).engine.connect() as connection:
        if connection.dialect.name == "sqlite":  # SQLite has no row locks, and would begin only at the first change
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        lock = select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == study._study_id).with_for_update()
        if connection.execute(lock).one_or_none() is None:
            raise KeyError(f"study {study._study_id} is gone")
        yield connection
        connection.commit()


def _utc_now(connection: Connection) -> datetime:
    """The database's time, without a zone as its columns are."""
    now: datetime = connection.execute(select(func.now())).scalar_one()
    return now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now  # PostgreSQL says the zone, SQLite has UTC


def _put(connection: Connection, table: Table, owner: Any, number: int, attributes: Mapping[str, Any]) -> None:
    """Set attributes of the study or trial `number`."""
    if not attributes:
        return
    rows = [{"of": number, "name": key, "json": json.dumps(value)} for key, value in attributes.items()]
    connection.execute(table.delete().where(owner == bindparam("of"), table.c.key == bindparam("name")),
                       [{"of": row["of"], "name": row["name"]} for row in rows])
    connection.execute(insert(table), [{owner.name: row["of"], "key": row["name"], "value_json": row["json"]}
                                       for row in rows])


def _recorded(connection: Connection, number: int) -> dict[str, Recorded]:
    grouped = (_PARAMS.c.param_name, _PARAMS.c.distribution_json, _PARAMS.c.param_value)
    query = select(*grouped).join(_TRIALS).where(_TRIALS.c.study_id == number).group_by(*grouped).order_by(
        func.min(_PARAMS.c.param_id))
    found: dict[str, tuple[dict[str, BaseDistribution], dict[Value, None]]] = {}
    for name, text, value in connection.execute(query):
        distributions, values = found.setdefault(name, ({}, {}))
        distribution = distributions.setdefault(text, json_to_distribution(text))
        values[distribution.to_external_repr(value)] = None
    return {name: Recorded(tuple(distributions.values()), tuple(values))
            for name, (distributions, values) in found.items()}


def _reread(study: optuna.Study) -> None:
    """Make Optuna reread the trials that it keeps in memory, with their present distributions."""
    storage = study._storage
    if isinstance(storage, _CachedStorage):
        with storage._lock:
            if study._study_id in storage._studies:
                storage._studies[study._study_id].last_finished_trial_id = -1
                storage._studies[study._study_id].param_distribution.clear()
