"""A study whose processes are killed at random moments leaves nothing behind, and goes on.

    SWEEPWISE_KILLS=10 pytest tests/runners/test_killed_study.py    # thirty kills in place of three
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import optuna
import pytest
import yaml

from runners import process_table
from tests.runners.processes import soon

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

ROUNDS = int(os.environ.get("SWEEPWISE_KILLS", "1"))
ROOT = Path(process_table.__file__).parents[1]
TRIALS = 8
MOST_S = 20.0
"""A whole study takes about so long."""


class Study:
    """A short study with two engines, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.storage, self.mark = f"sqlite:///{folder / 'study.db'}", uuid.uuid4().hex
        self._file = folder / "study.yaml"
        models = [str(ROOT / "studies/models" / name) for name in ("llama-tiny", "qwen3-small")]
        self._file.write_text(yaml.safe_dump({
            "study": {"name": "killed"}, "targets": ["e2el_ms"], "stop": {"trials": TRIALS},
            "space": {"axes": {
                "model": {"values": models, "scope": "engine", "scale": "category"},
                "batch_size": {"values": [1, 2, 4, 8, 16], "scale": "log"},
                "input_len": {"values": [16, 64, 256], "scale": "log"}}},
            "runner": {"kind": "vllm", "load_format": "dummy", "dtype": "bfloat16", "output_len": 16,
                       "max_model_len": 512, "enforce_eager": True}}))

    def start(self) -> subprocess.Popen[bytes]:
        """Run it, or go on with it."""
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-m", "planner.cli", "run", str(self._file), "--storage", self.storage],
            env={**os.environ, "SWEEPWISE_KILL_TEST": self.mark, "PYTHONPATH": path}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def processes(self) -> dict[int, str]:
        """Number → command line of all that run for it."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
        return found

    def forker(self) -> int | None:
        """The process that has imported vLLM, or is importing it."""
        return next((pid for pid, line in self.processes().items() if "fork_server_process" in line
                     and parent_of(pid) not in self.processes_of_forker()), None)

    def processes_of_forker(self) -> set[int]:
        """All processes that show its command line: itself, and what was forked from it. Its keeper has that line among
        its arguments."""
        return {pid for pid, line in self.processes().items()
                if "fork_server_process" in line and "process_keeper" not in line}

    def engine(self) -> int | None:
        """A process that was forked from it."""
        mother = self.forker()
        return next((pid for pid in self.processes_of_forker() if parent_of(pid) == mother), None)


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("victim", ["parent", "forker", "engine"])
def test_nothing_is_lost_and_nothing_stays(victim: str, number: int, tmp_path: Path) -> None:
    study, memory = Study(tmp_path), set(os.listdir("/dev/shm"))  # noqa: PTH208 - names
    running = study.start()
    find = {"parent": lambda: running.pid, "forker": study.forker, "engine": study.engine}[victim]
    assert soon(lambda: find() or running.poll() is not None, 30)
    moment = random.Random().uniform(0, MOST_S if victim == "parent" else MOST_S / 2)
    print(f"{victim} {number}: killed after {moment:.1f} s")
    time.sleep(moment)
    if (pid := find()) is not None:
        os.kill(pid, signal.SIGKILL)
    if victim == "parent":
        running.wait(10)
    else:
        assert running.wait(240) == 0, "the study goes on with another engine"
    assert soon(lambda: not study.processes()), study.processes()
    assert set(os.listdir("/dev/shm")) <= memory  # noqa: PTH208
    again = study.start()
    assert again.wait(240) == 0
    assert soon(lambda: not study.processes()), study.processes()
    trials = optuna.load_study(study_name="killed", storage=study.storage).trials
    states = [trial.state for trial in trials]
    assert optuna.trial.TrialState.RUNNING not in states
    done = [tuple(trial.params.values()) for trial in trials if trial.state is optuna.trial.TrialState.COMPLETE]
    assert len(done) == len(set(done)) >= TRIALS - 2, "no point is measured twice; a kill costs one run"
