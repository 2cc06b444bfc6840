"""What befalls a study: signals to its processes, and faults of the file that holds its record."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.crash.studies import Study

LONGEST_S: Final = 3.0
"""A passing fault of a record lasts for so long at most, twice the time that it is waited for here."""


class Fault:
    """stays: whether it lasts until the study has ended; it passes sooner otherwise."""

    stays = False

    def possible(self, kind: str) -> bool:
        """Whether studies of this kind can have it."""
        return True

    def strike(self, study: Study, rng: Random) -> None:
        """Begin, and unless it stays, end."""
        raise NotImplementedError

    def clear(self, study: Study) -> None:
        """End what stayed."""


@dataclass(frozen=True)
class Signal(Fault):
    """A signal to one part of a study. "group": the process group of the command, as a terminal does it; "all": every
    process of the study, as a container's end does it."""

    part: str
    number: signal.Signals

    def possible(self, kind: str) -> bool:
        started = {"replay": set(), "command": {"child", "guard", "keeper"}}.get(
            kind, {"child", "guard", "keeper", "importing"})
        return self.part in {"main", "group", "all"} | started

    def strike(self, study: Study, rng: Random) -> None:
        """Send it, where there is such a process now."""
        with contextlib.suppress(ProcessLookupError):
            if self.part == "group":
                os.killpg(study.main, self.number)
                return
            if self.part == "all":
                found = [study.main, *study.processes()]
            else:
                found = study.part(self.part)
                found = [rng.choice(found)] if found else []
            for pid in found:
                os.kill(pid, self.number)

    @property
    def ends_main(self) -> bool:
        return self.part in {"main", "group", "all"}


class Locked(Fault):
    """Another process holds the database."""

    def strike(self, study: Study, rng: Random) -> None:
        with contextlib.suppress(sqlite3.OperationalError), held(study.database):
            time.sleep(rng.uniform(0, LONGEST_S))


class Full(Fault):
    """Its disk is full: a small file system of its own, or else, without the right to mount one, a limit on the size of
    the process' files."""

    def strike(self, study: Study, rng: Random) -> None:
        ballast = study.database.with_name("ballast")
        before = resource.prlimit(study.main, resource.RLIMIT_FSIZE)
        if os.path.ismount(study.database.parent):
            subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
        else:
            resource.prlimit(study.main, resource.RLIMIT_FSIZE, (study.database.stat().st_size, before[1]))
        time.sleep(rng.uniform(0, LONGEST_S))
        ballast.unlink(missing_ok=True)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(study.main, resource.RLIMIT_FSIZE, before)


class ReadOnly(Fault):
    """Nothing can be written in its directory."""

    def strike(self, study: Study, rng: Random) -> None:
        folder = study.database.parent
        is_root = os.geteuid() == 0
        if is_root:
            if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode:
                return
        else:
            folder.chmod(0o555)
        try:
            time.sleep(rng.uniform(0, LONGEST_S))
        finally:
            if is_root:
                subprocess.run(["chattr", "-i", folder], capture_output=True, check=True)
            else:
                folder.chmod(0o755)


class Moved(Fault):
    """The file is elsewhere for a while."""

    def strike(self, study: Study, rng: Random) -> None:
        elsewhere = study.folder / "elsewhere.db"
        if not study.database.exists():
            return
        study.database.rename(elsewhere)
        time.sleep(rng.uniform(0, LONGEST_S))
        elsewhere.rename(study.database)


class Truncated(Fault):
    """Part of the file is gone. A copy from just before is put back once the study has ended."""

    stays = True

    def strike(self, study: Study, rng: Random) -> None:
        copy = study.folder / "copy.db"
        with contextlib.suppress(sqlite3.OperationalError), held(study.database):
            shutil.copy(study.database, copy)
            os.truncate(study.database, int(study.database.stat().st_size * rng.uniform(0.02, 0.98)))

    def clear(self, study: Study) -> None:
        copy = study.folder / "copy.db"
        if copy.exists():
            copy.replace(study.database)
            study.database.with_name("study.db-journal").unlink(missing_ok=True)


@contextlib.contextmanager
def held(database: Path) -> Iterator[None]:
    """A context that holds an existing database. Raises sqlite3.OperationalError where there is none, or no turn."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout = 2000")
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 2 MB at this folder, where that is permitted."""
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True, check=False).returncode
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=False)


SIGNALS: Final = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FAULTS: Final[Mapping[str, Fault]] = {
    **{f"{number.name} to {part}": Signal(part, number) for part in
       ("main", "group", "importing", "child", "guard", "keeper", "all") for number in SIGNALS},
    "disk full": Full(), "read-only": ReadOnly(), "locked": Locked(), "truncated": Truncated(), "moved": Moved()}
