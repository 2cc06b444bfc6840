"""A study of a command that sleeps and says which devices it had, on a machine of four devices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEVICES = "0,1,2,3"
# The devices of a step are those that it was told of twice: by the platform's variable, and by {devices}.
SLEEPER = """import json, os, sys, time
devices, size, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
began = time.time()
with open("log", "a") as log:
    log.write(f"+ {os.getpid()} {began} {size} {devices} {shown}\\n")
time.sleep(seconds)
while os.path.exists("hold"):
    time.sleep(0.05)
with open("log", "a") as log:
    log.write(f"- {os.getpid()} {time.time()} {size} {devices} {shown}\\n")
print(json.dumps({"latency_ms": 1000 * (time.time() - began)}))
"""


@dataclass(frozen=True)
class Step:
    """One execution of the command: when, and on which devices. ended: None if it was cut short."""

    pid: int
    size: int
    devices: frozenset[str]
    shown: frozenset[str]
    began: float
    ended: float | None


@dataclass(frozen=True)
class Sleepers:
    """The study, and what its command has written."""

    study: Path
    storage: str
    environment: Mapping[str, str]

    def command(self, *arguments: object) -> list[str]:
        """The command line that runs it."""
        return [sys.executable, "-c", "from planner.cli import main; main()", "run", str(self.study),
                *map(str, arguments)]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Run it."""
        return subprocess.Popen(self.command(*arguments), env=dict(self.environment), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=self.study.parent)

    def run(self, *arguments: object, timeout_s: float = 60.0) -> tuple[int, str, str]:
        """Exit status and output, once it has ended."""
        running = self.start(*arguments)
        out, err = running.communicate(timeout=timeout_s)
        return running.returncode, out, err

    def steps(self) -> list[Step]:
        """In the order of their beginning."""
        log = self.study.parent / "log"
        lines = [line.split(" ") for line in log.read_text().splitlines()] if log.exists() else []
        ends = {line[1]: float(line[2]) for line in lines if line[0] == "-"}
        return [Step(int(pid), int(size), frozenset(devices.split(",")), frozenset(shown.split(",")), float(at),
                     ends.get(pid)) for sign, pid, at, size, devices, shown in lines if sign == "+"]

    def hold(self) -> None:
        """No run ends from now on."""
        (self.study.parent / "hold").touch()

    def release(self) -> None:
        """Runs end again."""
        (self.study.parent / "hold").unlink()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials of the record."""
        return optuna.load_study(study_name="sleepers", storage=self.storage).get_trials()

    def attributes(self) -> dict[str, Any]:
        """Those of the record."""
        return optuna.load_study(study_name="sleepers", storage=self.storage).user_attrs


@pytest.fixture
def sleepers(tmp_path: Path) -> Callable[..., Sleepers]:
    """Write the study: sizes × batch sizes, each run sleeping for `seconds`."""
    def write(seconds: float = 0.2, sizes: Sequence[int] = (1, 2), batches: Sequence[int] = tuple(range(1, 9)),
              storage: str | None = None, **runner: Any) -> Sleepers:
        (tmp_path / "sleeper.py").write_text(SLEEPER)
        (tmp_path / "runtime").mkdir(exist_ok=True)
        path, where = tmp_path / "sleepers.yaml", storage or f"sqlite:///{tmp_path / 'sleepers.db'}"
        command = [sys.executable, "-S", "-E", "sleeper.py", "{devices}", "{tensor_parallel_size}", str(seconds)]
        path.write_text(yaml.safe_dump({
            "study": {"name": "sleepers", "storage": where},
            "space": {"axes": {"tensor_parallel_size": {"values": list(sizes), "scope": "engine", "scale": "log"},
                               "batch_size": {"values": list(batches), "scale": "log"}}},
            "runner": {"kind": "command", "command": command, **runner}, "targets": ["latency_ms"],
            "stop": {"trials": 500}}))
        return Sleepers(path, where, {
            **os.environ, "CUDA_VISIBLE_DEVICES": DEVICES, "SWEEPWISE_RUNTIME_DIR": str(tmp_path / "runtime")})

    return write
