"""Optuna's storage: opening it, and widening a study for axes that grew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from planner.ledger.distributions import Recorded, are_compatible, joined
from planner.ledger.faults import fault_of, place_of, say_faults
from planner.ledger.optuna_private import QuickStorage, recorded, unify
from planner.space.address import hidden
from planner.space.types import Axis, RecordError, StudyError

__all__ = ["check_no_other_copy", "distributions", "open_storage", "widen"]

_ATTEMPTS: Final = 50
_PAUSE_S: Final = 0.1
_LOCK_S: Final = 60.0
"""Seconds that SQLite waits for other processes, each of which holds the lock for milliseconds."""


def open_storage(url: str, must_exist: bool = False) -> optuna.storages.RDBStorage:
    """The storage behind `url`, which raises RecordError where its database fails. must_exist: do not create a missing
    file. Raises StudyError and RecordError.
    """
    path = url.removeprefix("sqlite:///")
    if must_exist and path != url and not Path(path).exists():
        raise StudyError(f"study.storage: {path} does not exist; `sweepwise run` creates it")
    settings = {"connect_args": {"timeout": _LOCK_S}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    for attempt in range(_ATTEMPTS):
        try:
            storage = QuickStorage(url, engine_kwargs=settings)
            say_faults(storage.engine)
            return storage
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError, RuntimeError) as error:
            # Another process is creating the same tables at this moment: both saw none, and one was first.
            beaten = isinstance(error, IntegrityError) or "already exists" in str(error)
            if beaten and attempt < _ATTEMPTS - 1:
                time.sleep(_PAUSE_S)
                continue
            raise _not_opened(url, error) from error
    raise AssertionError("the last attempt returns or raises")


def _not_opened(url: str, error: Exception) -> StudyError | RecordError:
    """What a user is told: of a fault that has another fix than the address, or of the address."""
    place = place_of(url)
    database = error if isinstance(error, DBAPIError) else error.__cause__  # Optuna wraps some
    fault = fault_of(database, place)
    said = getattr(database, "orig", None) or error
    if fault is not None and "correct the address" not in str(fault) and (
            getattr(said, "sqlite_errorname", "") != "SQLITE_CANTOPEN"):
        return fault
    problem = hidden(" ".join(str(said).split()), url)[:160]
    return StudyError(f"study.storage: cannot open {place} ({problem}); correct the address")


def distributions(study: optuna.Study, axes: tuple[Axis, ...]) -> dict[str, BaseDistribution]:
    """Axis → distribution of the study's next trials, which holds the axis' values and all recorded ones.

    Raises StudyError if the study has other axes.
    """
    known = recorded(study)
    _check_names(known, axes)
    return {axis.name: joined(axis, known.get(axis.name)) for axis in axes}


def widen(study: optuna.Study, axes: tuple[Axis, ...]) -> dict[str, BaseDistribution]:
    """`distributions`, after widening the record to accept them: Optuna lets no category axis grow, so recorded trials
    get the wider choices. Nothing is written if the record accepts them already; nothing is ever deleted.

    Any number of processes may do this at once, each with its own values: all values end up in the record.
    """
    known = recorded(study)
    _check_names(known, axes)
    by_name = {axis.name: axis for axis in axes}

    def choose(name: str, now: Recorded) -> BaseDistribution:
        return joined(by_name[name], now)

    if not all(are_compatible(one, choose(name, now)) for name, now in known.items() for one in now.distributions):
        unify(study, choose)
    return distributions(study, axes)


def check_no_other_copy(storage: optuna.storages.RDBStorage, name: str) -> None:
    """Refuse a study whose runs lie under another name. Raises StudyError.

    Earlier versions copied a study when an axis grew; if killed meanwhile, they left the whole study in the copy.
    """
    names, other = optuna.get_all_study_names(storage), f"{name} (being rebuilt)"
    if other not in names:
        return
    whole = optuna.load_study(study_name=other, storage=storage)
    if not whole.user_attrs.get("rebuilt"):
        return  # an unfinished copy: the study itself is intact
    runs = len(whole.get_trials(deepcopy=False))
    here = len(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)) if name in names else 0
    if runs > here:
        raise StudyError(f"study '{name}': an older version was killed while it copied the study, and all {runs} "
                         f"runs are under another name; go on with --name \"{other}\"")


def _check_names(known: dict[str, Recorded], axes: tuple[Axis, ...]) -> None:
    if known and set(known) != {axis.name for axis in axes}:
        raise StudyError(f"space.axes: the study has the axes {', '.join(sorted(known))}; keep them, or give "
                         "the new study another name (study.name or --name)")
