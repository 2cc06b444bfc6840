"""The process that holds a runner for a Ray actor; without Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.space.types import Axis, Measurement, Proposal, RunnerContext, Status
from runners.command import CommandRunner
from runners.ray_host import Host
from tests.runners.processes import sleepers, soon

ROOT = Path(__file__).parents[2]
POINT = {"batch": 1}
MEASURES = """import sys
sys.path.insert(0, {root!r})
if __name__ == "__main__":
    from tests.runners.test_ray_host import POINT, Proposal, host
    from pathlib import Path
    made = host(Path({folder!r}), "sleep", "86317.5")
    print(made._process.pid, flush=True)
    made.measure(Proposal(POINT, (POINT,)))
"""


def host(folder: Path, *command: str, has_gpus: bool = False) -> Host:
    settings = CommandRunner.Config(command=list(command))
    return Host("command", settings, RunnerContext((Axis("batch", (1,)),), ("y",), folder), has_gpus)


def test_it_measures_on_devices_that_it_has_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("SWEEPWISE_RUNTIME_DIR", str(tmp_path / "runtime"))
    made = host(tmp_path, "echo", '{{"y": 7}}', has_gpus=True)
    found = made.measure(Proposal(POINT, (POINT,)))
    assert isinstance(found, Measurement) and found.status is Status.OK and found.readings[0].metrics == {"y": (7.0,)}
    assert found.placement["devices"] == ["2", "3"] and made.fingerprint()["runner"] == "command"
    assert {path.name for path in (tmp_path / "runtime").iterdir()} == {"cuda-2", "cuda-3", "queue"}
    made.close()
    missing = host(tmp_path, "no-such-program")
    assert "cannot start 'no-such-program'" in missing.measure(Proposal(POINT, (POINT,)))
    for one in (made, missing):
        one._process.kill()
        one._process.join()


@pytest.mark.parametrize("victim", ["actor", "process"])
def test_the_command_ends_with_either(victim: str, tmp_path: Path) -> None:
    """Ray kills the process when it ends the actor; the system kills either where memory has run out."""
    (tmp_path / "actor.py").write_text(MEASURES.format(root=str(ROOT), folder=str(tmp_path)))
    actor = subprocess.Popen([sys.executable, tmp_path / "actor.py"], stdout=subprocess.PIPE, text=True)
    assert actor.stdout is not None
    process = int(actor.stdout.readline())
    assert soon(lambda: sleepers("86317.5"))
    os.kill(actor.pid if victim == "actor" else process, signal.SIGKILL)
    assert soon(lambda: not sleepers("86317.5")), sleepers("86317.5")
    actor.kill()
    actor.communicate()
