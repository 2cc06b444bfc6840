"""`run --parallel N`: never two runs on one device, several at a time, nothing lost and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.parallel.conftest import Sleepers, Step
from tests.runners.processes import soon

SECONDS = 1.0


def overlapping(steps: Sequence[Step]) -> list[tuple[Step, Step]]:
    """Pairs that had a device in common at one time. A step that was cut short had it for its whole second."""
    return [(a, b) for i, a in enumerate(steps) for b in steps[i + 1:]
            if a.devices & b.devices and a.began < (b.ended or b.began) and b.began < (a.ended or a.began)]


def most_at_once(steps: Sequence[Step]) -> int:
    """Devices that were in use at one time, at most."""
    return max(sum(len(b.devices) for b in steps if b.began <= a.began < (b.ended or 0)) for a in steps)


def processes_of(study: Sleepers) -> list[int]:
    """All that run for it."""
    mark, found = str(study.study.parent / "runtime").encode(), []
    for name in os.listdir("/proc"):  # noqa: PTH208 - names
        try:
            if name.isdigit() and mark in open(f"/proc/{name}/environ", "rb").read():  # noqa: PTH123, SIM115
                found.append(int(name))
        except OSError:
            continue
    return found


def workers_of(study: Sleepers) -> list[int]:
    """The worker processes, not their keepers."""
    found = []
    for pid in processes_of(study):
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")  # noqa: PTH123, SIM115
        except OSError:
            continue
        if b"planner.campaign.worker" in line and b"-I" not in line:
            found.append(pid)
    return found


def done(trials: Sequence[FrozenTrial]) -> Counter[tuple[object, ...]]:
    return Counter(tuple(trial.params.values()) for trial in trials if trial.state is TrialState.COMPLETE)


def test_side_by_side_and_never_two_on_one_device(sleepers: Callable[..., Sleepers]) -> None:
    study = sleepers(SECONDS, batches=range(1, 6))
    code, out, err = study.run("--parallel", 4, "--strategy", "full")
    assert code == 0, err
    steps = study.steps()
    assert all(len(step.devices) == step.size and step.devices == step.shown for step in steps)
    assert not overlapping(steps) and most_at_once(steps) >= 3
    trials = study.trials()
    assert all(trial.state.is_finished() for trial in trials) and len(done(trials)) == 10
    # The first point is measured alone, and once more beside a neighbour; all others once.
    found = study.attributes()["neighbours"]
    assert sorted(done(trials).values()) == [1] * 9 + [2] and trials[found["alone"]].params == (
        trials[found["beside"]].params)
    assert found["neighbours"] and abs(found["ratios"]["latency_ms"] - 1) < 0.5
    alone = trials[found["alone"]].user_attrs["measurement"]["placement"]
    assert sum(step.began < alone["ended"] for step in steps) == 1
    assert out.count("neighbours: latency_ms") == 1 and "stopped: nothing is left to measure" in out
    assert not processes_of(study)


def test_a_worker_that_is_killed_gives_its_point_back_and_another_takes_its_place(
    sleepers: Callable[..., Sleepers]
) -> None:
    study = sleepers(SECONDS, sizes=(1,), batches=range(1, 7))
    running = study.start("--parallel", 2, "--strategy", "full")
    assert soon(lambda: len(workers_of(study)) == 2 and len(study.steps()) >= 3, 60)
    os.kill(workers_of(study)[0], signal.SIGKILL)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "was killed by SIGKILL; its run does not count and its point is free" in out
    trials = study.trials()
    assert len(done(trials)) == 6 and TrialState.RUNNING not in {trial.state for trial in trials}
    assert "the process that ran it is gone" in {trial.user_attrs.get("reason") for trial in trials}
    assert not overlapping(study.steps()) and not processes_of(study)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(sleepers: Callable[..., Sleepers], times: int) -> None:
    """Once: each worker ends after its run in hand. Twice: at once. Either way the study goes on from there."""
    study = sleepers(2 * SECONDS, sizes=(1,), batches=range(1, 30))
    running = study.start("--parallel", 2, "--strategy", "full")
    assert soon(lambda: len(study.steps()) >= 3, 60)
    for _ in range(times):
        running.send_signal(signal.SIGINT)
        time.sleep(0.5)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and "resume with: sweepwise run" in out, err
    trials, steps = study.trials(), study.steps()
    assert all(trial.state.is_finished() or trial.state is TrialState.WAITING for trial in trials)
    cut = [step for step in steps if step.ended is None]
    assert bool(cut) == (times == 2)  # one that had ended by itself was not cut short
    assert sum(done(trials).values()) == len(steps) - len(cut)
    assert study.attributes()["stopped"] == "interrupted" and not processes_of(study)


def test_all_ends_with_the_process_that_started_it(sleepers: Callable[..., Sleepers]) -> None:
    study = sleepers(30 * SECONDS, sizes=(1,))
    running = study.start("--parallel", 2)
    assert soon(study.steps, 60)
    running.kill()
    assert soon(lambda: not processes_of(study)), processes_of(study)


@pytest.mark.parametrize(("given", "says"), [
    ({"sizes": (1, 8)}, "--parallel: a point needs 8 accelerators and this machine gives 4; leave such points out by "
                        "space.constraints"),
    ({"metrics_file": "out.json"}, "runner.metrics_file: workers side by side would all write out.json; put {devices} "
                                   "in its name, and in the command's argument for it"),
])
def test_what_cannot_go_well_is_refused_in_one_line(
    sleepers: Callable[..., Sleepers], given: dict[str, object], says: str
) -> None:
    code, _, err = sleepers(**given).run("--parallel", 2)
    assert (code, err.strip()) == (2, f"sweepwise: {says}")
