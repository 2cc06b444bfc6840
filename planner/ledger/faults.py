"""What can befall a database while it is used, each as one line that says what to do.

SQLAlchemy hands every error of a database to `say_faults`, wherever in Optuna or in this project it occurs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from planner.space.address import shown, without_passwords
from planner.space.types import RecordError

__all__ = ["fault_of", "place_of", "say_faults"]


@dataclass(frozen=True, slots=True)
class _Fault:
    """what: has befallen the database. fix: a person may do this. passes: whether it may be over in a minute."""

    what: str
    fix: str
    passes: bool = True


_FULL: Final = _Fault("its disk is full", "free some space")
_NO_WRITE: Final = _Fault("it cannot be written", "make the file and its directory writable")
_DAMAGED: Final = _Fault("it is damaged", "put a copy of it in its place, or recover what it holds with "
                         "`sqlite3 OLD .recover | sqlite3 NEW`", passes=False)
_AWAY: Final = _Fault("the server does not answer", "start it, or correct the address")

# Longest first: SQLite's codes have a general part and sometimes a special one.
_SQLITE: Final = {
    "SQLITE_READONLY_DBMOVED": _Fault("the file was moved or replaced", "put it back"),
    "SQLITE_READONLY": _NO_WRITE,
    "SQLITE_CANTOPEN": _NO_WRITE,  # where its directory is read-only, the journal cannot be made
    "SQLITE_PERM": _NO_WRITE,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": _Fault("its disk gives an error", "see that the disk is there and has space"),
    "SQLITE_BUSY": _Fault("another process holds it", "end that process (`fuser FILE` names it)"),
    "SQLITE_LOCKED": _Fault("another process holds it", "end that process (`fuser FILE` names it)"),
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_NOTADB": _Fault("it is no SQLite database", "correct the address", passes=False),
    "SQLITE_ERROR": _Fault("it lacks tables that a study has", "correct the address, or put a copy of it in its place",
                           passes=False),
}
# PostgreSQL's classes of errors (its manual, appendix A), and special ones among them.
_POSTGRESQL: Final = {
    "53100": _FULL,
    "53": _Fault("the server has too few resources", "give it more connections or memory"),
    "25006": _Fault("it cannot be written", "make the database writable, or name the primary server"),
    "42501": _Fault("it cannot be written", "give the user the right to"),
    "28": _Fault("the server refuses the user", "correct the address", passes=False),
    "3D": _Fault("the server has no such database", "create it, or correct the address", passes=False),
    "55": _Fault("another process holds it", "end that process"),
    "58": _Fault("the server's disk gives an error", "see that its disk is there and has space"),
    "XX": _Fault("it is damaged", "restore a backup", passes=False),
    "08": _AWAY,
    "57": _AWAY,
}
_REPEATED: Final = "40"
"""PostgreSQL's class of transactions that were rolled back and may be repeated at once, which Optuna does."""


def say_faults(engine: Engine) -> None:
    """From now on, raise RecordError where the engine's database fails."""
    place = place_of(engine.url.render_as_string(hide_password=False))

    @event.listens_for(engine, "handle_error")
    def _(context: Any) -> None:
        fault = fault_of(context.sqlalchemy_exception, place)
        if fault is not None:
            raise fault from context.original_exception


def fault_of(error: BaseException | None, place: str) -> RecordError | None:
    """What a user is told of the error; None if it is none of the database's. place: as `place_of` names it."""
    if not isinstance(error, DBAPIError):
        return None
    fault = _fault(error)
    if fault is None:
        return None
    said = without_passwords(" ".join(str(error.orig).split()))[:160]
    return RecordError(f"study.storage: {place}: {fault.what} ({said}); {fault.fix}", fault.passes)


def place_of(url: str) -> str:
    """The file or the address, without a password."""
    return url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else shown(url)


def _fault(error: DBAPIError) -> _Fault | None:
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        found = next((fault for code, fault in _SQLITE.items() if name.startswith(code)), None)
    elif isinstance(error, IntegrityError | ProgrammingError):
        found = None
    else:
        state = getattr(error.orig, "sqlstate", None) or "08"  # no answer, no state
        found = None if state.startswith(_REPEATED) else next(
            (fault for code, fault in _POSTGRESQL.items() if state.startswith(code)), None)
    return found
