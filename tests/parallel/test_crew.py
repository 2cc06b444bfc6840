"""What the process that shows a study's progress hears of its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest

from planner.campaign.crew import Crew, Event


class Shell:
    """A worker that is a shell script."""

    def __init__(self, script: str, out: int) -> None:
        self._process = subprocess.Popen(["sh", "-c", script], stdout=out, start_new_session=True)
        self.pid, self.poll = self._process.pid, self._process.poll
        self.ended = False

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, grace_s: float = 0.0) -> None:
        self.ended = True
        self._process.kill()
        self._process.wait()


def line(**event: Any) -> str:
    return f"echo '{json.dumps(event)}'; "


def heard(crew: Crew) -> list[Event]:
    """All events until the last worker has ended."""
    found: list[Event] = []
    end = time.monotonic() + 10
    while len(crew) and time.monotonic() < end:
        found += crew.events(0.05)
    return found


@pytest.mark.parametrize(("last", "how"), [
    ("kill -KILL $$", "was killed by SIGKILL"), ("exit 3", "ended with status 3"), ("true", "ended with status 0")])
def test_one_that_ends_without_a_word_has_died(last: str, how: str) -> None:
    told = [line(worker=1, event="started", point={"x": 1}) + "echo 'no event'; echo '{'; " + last,
            line(worker=2, event="ended", reason="grid")]
    crew = Crew(lambda number, out: Shell(told[number - 1], out))
    crew.start()
    crew.start()
    events = heard(crew)
    assert [event for event in events if event["worker"] == 1] == [
        {"worker": 1, "event": "started", "point": {"x": 1}}, {"worker": 1, "event": "died", "how": how}]
    assert [event["event"] for event in events if event["worker"] == 2] == ["ended"]
    assert crew.started == 2 and len(crew) == 0


def test_a_line_that_comes_in_pieces_is_one_event() -> None:
    crew = Crew(lambda _, out: Shell("""printf '{"worker": 1, "eve'; sleep 0.2; printf 'nt": "ended"}\\n'""", out))
    crew.start()
    assert heard(crew) == [{"worker": 1, "event": "ended"}]


def test_all_end_with_the_crew() -> None:
    workers: list[Shell] = []

    def start(_: int, out: int) -> Shell:
        workers.append(Shell("sleep 100", out))
        return workers[-1]

    crew = Crew(start)
    crew.start()
    crew.start()
    crew.send(signal.SIGCONT)
    assert list(crew.events(0.0)) == []
    crew.end()
    assert all(worker.ended and worker.poll() is not None for worker in workers) and len(crew) == 0


def test_one_that_cannot_be_started_leaves_nothing_open() -> None:
    def start(_number: int, _out: int) -> Shell:
        raise OSError("no more processes")

    before, crew = os.listdir("/proc/self/fd"), Crew(start)  # noqa: PTH208 - names
    with pytest.raises(OSError, match="no more processes"):
        crew.start()
    assert os.listdir("/proc/self/fd") == before and len(crew) == 0  # noqa: PTH208
