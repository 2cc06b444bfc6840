"""Short studies of each kind of runner, each in a process of its own that can be found with all that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from runners.fork_server import ForkServer
from runners.forked_process import ForkedProcess

ROOT: Final = Path(__file__).parents[2]
MODULES: Final = (
    "planner.cli", "planner.cli.interrupt", "planner.study", "planner.campaign.run", "planner.views.dashboard",
    "planner.views.terminal", "planner.views.progress", "planner.strategies.registry", "planner.models.forest",
    "alembic.command", "joblib", "pandas", "sqlalchemy.dialects.sqlite", "runners.command", "runners.replay",
    "runners.serving.runner", "runners.vllm_offline")
"""What the command imports late: a study then takes a second, of which the process is up for all."""
RUNS: Final = 6
COST_S: Final = 1.0
_FINISHED: Final = (
    "SELECT number, value_json FROM trials JOIN trial_user_attributes USING (trial_id) "
    "WHERE key = 'measurement' AND state IN ('COMPLETE', 'FAIL')")
_ONE_AT_A_TIME: Final = threading.Lock()
SIZES: Final = {"input_len": [16, 64, 256], "batch_size": [1, 2, 4, 8]}
BENCH: Final = """import json, sys, time
inputs, batch = int(sys.argv[1]), int(sys.argv[2])
time.sleep(0.05)
with open("executed.log", "a") as log:
    log.write(f"{inputs} {batch}\\n")
print(json.dumps({"e2el_ms": 10 + inputs * batch / 100}))
"""
WRAPPER: Final = 'sleep 1000 &\n"$@" &\nwait $!\n'  # its last line is the benchmark's; the sleeper is left behind


def command(folder: Path) -> dict[str, Any]:
    """A shell that starts the benchmark, as most wrappers do, and leaves something running."""
    (folder / "bench.py").write_text(BENCH)
    (folder / "wrapper.sh").write_text(WRAPPER)
    return {"kind": "command", "command": ["sh", "wrapper.sh", sys.executable, "-S", "-E", "bench.py", "{input_len}",
                                           "{batch_size}"]}


def static(_: Path) -> dict[str, Any]:
    """vLLM's engine."""
    return {"kind": "vllm", "load_format": "dummy", "dtype": "bfloat16", "output_len": 4, "max_model_len": 512,
            "warmup": 0}


def served(_: Path) -> dict[str, Any]:
    """vLLM's server and its client."""
    return {"kind": "vllm-serve", "load_format": "dummy", "duration_s": 0.05, "max_duration_s": 5, "output_len": 3}


def replay(folder: Path) -> dict[str, Any]:
    """A recorded table."""
    rows = [f"{model},{inputs},{batch},{10 + inputs * batch / 100},{COST_S}" for model in ("a", "b")
            for inputs in SIZES["input_len"] for batch in SIZES["batch_size"]]
    (folder / "grid.csv").write_text("\n".join(["model,input_len,batch_size,e2el_ms,seconds", *rows]) + "\n")
    return {"kind": "replay", "table": "grid.csv", "cost_s": "seconds"}


KINDS: Final[Mapping[str, Callable[[Path], dict[str, Any]]]] = {
    "static": static, "served": served, "command": command, "replay": replay}


class Study:
    """A study in its folder, of RUNS runs in a file of its own unless told otherwise."""

    def __init__(self, kind: str, folder: Path, starter: ForkServer, stop: Mapping[str, float] | None = None,
                 storage: str = "") -> None:
        self.kind, self.folder, self.mark, self._starter = kind, folder, uuid.uuid4().hex, starter
        (folder / "db").mkdir()
        (folder / "tmp").mkdir()
        self.file, self.database = folder / "study.yaml", folder / "db" / "study.db"
        self.storage = storage or f"sqlite:///{self.database}"
        sizes = dict(SIZES)
        if kind == "served":
            sizes["max_concurrency"] = sizes.pop("batch_size")
        axes: dict[str, Any] = {name: {"values": values, "scale": "log"} for name, values in sizes.items()}
        if kind != "command":
            axes["model"] = {"values": ["a", "b"], "scope": "engine", "scale": "category"}
        for name in ("a", "b"):
            (folder / name).mkdir()
            (folder / name / "config.json").write_text(json.dumps({"vocab_size": 100}))
        self.file.write_text(yaml.safe_dump({
            "study": {"name": "crash", "storage": self.storage}, "targets": ["e2el_ms"], "space": {"axes": axes},
            "runner": KINDS[kind](folder),
            "stop": dict(stop or ({"cost": RUNS * COST_S} if kind == "replay" else {"trials": RUNS}))}))
        self.main = 0

    def start(self, seed: int = 0, patience_s: float = 1.5) -> ForkedProcess:
        """Run it, or go on with it. What it says: `said`. patience_s: how long a fault of the record is waited for, in
        place of a minute."""
        self.began.unlink(missing_ok=True)
        environment = {
            **os.environ, "CRASH_MARK": self.mark, "CRASH_LOG": str(self.folder / "executed.log"),
            "CRASH_BEGAN": str(self.began), "CRASH_PATIENCE_S": str(patience_s), "TMPDIR": str(self.folder / "tmp"),
            "COLUMNS": "250"}
        command = ["tests.crash.study_process", "run", str(self.file), "--seed", str(seed)]
        with (self.folder / "out").open("wb") as out, (self.folder / f"err{seed}").open("wb") as err, _ONE_AT_A_TIME:
            running = self._starter.popen(command, env=environment, cwd=self.folder, stdout=out, stderr=err)
        self.main = running.pid
        return running

    @property
    def began(self) -> Path:
        """Is there once the command itself has begun."""
        return self.folder / "began"

    def said(self, seed: int = 0) -> str:
        """What the last start with this seed has written to standard error."""
        return (self.folder / f"err{seed}").read_text(errors="replace")

    def processes(self) -> dict[int, str]:
        """Number → command line of all that run for it, but for the main process."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"CRASH_MARK={self.mark}".encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
        return found

    def part(self, name: str) -> list[int]:
        """The processes that are "main", "importing", "child", "guard" or "keeper"."""
        if name == "main":
            return [self.main]
        parts: dict[str, list[int]] = {"importing": [], "child": [], "guard": [], "keeper": []}
        lines = self.processes()
        for pid, line in lines.items():
            parent = lines.get(parent_of(pid), "")
            known = next((part for part in ("guard", "keeper") if f"process_{part}" in line), None)
            is_importing = "fork_server_process" in line and (
                "process_keeper" in parent or "fork_server_process" not in parent)
            parts[known or ("importing" if is_importing else "child")].append(pid)
        return parts[name]

    def trials(self) -> list[FrozenTrial]:
        """All trials; none before there is a study."""
        try:
            if self.storage.startswith("sqlite"):
                sqlite3.connect(f"file:{self.database}?mode=ro", uri=True).close()
            return optuna.load_study(study_name="crash", storage=self.storage).get_trials()
        except (sqlite3.OperationalError, KeyError):
            return []

    def finished(self) -> dict[int, Any]:
        """Number → measurement of all that the record has for good."""
        return {trial.number: trial.user_attrs["measurement"] for trial in self.trials()
                if trial.state in {TrialState.COMPLETE, TrialState.FAIL}}

    def recorded(self) -> dict[int, Any]:
        """As `finished`, read while others write, by SQLite alone: Optuna would make tables that are not there yet."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as reading:
                return {number: json.loads(text) for number, text in reading.execute(_FINISHED)}
        except sqlite3.OperationalError:
            return {}

    def executed(self) -> int:
        """Runs that were made, recorded or not. Not counted for servers."""
        log = self.folder / "executed.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def left(self) -> list[str]:
        """What is there of it that should be gone: processes, shared memory, temporary files."""
        processes = [f"{pid} {line}" for pid, line in self.processes().items()]
        memory = [path.name for path in Path("/dev/shm").glob(f"*{self.mark}*")]
        return processes + memory


def parent_of(pid: int) -> int:
    """0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def make_starter() -> ForkServer:
    """What forks the processes of studies."""
    return ForkServer({**os.environ, "PYTHONPATH": str(ROOT)}, MODULES)


__all__ = ["KINDS", "RUNS", "Study", "make_starter"]
