"""Devices that processes of one machine take from each other's hands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from planner.space.types import RunnerError
from runners.device_pool import DevicePool, runtime_folder
from runners.held_descriptors import held
from runners.process_group import ProcessGroup
from tests.runners.processes import soon

NAMES = ["0", "1", "2", "3"]
ROOT = Path(__file__).parents[2]
TAKES = """import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from runners.device_pool import DevicePool
from runners.process_group import ProcessGroup
pool = DevicePool(["0", "1", "2", "3"], ["0", "1", "2", "3"], Path({folder!r}))
pool.take(3)
group = ProcessGroup(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], {{"PATH": {path!r}}})
print(group.pid, flush=True)
time.sleep(100)
"""


def pool(folder: Path) -> DevicePool:
    return DevicePool(NAMES, NAMES, folder)


@pytest.fixture(autouse=True)
def nothing_stays_held() -> Iterator[None]:
    """Every child that a later test starts would have it open."""
    yield
    while held:
        os.close(held.pop())


def at_once() -> Callable[[], bool]:
    """Give up after one try."""
    return iter((False, True)).__next__


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended may not have been waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Taking:
    """A pool that takes devices in a thread."""

    def __init__(self, folder: Path, count: int) -> None:
        self.pool = pool(folder)
        self._thread = threading.Thread(target=self.pool.take, args=(count,), daemon=True)
        self._thread.start()

    def has(self, within_s: float = 2.0) -> bool:
        self._thread.join(within_s)
        return not self._thread.is_alive()


def test_a_device_is_held_by_one(tmp_path: Path) -> None:
    first, second = pool(tmp_path), pool(tmp_path)
    assert first.take(1) and first.mine == ("0",)
    assert second.take(3) and second.mine == ("1", "2", "3")
    third = Taking(tmp_path, 1)
    assert not third.has(0.2)
    first.give_back()
    assert third.has() and third.pool.mine == ("0",) and first.mine == ()
    assert not held - {d for p in (second, third.pool) for d in p._mine.values()}


def test_who_needs_two_does_not_starve_behind_those_who_need_one(tmp_path: Path) -> None:
    """Four hold one each between two runs. One is asked for two: all are wanted, until two have been given back. Who
    comes later waits behind, even for what is free."""
    keepers = [pool(tmp_path) for _ in NAMES]
    assert all(keeper.take(1) for keeper in keepers)
    assert not any(keeper.is_wanted() for keeper in keepers)
    two = Taking(tmp_path, 2)
    assert soon(lambda: all(keeper.is_wanted() for keeper in keepers), 2)
    keepers[0].give_back()
    later = Taking(tmp_path, 1)
    assert not later.has(0.2) and not two.has(0.0)
    keepers[3].give_back()
    assert two.has() and set(two.pool.mine) == {"0", "3"}
    assert soon(keepers[1].is_wanted, 2)  # by the later one
    keepers[1].give_back()
    assert later.has() and not keepers[2].is_wanted()


def test_waiting_can_be_given_up(tmp_path: Path) -> None:
    first, asked = pool(tmp_path), threading.Event()
    assert first.take(3)
    second = pool(tmp_path)
    threading.Timer(0.2, asked.set).start()
    assert not second.take(2, asked.is_set) and second.mine == ()
    assert not first.is_wanted() and pool(tmp_path).take(1)


def test_a_process_that_is_killed_gives_its_devices_back_once_its_engine_has_ended(tmp_path: Path) -> None:
    """The engine ignores SIGTERM: it has its devices for two seconds longer than the process that had started it."""
    text = TAKES.format(root=str(ROOT), folder=str(tmp_path), path=os.environ["PATH"])
    running = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    engine = int(running.stdout.readline())
    running.kill()
    running.wait()
    mine = pool(tmp_path)
    assert alive(engine) and not mine.take(2, at_once())
    assert soon(lambda: mine.take(4, at_once())) and not alive(engine)
    running.stdout.close()


def test_devices_that_are_given_back_are_free_though_a_child_lives_on(tmp_path: Path) -> None:
    first = pool(tmp_path)
    assert first.take(4)
    child = ProcessGroup(["sleep", "60"], dict(os.environ))
    first.give_back()
    assert pool(tmp_path).take(4, at_once())
    os.kill(child.pid, signal.SIGKILL)
    child.end()


def test_a_folder_that_is_cleared_makes_no_second_lock(tmp_path: Path) -> None:
    """A lock on a file that has been removed is none: others make a new file."""
    first, second = pool(tmp_path), pool(tmp_path)
    (tmp_path / "0").touch()
    descriptor = os.open(tmp_path / "0", os.O_RDWR)
    (tmp_path / "0").unlink()
    os.close(descriptor)
    assert first.take(4) and not second.take(1, at_once())


def test_the_folder_is_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEPWISE_RUNTIME_DIR", str(tmp_path / "own"))
    assert runtime_folder().stat().st_mode & 0o777 == 0o700
    for bad in (tmp_path / "no" / "such", tmp_path / "file"):
        (tmp_path / "file").touch()
        monkeypatch.setenv("SWEEPWISE_RUNTIME_DIR", str(bad))
        with pytest.raises(RunnerError, match="set SWEEPWISE_RUNTIME_DIR to a folder of yours"):
            runtime_folder()
