"""Devices that processes of one user take from each other's hands: no two hold one at a time.

A file stands for each device, and a lock on it (flock) for holding the device. The system takes a lock back when the
last process ends that has the file open, `kill -9` included. What we start has it open too (`held_descriptors`): the
device is free once the engine has ended, not when the process has that had started it.

One more lock makes a queue of those who wait. Who has it takes devices as they become free, keeps them, and writes how
many are still missing; all others wait behind, even for what is free. So who needs eight does not starve behind those
who need one. Who holds devices between two runs asks `is_wanted`, and gives them back for who waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from planner.space.types import RunnerError
from runners.held_descriptors import held

__all__ = ["DevicePool", "runtime_folder"]

_POLL_S: Final = 0.05
"""Seconds between two tries. An engine's start takes seconds; a try takes microseconds."""
_QUEUE: Final = "queue"
_FOLDER: Final = "SWEEPWISE_RUNTIME_DIR"
_ELSEWHERE: Final = f"set {_FOLDER} to a folder of yours on this machine"


class DevicePool:
    """This process's hold on some of the machine's devices. For one thread.

    devices: names, in the order in which they are taken. files: name of the file of each. folder: of these files.
    """

    def __init__(self, devices: Sequence[str], files: Sequence[str], folder: Path) -> None:
        self._files = dict(zip(devices, files, strict=True))
        self._folder = folder
        self._mine: dict[str, int] = {}

    @property
    def mine(self) -> tuple[str, ...]:
        """The devices that this process holds, in the order of `devices`."""
        return tuple(device for device in self._files if device in self._mine)

    def take(self, count: int, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Wait until this process holds `count` devices. False, with none held, where `is_over` says so before."""
        with _queueing(self._folder / _QUEUE) as queue:
            while not is_over():
                if queue.is_first():
                    self._take_free(count)
                    if len(self._mine) == count:
                        return True
                    queue.say(count - len(self._mine))
                time.sleep(_POLL_S)
        self.give_back()
        return False

    def is_wanted(self) -> bool:
        """Whether another process waits for more devices than are free."""
        missing = _missing(self._folder / _QUEUE)
        others = [device for device in self._files if device not in self._mine]
        return missing > 0 and missing > sum(map(self._is_free, others))

    def give_back(self) -> None:
        """Hold no device any more."""
        for device in list(self._mine):
            descriptor = self._mine.pop(device)
            held.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # for all who have it open
            os.close(descriptor)

    def _take_free(self, count: int) -> None:
        for device, file in self._files.items():
            if len(self._mine) >= count:
                return
            if device not in self._mine and (descriptor := _locked(self._folder / file)) is not None:
                self._mine[device] = descriptor
                held.add(descriptor)

    def _is_free(self, device: str) -> bool:
        descriptor = _locked(self._folder / self._files[device])
        if descriptor is None:
            return False
        os.close(descriptor)
        return True


class _Queue:
    """A place in the queue. Closing it gives it up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def is_first(self) -> bool:
        """Whether it is this process's turn; stays true."""
        if self._descriptor is None:
            self._descriptor = _locked(self._path)
        return self._descriptor is not None

    def say(self, missing: int) -> None:
        """Tell those who hold devices."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, b"%8d" % missing, 0)

    def close(self) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)


def _queueing(path: Path) -> contextlib.closing[_Queue]:
    return contextlib.closing(_Queue(path))


def _missing(path: Path) -> int:
    """Devices that who is first in the queue still misses; 0 if nobody waits."""
    descriptor = _locked(path)
    if descriptor is not None:  # nobody is in the queue, whatever one that was killed has left there
        os.close(descriptor)
        return 0
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return 0


def _locked(path: Path) -> int | None:
    """The file, open and locked; None if another has the lock. Raises RunnerError."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RunnerError(f"--parallel: cannot open {path} ({error.strerror}); {_ELSEWHERE}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.utime(descriptor)  # folders for temporary files are cleared of old ones
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def runtime_folder() -> Path:
    """The folder of the locks, the same for all processes of this user on this machine. Raises RunnerError."""
    folder = Path(os.environ.get(_FOLDER) or f"/tmp/sweepwise-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise RunnerError(f"--parallel: cannot make {folder} ({error.strerror}); {_ELSEWHERE}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RunnerError(f"--parallel: {folder} is another user's; {_ELSEWHERE}")
    return folder
