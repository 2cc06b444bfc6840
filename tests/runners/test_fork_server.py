"""The fork server: children that find their modules imported, and are otherwise as separate as any child."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runners import fork_server
from runners.fork_server import ForkServer, ForkServerError, can_fork
from runners.held_descriptors import held
from runners.process_group import ProcessGroup
from runners.vllm_imports import SWITCH, VllmImports
from tests.runners.processes import sleepers, soon

pytestmark = pytest.mark.skipif(not can_fork(), reason="needs Linux")

CHILD = """
import json, os, sys
import heavy
json.dump({
    "arguments": sys.argv[1:], "imported_by": heavy.PID, "parent": os.getppid(), "session": os.getsid(0),
    "pid": os.getpid(), "variable": os.environ.get("OWN"), "theirs": os.environ.get("THEIRS"), "cwd": os.getcwd(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")), "said": sys.stdin.read(),
    "cores": sorted(os.sched_getaffinity(0)), "name": __name__}, sys.stdout)
"""
MODULES = {
    "heavy": "import os\nPID = os.getpid()\n",
    "child": CHILD,
    "ends": "import os, signal, sys\nexec(sys.argv[1])\n",
    "tree": "import subprocess, sys, time\nsubprocess.Popen(['sleep', sys.argv[1]], start_new_session=True)\n"
            "subprocess.Popen(['sleep', sys.argv[1]])\nprint('up', flush=True)\ntime.sleep(1000)\n",
    "broken": "raise OSError('no such library')\n",
    "torch": "import os\nPID = os.getpid()\n"
             "class cuda:\n    is_initialized = staticmethod(lambda: False)\n"
             "    _is_in_bad_fork = staticmethod(lambda: os.getpid() != PID)\n",
}


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Variables under which the modules above are found."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    return {**os.environ, "PYTHONPATH": str(folder), "THEIRS": "1"}


@pytest.fixture
def server(variables: dict[str, str]) -> Iterator[ForkServer]:
    made = ForkServer(variables, ["heavy"])
    yield made
    made.close()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def start(server: ForkServer, *command: str, **options: object) -> ProcessGroup:
    return ProcessGroup(list(command), {**os.environ, "OWN": "2"}, popen=server.popen, **options)  # type: ignore[arg-type]


def test_a_child_finds_its_modules_and_is_otherwise_its_own(server: ForkServer, tmp_path: Path) -> None:
    read, write = os.pipe()
    with (tmp_path / "out").open("w+b") as out:
        group = start(server, "child", "a", str(write), cwd=tmp_path, stdin=subprocess.PIPE, stdout=out,
                      pass_fds=(write,))
        stdin = group.process.stdin
        assert stdin is not None
        stdin.write(b"hello")
        stdin.close()
        assert group.process.wait(20) == 0
    told = json.loads((tmp_path / "out").read_text())
    os.close(read)
    os.close(write)
    assert told["imported_by"] == told["parent"] == server.pid, "the module came with the fork"
    assert told["pid"] == told["session"] == group.pid
    assert (told["name"], told["said"], told["cwd"]) == ("__main__", "hello", str(tmp_path))
    assert (told["variable"], told["theirs"]) == ("2", None), "its own variables, and no others"
    assert told["arguments"][0] == "a" and int(told["arguments"][1]) in told["descriptors"]
    assert len(told["descriptors"]) == 5, "three streams, the one passed, and that of the listing"


def test_a_child_has_what_is_held_and_an_argument_of_that_number_is_left_alone(
    server: ForkServer, tmp_path: Path
) -> None:
    """A lock of a device lasts as long as the engine. `--max-num-seqs 16` has nothing to do with descriptor 16."""
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    held.add(lock)
    try:
        with (tmp_path / "out").open("w+b") as out:
            text = "import glob; print(sys.argv[2], *map(os.path.realpath, glob.glob('/proc/self/fd/*')))"
            assert start(server, "ends", text, str(lock), stdout=out).process.wait(20) == 0
    finally:
        held.discard(lock)
        os.close(lock)
    argument, *files = (tmp_path / "out").read_text().split()
    assert argument == str(lock) and str(tmp_path / "lock") in files


def test_a_child_may_use_the_cores_that_this_process_may_use_now(server: ForkServer, tmp_path: Path) -> None:
    """Not those of the time when the modules were imported."""
    all_cores = os.sched_getaffinity(0)
    if len(all_cores) < 2:
        pytest.skip("needs two cores")
    try:
        os.sched_setaffinity(0, {max(all_cores)})
        with (tmp_path / "out").open("w+b") as out:
            assert start(server, "ends", "print(os.sched_getaffinity(0))", stdout=out).process.wait(20) == 0
    finally:
        os.sched_setaffinity(0, all_cores)
    assert (tmp_path / "out").read_text().strip() == str({max(all_cores)})


def test_a_child_keeps_nothing_of_its_siblings(server: ForkServer) -> None:
    """Else the end of one is not noticed before the end of the other."""
    first = start(server, "ends", "sys.stdin.read()", stdin=subprocess.PIPE)
    second = start(server, "ends", "import time; time.sleep(1000)")
    third = start(server, "ends", "import time; time.sleep(1000)")
    assert soon(lambda: all(len(list(Path(f"/proc/{group.pid}/fd").iterdir())) == 3 for group in (second, third)))
    assert first.process.stdin is not None
    first.process.stdin.close()
    assert first.process.wait(20) == 0
    second.end()
    assert gone(second.pid) and not gone(third.pid) and server.alive


@pytest.mark.parametrize(("script", "status"), [
    ("pass", 0), ("sys.exit(3)", 3), ("raise ValueError(1)", 1), ("sys.exit('said')", 1), ("os._exit(7)", 7),
    ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV)])
def test_the_status_of_a_child_is_known(server: ForkServer, script: str, status: int) -> None:
    group = start(server, "ends", script)
    assert group.process.wait(20) == status == group.process.poll()
    group.end()
    assert start(server, "ends", "pass").process.wait(20) == 0, "it goes on forking"


def test_waiting_has_a_limit(server: ForkServer) -> None:
    group = start(server, "ends", "import time; time.sleep(1000)")
    with pytest.raises(subprocess.TimeoutExpired):
        group.process.wait(0.1)
    assert group.process.poll() is None
    group.end()
    assert group.process.poll() == -signal.SIGKILL


def test_cores_of_a_child(server: ForkServer, tmp_path: Path) -> None:
    core = sorted(os.sched_getaffinity(0))[-1:]
    with (tmp_path / "out").open("w+b") as out:
        child = server.popen(["ends", "print(os.sched_getaffinity(0))"], env=os.environ, stdout=out, cores=core)
        assert child.wait(20) == 0
    assert (tmp_path / "out").read_text().strip() == str(set(core))


def test_ending_a_child_ends_its_tree_and_no_more(server: ForkServer, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w+b") as out:
        group = start(server, "tree", "31416.27182", stdout=out)
        assert soon(lambda: len(sleepers("31416.27182")) == 2)
        group.end()
    assert not sleepers("31416.27182") and server.alive


def test_closing_ends_what_was_forked(server: ForkServer) -> None:
    group = start(server, "tree", "27182.31416")
    assert soon(lambda: len(sleepers("27182.31416")) == 2)
    server.close()
    assert not sleepers("27182.31416") and gone(group.pid) and not server.alive
    group.end()


def test_a_child_outlives_a_killed_server_and_can_still_be_ended(server: ForkServer) -> None:
    group = start(server, "tree", "14142.17320")
    assert soon(lambda: len(sleepers("14142.17320")) == 2)
    os.kill(server.pid, signal.SIGKILL)
    assert soon(lambda: not server.alive)
    assert group.process.poll() is None
    with pytest.raises(ForkServerError):
        start(server, "ends", "pass")
    group.end()
    assert gone(group.pid) and not sleepers("14142.17320")
    assert group.process.poll() is not None


HOST = """
import os, sys, time
from runners.fork_server import ForkServer
from runners.process_group import ProcessGroup
server = ForkServer(os.environ, ["heavy"])
group = ProcessGroup(["tree", sys.argv[1]], os.environ, popen=server.popen)
print(server.pid, group.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("victim", ["host", "server", "child"])
def test_nothing_outlives_the_host(variables: dict[str, str], victim: str) -> None:
    time_s = f"{random.randrange(10**5, 10**6)}.{random.randrange(10**6)}"
    path = os.pathsep.join([variables["PYTHONPATH"], str(Path(__file__).resolve().parents[2])])
    host = subprocess.Popen([sys.executable, "-c", HOST, time_s], stdout=subprocess.PIPE, text=True,
                            env={**variables, "PYTHONPATH": path}, start_new_session=True)
    assert host.stdout is not None
    server, child = map(int, host.stdout.readline().split())
    assert soon(lambda: len(sleepers(time_s)) >= 2)
    os.kill({"host": host.pid, "server": server, "child": child}[victim], signal.SIGKILL)
    if victim == "child":
        assert soon(lambda: gone(child)) and not gone(server), "it costs nobody else"
    host.kill()
    host.communicate()
    assert soon(lambda: gone(server) and gone(child) and not sleepers(time_s))


def test_variables_that_imports_set_are_kept(variables: dict[str, str], tmp_path: Path) -> None:
    """vLLM sets some when it is imported, and a child imports nothing again; what the caller sets has precedence."""
    (Path(variables["PYTHONPATH"]) / "setting.py").write_text(
        "import os\nos.environ.update(MADE='1', CHANGED='1', ASKED='1')\n")
    server = ForkServer({**variables, "CHANGED": "0"}, ["setting"])
    script = "print([os.environ.get(name) for name in ('MADE', 'CHANGED', 'ASKED')])"
    with (tmp_path / "out").open("w+b") as out:
        child = server.popen(["ends", script], env={**variables, "CHANGED": "0", "ASKED": "2"}, stdout=out)
        assert child.wait(20) == 0
    assert (tmp_path / "out").read_text().strip() == "['1', '1', '2']"
    server.close()


def test_the_number_of_a_child_stays_its_own_until_its_end_is_known(server: ForkServer) -> None:
    group = start(server, "ends", "pass")
    state = Path(f"/proc/{group.pid}/stat")
    assert soon(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z"), "a zombie, as a child of Popen is"
    time.sleep(0.2)
    assert state.exists()
    assert group.process.poll() == 0
    assert soon(lambda: not state.exists())


def test_a_server_that_does_not_answer_is_ended(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have forked a child that nobody knows of: nothing of it may stay."""
    server.import_s(20)
    os.kill(server.pid, signal.SIGSTOP)
    monkeypatch.setattr(fork_server, "_FORK_S", 0.2)
    with pytest.raises(ForkServerError, match="no answer"):
        server.popen(["ends", "pass"], env=os.environ)
    assert not server.alive and gone(server.pid)


def test_what_cannot_be_imported_is_a_reason(variables: dict[str, str]) -> None:
    server = ForkServer(variables, ["heavy", "broken"])
    with pytest.raises(ForkServerError, match="OSError: no such library"):
        server.import_s(20)
    server.close()


def test_nothing_is_forked_once_a_device_was_touched(variables: dict[str, str]) -> None:
    server = ForkServer(variables, ["heavy", "torch"])
    with pytest.raises(ForkServerError, match="touched cuda"):
        server.import_s(20)
    with pytest.raises(ForkServerError):
        server.popen(["child"], env=variables)
    server.close()


def test_imports_are_paid_for_once_and_shared(variables: dict[str, str]) -> None:
    imports = VllmImports(["heavy"])
    imports.begin(variables)
    first, paid = imports.for_engine({**variables, "VLLM_CPU_OMP_THREADS_BIND": "0"}, 20)
    again, free = imports.for_engine({**variables, "VLLM_CPU_OMP_THREADS_BIND": "1"}, 20)
    assert first is not None and first is again and imports.server is first
    assert paid > 0 == free
    other, more = imports.for_engine({**variables, "VLLM_ATTENTION_BACKEND": "X"}, 20)
    assert other is not None and other is not first and more > 0, "other variables may change what is imported"
    assert not first.alive
    imports.close()
    assert not other.alive and imports.server is None


def test_engines_import_by_themselves_where_nothing_can_be_forked(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = VllmImports(["broken"])
    began = time.monotonic()
    assert imports.for_engine(variables, 20) == (None, 0.0)
    tried = time.monotonic() - began
    began = time.monotonic()
    assert imports.for_engine(variables, 20) == (None, 0.0)
    assert time.monotonic() - began < tried / 2, "it is not tried again"
    monkeypatch.setenv(SWITCH, "0")
    assert VllmImports(["heavy"]).for_engine(variables, 20) == (None, 0.0)
