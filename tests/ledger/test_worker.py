"""Who made a run: the same name for no two processes, and no answer where none can be had."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from planner.ledger import worker as module
from planner.ledger.worker import is_alive, this_worker

ME = ("host", "pid", "started", "boot", "namespace", "token")
SAY = "from planner.ledger.worker import this_worker; print(this_worker(), flush=True); input()"


def me(**changed: str) -> str:
    """This process's identity with some parts changed."""
    return "|".join({**dict(zip(ME, this_worker().split("|"), strict=True)), **changed}.values())


@pytest.fixture
def container() -> str:
    """A command's beginning that runs the rest as process 1 of a namespace, as a container does."""
    begin = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    try:
        subprocess.run([*begin, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may make no process namespace")
    return " ".join(begin)


def started(code: str, *begin: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*begin, sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            text=True)


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_a_zombie_is_dead() -> None:
    with started(SAY) as child:
        worker = said(child)
        assert is_alive(worker)
        child.kill()
        # Killed, and not yet waited for: its number is still taken.
        Path(f"/proc/{child.pid}/stat").read_text()
        for _ in range(1000):
            if not is_alive(worker):
                break
        else:
            pytest.fail("a killed process that nobody waited for still counts as alive")
        assert is_alive(worker) is False


def test_what_can_be_seen_from_here() -> None:
    assert is_alive(this_worker()) is True
    assert is_alive(me(started="1")) is False and is_alive(me(pid="999999999")) is False
    assert is_alive("no worker at all") is False and is_alive("") is False and is_alive("a|b|c|d|e|f") is None


@pytest.mark.parametrize("part", ["host", "boot", "namespace", "token"])
def test_another_place_cannot_be_seen_whatever_its_process_numbers(part: str) -> None:
    """Another machine, a container beside this one, a machine that was copied while this process ran."""
    assert is_alive(me(**{part: "other"})) is None
    if part != "token":
        assert is_alive(me(**{part: "other", "pid": "999999999"})) is None


@pytest.mark.parametrize("function", ["_read", "_link"])
def test_a_place_that_says_nothing_of_itself_is_not_taken_for_another_alike(
    monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setattr(module, function, lambda _: "")
    module._here.cache_clear()
    try:
        assert is_alive(this_worker()) is True and is_alive(me(pid="999999999")) is None
    finally:
        module._here.cache_clear()


def test_a_fork_is_another_worker_and_a_thread_is_not() -> None:
    out, into = os.pipe()
    if not (pid := os.fork()):
        os.write(into, this_worker().encode())
        os._exit(0)
    os.close(into)
    child = os.read(out, 4096).decode()
    os.waitpid(pid, 0)
    assert child.split("|")[1] == str(pid) and child.split("|")[-1] != this_worker().split("|")[-1]
    assert is_alive(child) is False
    names: list[str] = []
    thread = threading.Thread(target=lambda: names.append(this_worker()))
    thread.start()
    thread.join()
    assert names == [this_worker()]


def test_an_identity_of_an_earlier_version_is_read_as_it_was() -> None:
    host, pid, start, *_ = this_worker().split("|")
    assert is_alive(f"{host}|{pid}|{start}") is True and is_alive(f"{host}|{pid}|1") is False
    assert is_alive("elsewhere|1|1") is True  # it holds no lease, so that its silence says nothing


def test_two_containers_with_one_host_name_cannot_see_each_other(container: str) -> None:
    """Both are process 1 of their machine: neither takes the other for itself, or for a dead process of its own."""
    ask = "from planner.ledger.worker import is_alive, this_worker\n" \
          "print(this_worker(), flush=True)\nwhile True: print(is_alive(input()), flush=True)"
    with started(ask, *container.split()) as one, started(ask, *container.split()) as two:
        assert one.stdin is not None and two.stdin is not None
        first, second = said(one), said(two)
        assert first.split("|")[:2] == [this_worker().split("|")[0], "1"] == second.split("|")[:2]
        print(second, file=one.stdin, flush=True)
        assert said(one) == "None"
        print(first, file=one.stdin, flush=True)
        assert said(one) == "True"
        assert is_alive(first) is None
        one.kill()
        one.wait()
        print(first, file=two.stdin, flush=True)
        assert said(two) == "None"
        two.kill()


@pytest.mark.usefixtures("container")
def test_a_namespace_with_the_process_table_of_another_sees_nothing() -> None:
    """`unshare --pid` alone leaves the outer /proc, where every number is another process's."""
    code = ("import os; from planner.ledger.worker import is_alive, this_worker\n"
            "p = this_worker().split('|'); p[1] = '2'; print(is_alive('|'.join(p)), flush=True); input()")
    with started(code, "unshare", "--pid", "--fork", "--kill-child") as inner:
        assert said(inner) == "None"
        inner.kill()
