"""Children that nest, leave their group, ignore signals or are just being started: all end with us, however we end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from runners import process_group, process_guard, process_table
from runners.process_group import ProcessGroup
from runners.process_table import find, members
from tests.runners.processes import sleepers, soon

ROOT = Path(process_group.__file__).parents[1]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
pytestmark = linux

# A process that leaves session and group and is nobody's child, as `nohup setsid vllm serve &` or a daemon does.
DAEMON = """
import os, sys
if child := os.fork():
    os.waitpid(child, 0)
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
# What a child may be: each starts one or more `sleep`s of the time that is put in for TIME.
TREES = {
    "direct": "exec sleep TIME",
    "wrapper": "sleep TIME; echo '{}'",
    "three shells": "sh -c \"sh -c 'sleep TIME; true'; true\"; true",
    "many": "for i in 1 2 3 4 5 6 7 8; do (sleep TIME; true) & done; wait",
    "orphan": "(sleep TIME &) ; sleep TIME",
    "own process group": "set -m; sleep TIME & wait",
    "ignores SIGTERM": "trap '' TERM; sleep TIME; sleep TIME",
    "stopped": "sleep TIME & sleep 0.2; kill -STOP $!; kill -STOP $$",
    "cleared environment": "env -i sleep TIME; true",
    "daemon": "DAEMON sleep TIME; sleep TIME",
    "child of a daemon": "DAEMON sh -c 'env -i sleep TIME; true'; sleep TIME",
    "daemon that shows no mark": "DAEMON env -i sleep TIME; sleep TIME",
    "daemon that ignores SIGTERM": "trap '' TERM; DAEMON env -i sh -c 'sleep TIME & wait; sleep TIME'; sleep TIME",
    "daemon of a daemon": "DAEMON env -i DAEMON setsid sh -c 'sleep TIME; true'; sleep TIME",
}


def command(script: str, time_s: str) -> list[str]:
    script = script.replace("DAEMON", f"{sys.executable} -S -c '{DAEMON}'").replace("TIME", time_s)
    return ["sh", "-c", script]


@pytest.fixture
def time_s() -> Iterator[str]:
    """A time to sleep that no other process on this machine has."""
    chosen = f"{random.randrange(10**5, 10**6)}.{random.randrange(10**6)}"
    yield chosen
    for pid in sleepers(chosen):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def groups() -> Iterator[list[ProcessGroup]]:
    made: list[ProcessGroup] = []
    yield made
    for group in made:
        group.end()


def start_host(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process that has children of its own."""
    return subprocess.Popen([sys.executable, "-S", "-c", script, *arguments], stdout=subprocess.PIPE, text=True,
                            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True)


HOST = """
import os, sys, time
from runners.process_group import ProcessGroup
group = ProcessGroup(sys.argv[1:], os.environ)
print(group.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_a_process_that_is_killed(tree: str, number: signal.Signals, time_s: str) -> None:
    host = start_host(HOST, *command(TREES[tree], time_s))
    assert host.stdout is not None and host.stdout.readline()
    least = 8 if tree == "many" else 2 if tree == "orphan" or "daemon" in tree else 1
    assert soon(lambda: len(sleepers(time_s)) >= least)
    host.send_signal(number)
    host.communicate()
    assert soon(lambda: not sleepers(time_s))


@pytest.mark.parametrize("tree", TREES)
def test_end_leaves_nothing(tree: str, time_s: str, groups: list[ProcessGroup]) -> None:
    group = ProcessGroup(command(TREES[tree], time_s), os.environ)
    groups.append(group)
    assert soon(lambda: len(sleepers(time_s)) > ("daemon" in tree))
    time.sleep(0.1)
    group.end(grace_s=0.2)
    assert not sleepers(time_s), "when end returns, not some time later"
    assert group.process.poll() is not None
    group.end()


def test_a_child_that_has_ended_leaves_only_what_has_left_its_session(time_s: str) -> None:
    script = "DAEMON sleep TIME1; (sleep TIME2 &); set -m; sleep TIME2 & exit 7"
    group = ProcessGroup(command(script, time_s), os.environ)
    assert group.process.wait(20) == 7
    assert soon(lambda: sleepers(f"{time_s}1") and len(sleepers(f"{time_s}2")) == 2)
    begin = time.monotonic()
    group.end(grace_s=5.0, detached=False)
    assert time.monotonic() - begin < 4, "what is left behind gets no time"
    assert not sleepers(f"{time_s}2")
    assert sleepers(f"{time_s}1")
    group.end()
    assert not sleepers(time_s)


def test_a_child_is_asked_before_it_is_killed(tmp_path: Path, groups: list[ProcessGroup]) -> None:
    """Both the leader and what it has started have time to put things in order."""
    inner = "trap 'sleep 0.3; echo inner >> said; exit' TERM; touch up; while :; do sleep 0.05; done"
    group = ProcessGroup(["sh", "-c", f'sh -c "{inner}"; true'], os.environ, cwd=tmp_path)
    groups.append(group)
    assert soon((tmp_path / "up").exists)
    group.end(grace_s=10.0)
    assert (tmp_path / "said").read_text() == "inner\n"


def test_a_second_end_leaves_a_number_alone_that_is_another_process_now(
    time_s: str, groups: list[ProcessGroup], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ProcessGroup(["true"], os.environ)
    first.end()
    other = ProcessGroup(["sleep", time_s], os.environ)
    groups.append(other)
    monkeypatch.setattr(ProcessGroup, "pid", property(lambda _: other.process.pid))
    first.end()
    assert other.process.poll() is None and soon(lambda: sleepers(time_s))


def test_statuses_and_streams_are_the_commands_own(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as out:
        group = ProcessGroup(["sh", "-c", "cat; pwd; echo err >&2; exit 3"], os.environ, cwd=tmp_path,
                             stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT)
        assert group.process.stdin is not None
        group.process.stdin.write(b"said\n")
        group.process.stdin.close()
        assert group.process.wait(20) == 3
        group.end()
        assert (tmp_path / "out").read_text() == f"said\n{tmp_path}\nerr\n"
    killed = ProcessGroup(["sh", "-c", "kill -SEGV $$"], os.environ)
    assert killed.process.wait(20) == -signal.SIGSEGV
    killed.end()
    with pytest.raises(FileNotFoundError):
        ProcessGroup(["no-such-benchmark"], os.environ)


LEAVES = """
import os, sys, time
from runners.process_group import ProcessGroup
group = ProcessGroup(sys.argv[2:], os.environ)
group.process.wait()
group.end(detached=False)
print(sys.argv[1], flush=True)
if sys.argv[1] == "killed":
    time.sleep(1000)
elif sys.argv[1] == "fails":
    raise ValueError
"""


@pytest.mark.parametrize("how", ["returns", "fails", "killed"])
def test_daemons_of_earlier_children_end_when_we_do(how: str, time_s: str) -> None:
    host = start_host(LEAVES, how, *command("DAEMON sleep TIME", time_s))
    assert host.stdout is not None and host.stdout.readline().strip() == how
    if how == "killed":
        assert soon(lambda: sleepers(time_s))
        host.kill()
    host.communicate()
    assert soon(lambda: not sleepers(time_s))


BUSY = """
import os, sys, threading
from runners import process_group
from runners.process_group import ProcessGroup
def work():
    while True:
        script = f"sleep {sys.argv[1]} & sleep 0.0{os.getpid() % 7}; exec sleep {sys.argv[1]}"
        group = ProcessGroup(["sh", "-c", script], os.environ)
        try:
            group.process.wait(0.02)
        except Exception:
            pass
        group.end()
for _ in range(4):
    threading.Thread(target=work).start()
while process_group._guard._process is None:
    pass
print(process_group._guard._process.pid, flush=True)
"""


def test_killed_at_any_moment_of_many_starts(time_s: str) -> None:
    """Children that are forked, executed, told of, ended: wherever the kill falls, the guard finds them."""
    for attempt in range(4):
        host = start_host(BUSY, time_s)
        assert host.stdout is not None
        guard = int(host.stdout.readline())
        time.sleep(random.Random(attempt).uniform(0.0, 0.2))
        host.kill()
        host.communicate()
        assert soon(partial(_ended, guard)), "the guard ends when all is done"
        assert not sleepers(time_s), f"attempt {attempt}: it started after the guard had looked"


@pytest.mark.parametrize(("told", "ends"), [(b">\n", True), (b">\n>\n<\n", True), (b">\n<\n", False)])
def test_the_guard_waits_for_a_child_that_was_being_started(told: bytes, ends: bool, time_s: str) -> None:
    """On a busy machine a child may take long from being forked to executing its command."""
    mark = f"mark-{time_s}."
    guard = subprocess.Popen([sys.executable, "-I", "-S", "-c", process_group._START, str(ROOT), mark],
                             stdin=subprocess.PIPE)
    assert guard.stdin is not None
    guard.stdin.write(told)
    guard.stdin.close()
    time.sleep(0.5)
    late = subprocess.Popen(["sleep", time_s], env={"ANY": mark}, start_new_session=True)
    try:
        assert guard.wait(20) == 0
        assert (late.poll() == -signal.SIGTERM) == ends
    finally:
        late.kill()
        late.wait()


def test_many_at_once(time_s: str, groups: list[ProcessGroup]) -> None:
    groups += [ProcessGroup(command(TREES["wrapper"], time_s), os.environ) for _ in range(20)]
    assert soon(lambda: len(sleepers(time_s)) == 20)
    groups[3].end()
    assert len(sleepers(time_s)) == 19, "that one only"
    for group in groups:
        group.end()
    assert not sleepers(time_s)


def test_a_session_does_not_outlive_its_leader_for_long(time_s: str, groups: list[ProcessGroup]) -> None:
    group = ProcessGroup(command(TREES["wrapper"], time_s), os.environ)
    groups.append(group)
    assert soon(lambda: sleepers(time_s))
    os.kill(group.pid, signal.SIGKILL)
    assert soon(lambda: not sleepers(time_s), 10), "nobody has called end"


GUARD_KILLED = """
import os, signal, sys, time
from runners import process_group
from runners.process_group import ProcessGroup
first = ProcessGroup(["sleep", sys.argv[1]], {})
guard = process_group._guard._process.pid
os.kill(guard, signal.SIGKILL)
os.waitid(os.P_PID, guard, os.WEXITED | os.WNOWAIT)
if sys.argv[2] == "while a child starts":  # as if it had been alive a moment ago
    process_group._guard._process.poll = lambda: None
second = ProcessGroup(["sleep", sys.argv[1]], {})
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("when", ["before", "while a child starts"])
def test_where_the_guard_is_killed_another_starts_with_the_next_child(when: str, time_s: str) -> None:
    host = start_host(GUARD_KILLED, time_s, when)
    assert host.stdout is not None and host.stdout.readline().strip() == "ready"
    assert soon(lambda: len(sleepers(time_s)) == 2)
    host.kill()
    host.communicate()
    assert soon(lambda: not sleepers(time_s))


ALONE = """
import os, signal, sys, time
from runners import process_group
from runners.process_group import ProcessGroup
group = ProcessGroup(sys.argv[2:], os.environ)
victim = process_group._guard._process if sys.argv[1] == "guard" else group._keeper
time.sleep(0.5)
victim.kill()
victim.wait()
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize(("victim", "tree"), [
    *(("guard", tree) for tree in ("wrapper", "many", "ignores SIGTERM", "daemon that shows no mark")),
    *(("keeper", tree) for tree in ("wrapper", "many", "daemon"))])
def test_nothing_outlives_us_where_one_of_the_two_was_killed_before(victim: str, tree: str, time_s: str) -> None:
    host = start_host(ALONE, victim, *command(TREES[tree], time_s))
    assert host.stdout is not None and host.stdout.readline().strip() == "ready"
    assert sleepers(time_s)
    host.kill()
    host.communicate()
    assert soon(lambda: not sleepers(time_s), 6)


def test_a_child_whose_keeper_was_killed_still_ends(time_s: str, groups: list[ProcessGroup]) -> None:
    group = ProcessGroup(command(TREES["daemon"], time_s), os.environ)
    groups.append(group)
    assert group._keeper is not None and soon(lambda: len(sleepers(time_s)) == 2)
    group._keeper.kill()
    group._keeper.wait()
    with pytest.raises(subprocess.TimeoutExpired):
        group.process.wait(0.2)
    group.end()
    assert not sleepers(time_s) and group.process.poll() is not None


def test_a_keeper_goes_with_its_child(groups: list[ProcessGroup]) -> None:
    """And not before what the child has left behind."""
    group = ProcessGroup(["sh", "-c", "env -i setsid -f sleep 0.5; exit 3"], os.environ)
    groups.append(group)
    assert group.process.wait(20) == 3 and group._keeper is not None
    group.end(detached=False)
    assert group._keeper.poll() is None
    assert group._keeper.wait(20) == 0


def test_many_orphans_leave_no_zombies(tmp_path: Path, groups: list[ProcessGroup]) -> None:
    script = "i=0; while [ $i -lt 50 ]; do (true & true); i=$((i+1)); done; touch done; sleep 1000"
    group = ProcessGroup(["sh", "-c", script], os.environ, cwd=tmp_path)
    groups.append(group)
    assert group._keeper is not None and soon((tmp_path / "done").exists)
    below = Path(f"/proc/{group._keeper.pid}/task/{group._keeper.pid}/children")
    assert soon(lambda: len(below.read_text().split()) == 1)


def test_a_process_that_merely_has_the_number_is_left_alone(time_s: str) -> None:
    other = subprocess.Popen(["sleep", time_s], start_new_session=True)
    try:
        assert soon(lambda: sleepers(time_s))
        began = process_table.started_at(other.pid)
        assert list(find({other.pid}, started={other.pid: began})) == [other.pid]
        assert not find({other.pid}, started={other.pid: began - 1})
        assert not process_table.end_processes({other.pid}, started={other.pid: began - 1})
        (seen,) = (process for process in process_table._running() if process.pid == other.pid)
        process_table._send_to(seen._replace(started=began - 1), signal.SIGKILL)
        time.sleep(0.1)
        assert other.poll() is None
        process_table._send_to(seen, signal.SIGKILL)
        assert other.wait(20) == -signal.SIGKILL
    finally:
        other.kill()
        other.wait()


FORKS = """
import os, sys, time
from runners.process_group import ProcessGroup
group = ProcessGroup(["sleep", sys.argv[1]], os.environ)
copy = os.fork()
if copy == 0:
    own = ProcessGroup(["sleep", sys.argv[1] + "1"], os.environ)
    time.sleep(1000)
print(copy, flush=True)
time.sleep(1000)
"""


def test_a_copy_of_us_does_not_keep_our_children_alive(time_s: str) -> None:
    host = start_host(FORKS, time_s)
    assert host.stdout is not None
    copy = int(host.stdout.readline())
    try:
        assert soon(lambda: len(sleepers(time_s)) == 2)
        host.kill()
        assert soon(lambda: len(sleepers(time_s)) == 1)
        assert sleepers(f"{time_s}1"), "the copy's own child is the copy's"
    finally:
        os.kill(copy, signal.SIGKILL)
    host.communicate()
    assert soon(lambda: not sleepers(time_s))


def test_a_benchmark_that_has_children_of_its_own_this_way(time_s: str) -> None:
    """The inner process's children are in other sessions, under marks of their own and under ours."""
    inner = [sys.executable, "-S", "-c", HOST, *command(TREES["daemon"], time_s)]
    host = start_host(HOST, *inner)
    assert host.stdout is not None
    session = int(host.stdout.readline())
    assert soon(lambda: len(sleepers(time_s)) == 2)
    (guard,) = {pid for pid, group in find({session}, _mark(session)).items() if b"process_guard" in _command(pid)}
    host.kill()
    host.communicate()
    assert soon(lambda: not sleepers(time_s) and not _command(guard))


def _mark(pid: int) -> str:
    """The innermost mark of a process."""
    variables = dict(text.partition("=")[::2] for text in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    return variables["SWEEPWISE_PROCESS_GROUP"].split(" ")[-1]


def _ended(pid: int) -> bool:
    return not _command(pid)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


MAPS = "import mmap, sys, time; f = open(sys.argv[1], 'w+b'); f.write(b'x' * 4096); f.flush(); " \
       "m = mmap.mmap(f.fileno(), 4096); print(flush=True); time.sleep(1000)"
OWNER = """
import os, sys, time
from runners.process_group import ProcessGroup
group = ProcessGroup([sys.executable, "-S", "-c", *sys.argv[2:]], os.environ, stdout=1,
                     owns_memory=sys.argv[1] != "others'")
time.sleep(0.5)
if sys.argv[1] == "noted":
    group.note_memory()
    os.kill(group.pid, 9)
    while open(f"/proc/{group.pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("whose", ["own", "noted", "others'"])
def test_the_guard_removes_shared_memory_that_the_child_owns(whose: str, time_s: str) -> None:
    path = Path(f"/dev/shm/sweepwise-test-{time_s}")
    host = start_host(OWNER, whose, MAPS, str(path))
    assert host.stdout is not None and host.stdout.readline() == "\n" and host.stdout.readline() == "ready\n"
    try:
        assert path.exists()
        host.kill()
        host.communicate()
        if whose != "others'":
            assert soon(lambda: not path.exists())
        else:
            time.sleep(0.5)
            assert path.exists(), "a command may map what is another's"
    finally:
        path.unlink(missing_ok=True)


def test_the_guard_finds_the_memory_of_a_process_that_ends_by_itself_meanwhile(
    time_s: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(f"/dev/shm/sweepwise-test-{time_s}")
    child = subprocess.Popen([sys.executable, "-S", "-c", MAPS.replace("1000", "0.2"), str(path)],
                             stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None and child.stdout.readline()
    sessions = process_guard._Sessions()
    sessions._note(b"+%d 1" % child.pid)

    def slowly(session: int) -> set[Path]:
        time.sleep(0.4)
        return process_table.shared_memory(session)

    monkeypatch.setattr(process_guard, "shared_memory", slowly)
    try:
        assert sessions.end_all("") and not path.exists()
    finally:
        path.unlink(missing_ok=True)
        child.communicate()


def test_what_is_stopped_ends_in_good_order(time_s: str) -> None:
    child = subprocess.Popen(["sleep", time_s], start_new_session=True)
    child.send_signal(signal.SIGSTOP)
    assert process_table.end_processes([child.pid], grace_s=5.0)
    assert child.wait() == -signal.SIGTERM


NO_PROC = """
import os, sys, time
from pathlib import Path
from runners import process_group
process_group._START = ("import os, sys; from pathlib import Path; sys.path.append(sys.argv[1]); del os.pidfd_open;"
                        "from runners import process_table; process_table._PROCESSES = Path('/nowhere');"
                        "from runners.process_guard import main; main()")
group = process_group.ProcessGroup(sys.argv[1:], os.environ)
print(group.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("tree", ["direct", "wrapper", "three shells", "many", "orphan", "ignores SIGTERM"])
def test_without_proc_the_process_group_ends(tree: str, time_s: str, monkeypatch: pytest.MonkeyPatch) -> None:
    host = start_host(NO_PROC, *command(TREES[tree], time_s))
    assert host.stdout is not None and host.stdout.readline()
    assert soon(lambda: sleepers(time_s))
    host.kill()
    host.communicate()
    assert soon(lambda: not sleepers(time_s))
    group = ProcessGroup(command(TREES[tree], time_s), os.environ)
    assert soon(lambda: sleepers(time_s))
    with monkeypatch.context() as patched:
        patched.setattr(process_table, "_PROCESSES", Path("/nowhere"))
        assert members(group.pid) == [group.pid]
        group.end(grace_s=0.2)
        assert members(group.pid) == []
    assert soon(lambda: not sleepers(time_s))


def test_the_guard_needs_the_standard_library_only() -> None:
    report = ("import sys; sys.path.append(sys.argv[1]); import runners.process_guard; "
              "print(*sorted({name.partition('.')[0] for name in sys.modules}))")
    loaded = subprocess.run([sys.executable, "-I", "-S", "-c", report, str(ROOT)], capture_output=True, text=True,
                            check=True).stdout.split()
    assert "runners" in loaded
    assert set(loaded) - sys.stdlib_module_names <= {"runners", "__main__"}
    assert not {"subprocess", "logging", "asyncio", "json"} & set(loaded), "what takes time to import"


def test_find_leaves_out_what_has_ended(groups: list[ProcessGroup]) -> None:
    group = ProcessGroup(["true"], os.environ)
    groups.append(group)
    assert soon(lambda: not members(group.pid)), "ended, and not waited for"
    assert os.getpid() not in find({os.getsid(0)})
