"""The command runner: what it makes of any benchmark's output, ends, and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from planner.space.failure import FailureKind
from planner.space.fingerprint_id import environment_id
from planner.space.types import Axis, Measurement, Proposal, RunnerContext, RunnerError, Status, StudyError, Value
from planner.testing.runner import check_runner
from runners import command
from runners.command import CommandRunner
from runners.command_text import OutputError, Template, parse_metrics

PYTHON = [sys.executable, "-S", "-c"]
AXES = (Axis("batch", (1, 2, 4)), Axis("mode", ("a b", "$HOME;x")), Axis("on", (False, True)))
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def runner(directory: Path, *command: str, targets: tuple[str, ...] = ("y",), **given: Any) -> CommandRunner:
    context = RunnerContext(AXES, targets, directory)
    return CommandRunner(CommandRunner.Config(command=list(command), **given), context)


def script(directory: Path, text: str, **given: Any) -> CommandRunner:
    """A runner of a Python text in which {{ }} are braces and {batch} … are axes."""
    return runner(directory, *PYTHON, text, **given)


def proposal(batch: int = 1, mode: str = "a b", on: bool = True, seed: int = 7) -> Proposal:
    point: dict[str, Value] = {"batch": batch, "mode": mode, "on": on}
    return Proposal(point, (point,), seed)


def run(replay: CommandRunner, **point: Any) -> Measurement:
    return replay.measure(proposal(**point))


def metrics(measurement: Measurement) -> dict[str, tuple[float, ...]]:
    assert measurement.status is Status.OK, measurement.reason
    (reading,) = measurement.readings
    return dict(reading.metrics)


def failure(measurement: Measurement) -> str:
    assert measurement.status is Status.FAILED and not measurement.readings
    assert measurement.cost.seconds > 0
    return measurement.reason


def alive(pid: int) -> bool:
    """Whether the process runs (one that ended and is not yet collected does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pid: int, within_s: float = 5) -> bool:
    end = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def test_the_last_line_is_the_result(tmp_path: Path) -> None:
    text = ("print('warming {{up}}'); "
            "print('{{\"y\": {batch}, \"z\": [1, 2.5], \"u\": null, \"date\": \"now\"}}\\n\\n ')")
    done = run(script(tmp_path, text, accelerators="batch * 2"), batch=4)
    assert metrics(done) == {"y": (4.0,), "z": (1.0, 2.5)}
    assert all(type(value) is float for values in metrics(done).values() for value in values)
    assert done.cost.accelerators == 8 and done.cost.start_s == 0 == done.cost.warmup_s
    assert 0 < done.cost.measure_s < 10 and done.readings[0].seconds == done.cost.seconds
    assert done.readings[0].point == {"batch": 4, "mode": "a b", "on": True}


def test_no_shell_ever_sees_the_values(tmp_path: Path) -> None:
    text = "import sys, json; open('seen.json', 'w').write(json.dumps(sys.argv[1:])); print('{{\"y\": 1}}')"
    words = ["{mode}", "--on={on}", "{seed}", "{{batch}}", "; touch evil", "{batch}{batch}"]
    replay = runner(tmp_path, *PYTHON, text, *words)
    metrics(run(replay, mode="$HOME;x", batch=2))
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen == ["$HOME;x", "--on=true", "7", "{batch}", "; touch evil", "22"]
    assert not (tmp_path / "evil").exists()


def test_repeats_and_warm_ups(tmp_path: Path) -> None:
    text = ("import pathlib, time; p = pathlib.Path('n'); n = len(p.read_text()) if p.exists() else 0; "
            "p.write_text('x' * (n + 1)); time.sleep(0.2 if n < 2 else 0); print('{{\"y\": [%d, %d]}}' % (n, n))")
    done = run(script(tmp_path, text, repeats=3, warmup=2))
    assert metrics(done) == {"y": (2, 2, 3, 3, 4, 4)}
    assert done.cost.warmup_s > 0.4 and done.cost.measure_s > 0
    assert done.readings[0].seconds == done.cost.warmup_s + done.cost.measure_s


def test_a_failing_warm_up_is_a_failed_run(tmp_path: Path) -> None:
    failed = run(script(tmp_path, "raise SystemExit(3)", warmup=1, repeats=5))
    assert failure(failed) == "warm-up: exit status 3"
    assert failed.cost.warmup_s > 0 and failed.cost.measure_s < 0.05


def test_a_later_repeat_that_fails_fails_the_run(tmp_path: Path) -> None:
    text = ("import pathlib; p = pathlib.Path('n'); n = len(p.read_text()) if p.exists() else 0; "
            "p.write_text('x' * (n + 1)); print('{{\"y\": 1}}'); raise SystemExit('out of memory' if n else 0)")
    assert failure(run(script(tmp_path, text, repeats=2))) == "exit status 1: out of memory"


@pytest.mark.parametrize(("text", "kind"), [
    ("import sys; sys.stderr.write('CUDA out of memory\\n'); sys.exit(9)", FailureKind.OUT_OF_MEMORY),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", FailureKind.CRASH),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", FailureKind.CRASH),
    ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", FailureKind.PREEMPTION),
    ("raise SystemExit(137)", FailureKind.CRASH),
    ("import time; time.sleep(60)", FailureKind.HANG),
    ("raise SystemExit('bench: error: unrecognized arguments: --tokens')", FailureKind.CONFIGURATION),
    ("raise SystemExit(3)", FailureKind.OTHER),
])
def test_a_failure_has_a_kind(tmp_path: Path, text: str, kind: FailureKind) -> None:
    assert run(script(tmp_path, text, timeout_s=0.5)).failure is kind


def test_what_the_kernel_killed_for_memory_is_about_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr(command, "memory_kills", lambda: next(counts))
    for text in ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(137)"):
        assert run(script(tmp_path, text)).failure is FailureKind.OUT_OF_MEMORY
    assert run(script(tmp_path, "raise SystemExit(3)")).failure is FailureKind.OTHER


@linux
def test_a_run_is_ended_at_the_proposal_s_limit_repeats_together(tmp_path: Path) -> None:
    """The settings' own limit, of one execution, stays the upper bound."""
    slow = script(tmp_path, "import time; time.sleep(0.5); print('{{\"y\": 1}}')", repeats=9)
    failed = slow.measure(replace(proposal(), limit_s=1.2))
    assert failed.failure is FailureKind.HANG and 1.2 <= failed.cost.measure_s < 3
    hangs = script(tmp_path, "import time; time.sleep(60)", timeout_s=0.5)
    assert failure(hangs.measure(replace(proposal(), limit_s=30.0))) == "timed out after 0.5 s"


@pytest.mark.parametrize(("text", "says"), [
    ("import sys; sys.stderr.write('x' * 5000 + 'CUDA out of memory\\n'); sys.exit(9)", "CUDA out of memory"),
    ("print('said on stdout'); raise SystemExit(2)", "exit status 2: said on stdout"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
    pytest.param("import os; os.kill(os.getpid(), 40)", "killed by signal 40", marks=linux),
    ("import sys; sys.stderr.buffer.write(b'\\xff\\0bad'); sys.exit(1)", "bad"),
    ("pass", "printed nothing"),
    ("print('done in 3 s')", "not JSON: done in 3 s"),
    ("print('[1, 2]')", "not one JSON object"),
    ("print('{{\"y\": NaN}}')", "'y' is not finite"),
    ("print('{{\"y\": 1, \"z\": [2, -Infinity]}}')", "'z' is not finite"),
    ("print('{{\"y\": 1e999}}')", "'y' is not finite"),
    ("print('{{\"y\": 1' + '0' * 400 + '}}')", "'y' is not finite"),
    ("print('{{\"y\": \"12 ms\"}}')", "'y' must be a number"),
    ("print('{{\"y\": true}}')", "'y' must be a number"),
    ("print('{{\"y\": []}}')", "none of the targets y; it gave no metric at all"),
    ("print('[' * 100000)", "not JSON"),
    ("print('{{\"y\": 1' + '0' * 9000 + '}}')", "not JSON"),
])
def test_failures_say_why(tmp_path: Path, text: str, says: str) -> None:
    reason = failure(run(script(tmp_path, text)))
    assert says in reason and len(reason) < 1200 and "\0" not in reason


def test_one_target_may_be_undefined(tmp_path: Path) -> None:
    assert metrics(run(script(tmp_path, "print('{{\"y\": 1, \"z\": null}}')", targets=("y", "z")))) == {"y": (1,)}


@linux
def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    text = ("import subprocess, sys, time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
            "open('pid', 'w').write(str(p.pid)); print('loading', file=sys.stderr, flush=True); time.sleep(60)")
    replay = script(tmp_path, text, timeout_s=1.5)
    begin = time.monotonic()
    failed = run(replay)
    assert failure(failed) == "timed out after 1.5 s: loading"
    assert 1.5 <= failed.cost.measure_s <= time.monotonic() - begin < 8
    assert gone(int((tmp_path / "pid").read_text()))


@linux
@pytest.mark.parametrize(("then", "stays"), [
    ("print('{{\"y\": 1}}')", True), ("raise SystemExit(1)", False), ("time.sleep(60)", False)])
def test_a_daemon_may_serve_the_runs_that_follow_one_that_went_well(tmp_path: Path, then: str, stays: bool) -> None:
    text = ("import os, subprocess, time; "
            "daemon = subprocess.Popen(['sleep', '1000'], start_new_session=True); "
            "open('pid', 'w').write(str(daemon.pid)); " + then)
    done = run(script(tmp_path, text, timeout_s=2))
    assert (done.status is Status.OK) == stays, done.reason
    daemon = int((tmp_path / "pid").read_text())
    assert alive(daemon) == stays
    if stays:
        os.kill(daemon, signal.SIGKILL)


@linux
def test_what_a_command_leaves_behind_neither_holds_us_up_nor_lives_on(tmp_path: Path) -> None:
    text = ("import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
            "open('pid', 'w').write(str(p.pid)); print('{{\"y\": 1}}')")
    begin = time.monotonic()
    assert metrics(run(script(tmp_path, text))) == {"y": (1,)}
    assert time.monotonic() - begin < 10
    assert gone(int((tmp_path / "pid").read_text()))


HOST = """
import sys
from pathlib import Path
from planner.space.types import Axis, Proposal, RunnerContext
from runners.command import CommandRunner
context = RunnerContext((Axis("batch", ()),), ("y",), Path("."))
runner = CommandRunner(CommandRunner.Config(command=sys.argv[2:]), context)
point = {"batch": float(sys.argv[1])}
"""
SLEEPS = (*PYTHON, "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep({batch}); "
                   "print('{{\"y\": 1}}')")


def _start_host(
    directory: Path, seconds: float, then: str, command: tuple[str, ...] = SLEEPS
) -> tuple[subprocess.Popen[str], int]:
    root = Path(__file__).resolve().parents[2]
    host = subprocess.Popen([sys.executable, "-c", HOST + then, str(seconds), *command], cwd=directory, text=True,
                            env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE, start_new_session=True)
    end = time.monotonic() + 15
    while not ((directory / "pid").exists() and (directory / "pid").read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    return host, int((directory / "pid").read_text())


@linux
def test_the_child_ends_when_we_are_killed(tmp_path: Path) -> None:
    host, child = _start_host(tmp_path, 60, "runner.measure(Proposal(point, (point,)))")
    assert alive(child)
    host.kill()
    host.communicate()
    assert gone(child)


@linux
def test_what_a_shell_started_ends_when_we_are_killed(tmp_path: Path) -> None:
    """The benchmark is the shell's child, as with most wrappers; the shell knows nothing of us."""
    (tmp_path / "wrapper.sh").write_text("sh -c 'echo $$ > inner; sleep 1000; true'\necho '{}'\n")
    shell = ("sh", "-c", "echo $$ > pid; sh wrapper.sh; true")
    host, child = _start_host(tmp_path, 60, "runner.measure(Proposal(point, (point,)))", shell)
    end = time.monotonic() + 15
    while not ((tmp_path / "inner").exists() and (tmp_path / "inner").read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    inner = int((tmp_path / "inner").read_text())
    assert alive(child) and alive(inner)
    host.kill()
    host.communicate()
    assert gone(child) and gone(inner)


@linux
def test_ctrl_c_lets_the_run_in_hand_finish(tmp_path: Path) -> None:
    then = ("import signal; signal.signal(signal.SIGINT, lambda *_: None)\n"  # as the loop does: note it, go on
            "print(runner.measure(Proposal(point, (point,))).status)")
    host, _ = _start_host(tmp_path, 0.7, then)
    os.killpg(host.pid, signal.SIGINT)  # a terminal sends it to the whole foreground group
    assert host.communicate()[0].strip() == "ok"


@linux
def test_an_interrupt_that_is_not_caught_ends_the_child(tmp_path: Path) -> None:
    # A shell that starts us in the background has SIGINT ignored in all that we start.
    then = ("import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "try:\n    runner.measure(Proposal(point, (point,)))\nexcept KeyboardInterrupt:\n    print('interrupted')")
    host, child = _start_host(tmp_path, 60, then)
    time.sleep(0.3)  # the child says its pid before our host has finished starting it
    os.killpg(host.pid, signal.SIGINT)
    assert host.communicate()[0].strip() == "interrupted"
    assert gone(child)


def test_nothing_to_start_is_no_failed_run(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"^runner.command: cannot start 'no-such-benchmark' \(No such file"):
        run(runner(tmp_path, "no-such-benchmark", "{batch}"))
    (tmp_path / "bench.txt").write_text("no program")
    with pytest.raises(RunnerError, match="Permission denied"):
        run(runner(tmp_path, "./bench.txt"))
    assert "cannot start 'bench-4'" in failure(run(runner(tmp_path, "bench-{batch}"), batch=4))


def test_python_is_ours_where_the_path_has_none(tmp_path: Path) -> None:
    text = "import sys; open('exe', 'w').write(sys.executable); print('{{\"y\": 1}}')"
    metrics(run(runner(tmp_path, "python", "-c", text, env={"PATH": str(tmp_path)})))
    assert (tmp_path / "exe").read_text() == sys.executable


def test_a_metrics_file(tmp_path: Path) -> None:
    text = "open('out-{batch}.json', 'w').write('{{\"y\":\\n {batch}}}') if {batch} < 4 else print('{{\"y\": 1}}')"
    replay = script(tmp_path, text, metrics_file="out-{batch}.json")
    assert metrics(run(replay, batch=2)) == {"y": (2,)}
    assert metrics(run(replay, batch=2)) == {"y": (2,)}  # written again
    assert failure(run(replay, batch=4)) == "cannot read metrics file 'out-4.json' (No such file or directory)"
    (tmp_path / "out-4.json").write_text('{"y": 123}')
    assert failure(run(replay, batch=4)) == "metrics file 'out-4.json' was not written by this run"


def test_environment_and_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    text = "import os, json; print(json.dumps(dict(y=int(os.environ['B']), z=int(os.getcwd().endswith('sub')))))"
    replay = script(tmp_path, text, env={"B": "{batch}0"}, cwd="sub")
    assert metrics(run(replay, batch=4)) == {"y": (40,), "z": (1,)}


@pytest.mark.parametrize(("given", "says"), [
    ({"command": ["b", "{batchs}"]}, "runner.command: unknown placeholder in '{batchs}'; did you mean 'batch'?"),
    ({"command": ["bench", "{}"]}, "runner.command: unknown placeholder"),
    ({"command": ["bench", "{batch.real}"]}, "runner.command: unknown placeholder"),
    ({"command": ["bench", "{batch!r}"]}, "runner.command: unknown placeholder"),
    ({"command": ["bench", "{batch:>9}"]}, "runner.command: unknown placeholder"),
    ({"command": ["bench", '{"json": 1}']}, "runner.command: unknown placeholder"),
    ({"command": ["bench", "{batch"]}, "runner.command: cannot read '{batch'"),
    ({"command": [" "]}, "runner.command: its first word is empty"),
    ({"command": ["bench"], "env": {"X": "{y}"}}, "runner.env.X: unknown placeholder"),
    ({"command": ["bench"], "metrics_file": "{y}"}, "runner.metrics_file: unknown placeholder"),
    ({"command": ["bench"], "cwd": "nowhere"}, "runner.cwd: there is no directory 'nowhere'"),
    ({"command": ["bench"], "accelerators": "gpus"}, "runner.accelerators: unknown name 'gpus'"),
    ({"command": ["bench"], "accelerators": "mode"}, "runner.accelerators: 'mode' gives no number"),
    ({"command": ["bench"], "accelerators": "mode * 2"}, "runner.accelerators: 'mode * 2'"),
])
def test_bad_settings_are_told_when_it_is_built(tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(StudyError) as caught:
        CommandRunner(CommandRunner.Config(**given), RunnerContext(AXES, ("y",), tmp_path))
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [
    {}, {"command": []}, {"command": "b --all"}, {"command": ["b"], "timeout_s": 0}, {"command": ["b"], "kind": "x"},
    {"command": ["b"], "accelerators": 0}, {"command": ["b"], "accelerators": True}, {"command": ["b"], "repeats": 0},
    {"command": ["b"], "trajectory": "batch"}, {"command": ["b"], "warmup": -1},
])
def test_bad_keys_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CommandRunner.Config(**given)


def test_a_shell_line_is_told_how_to_become_a_list() -> None:
    with pytest.raises(ValidationError, match=r"give a list of words, as in \[python3, bench.py"):
        CommandRunner.Config(command="bench --all")


def test_accelerators_must_be_above_zero_where_they_are_asked_for(tmp_path: Path) -> None:
    replay = runner(tmp_path, "bench", accelerators="batch - 1")
    assert replay.accelerators({"batch": 4, "mode": "a b", "on": True}) == 3
    with pytest.raises(StudyError, match=r"^runner.accelerators: 'batch - 1' gives 0"):
        replay.accelerators({"batch": 1, "mode": "a b", "on": True})


def test_fingerprint_follows_the_command_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text("print(1)")
    (tmp_path / "conf.json").write_text("{}")
    command = ("python", "bench.py", "--conf=conf.json", "{batch}")
    base = dict(runner(tmp_path, *command).fingerprint())
    assert {"runner", "settings", "python", "platform", "cpu", "file:bench.py", "file:conf.json"} == set(base)
    assert str(tmp_path) not in "".join(base.values())
    assert base == runner(tmp_path, *command, timeout_s=5).fingerprint()  # how long we would wait alters nothing
    assert base != runner(tmp_path, *command, "--fast").fingerprint()
    assert base != runner(tmp_path, *command, repeats=2).fingerprint()
    (tmp_path / "bench.py").write_text("print(2)")
    changed = runner(tmp_path, *command).fingerprint()
    assert {key for key in base if base[key] != changed[key]} == {"file:bench.py"}
    done = run(script(tmp_path, "print('{{\"y\": 1}}')"))
    assert done.environment == environment_id(script(tmp_path, "print('{{\"y\": 1}}')").fingerprint())


def test_contract(tmp_path: Path) -> None:
    text = "print('{{\"y\": [1, 2.5]}}') if {batch} < 4 else 1 / 0"
    check_runner(lambda: script(tmp_path, text, warmup=1, accelerators="batch"), proposal(2), proposal(4))


@given(st.text(alphabet="{}ab! :.[]0", max_size=12))
def test_a_template_is_filled_or_refused(text: str) -> None:
    try:
        template = Template(text, ["a", "ab"], "runner.command")
    except StudyError as error:
        assert str(error).startswith("runner.command: ") and "\n" not in str(error)
    else:
        assert template.fill({"a": 1, "ab": 2, "seed": 3}) == text.format(a=1, ab=2)


@given(st.text(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["y", "z"]), inner, max_size=2),
).map(json.dumps))
def test_any_output_is_metrics_or_a_reason(text: str) -> None:
    try:
        found = parse_metrics(text, ("y",))
    except OutputError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert found and all(found.values())
        assert all(type(v) is float and v - v == 0 for values in found.values() for v in values)
