"""What many tests share: a small recorded grid, a benchmark that is a command, and the command line itself."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml

MODELS = {"small": 1.0, "large": 8.0}
"""Billions of parameters."""
THROUGHPUT = {"metric": "throughput", "kind": "throughput", "unit": "tokens/s"}
"""What a study file says of a column whose name is nobody's."""


@dataclass(frozen=True)
class Recorded:
    """A study file over a recorded grid. rows: the table as written, a row for each repeat of each point."""

    study: Path
    table: Path
    rows: list[dict[str, Any]]

    def points(self, *axes: str) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
        """The rows of each point."""
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in self.rows:
            found.setdefault(tuple(row[axis] for axis in axes), []).append(row)
        return found

    def edit(self, **sections: Any) -> None:
        """Write the study file again with some keys of some sections replaced; None takes a key away."""
        data = yaml.safe_load(self.study.read_text())
        for section, keys in sections.items():
            if isinstance(keys, Mapping):
                merged = {**data.get(section, {}), **keys}
                data[section] = {key: value for key, value in merged.items() if value is not None}
            else:
                data[section] = keys
        self.study.write_text(yaml.safe_dump(data))

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Write the table again."""
        with self.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Bench:
    """A study of a command that sleeps, says what it measured, and notes every execution in a log."""

    study: Path
    log: Path
    storage: str
    points: list[dict[str, int]] = field(default_factory=list)

    def executions(self) -> list[tuple[int, ...]]:
        """The point of each execution that was begun, in order."""
        if not self.log.exists():
            return []
        return [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()]


def roofline(model: str, batch: int, inputs: int, outputs: int) -> tuple[float, float]:
    """Milliseconds until the first token and between tokens: arithmetic or weights, plus caches and launches."""
    billions = MODELS[model]
    prefill = 3.0 + 0.012 * billions * batch * inputs / 8
    step = max(0.9 * billions, 0.05 * billions * batch) + 4e-4 * billions**0.6 * batch * (inputs + outputs / 2) + 1.5
    return prefill, step


def grid_rows(
    models: Sequence[str], inputs: Sequence[int], outputs: Sequence[int], batches: Sequence[int], repeats: int,
    noise: float, seed: int,
) -> list[dict[str, Any]]:
    """One row a repeat. The tokens of one repeat share its run effect; the largest requests do not fit in memory."""
    rng = np.random.default_rng(seed)
    rows = []
    for model, n_in, batch in itertools.product(models, inputs, batches):
        run_effect = np.exp(noise * rng.standard_normal(repeats))
        for n_out, repeat in itertools.product(outputs, range(repeats)):
            first, step = roofline(model, batch, n_in, n_out)
            total = (first + step * (n_out - 1)) * run_effect[repeat]
            fits = batch * (n_in + n_out) * MODELS[model] ** 0.5 < 150_000
            good = {"latency_s": total / 1000, "ttft_ms": first * run_effect[repeat],
                    "throughput": batch * n_out / total}
            rows.append({
                "model": model, "input_len": n_in, "output_len": n_out, "batch_size": batch, "repeat": repeat,
                "n_gpus": 2 if model == "large" else 1, "status": "ok" if fits else "out of memory",
                **(good if fits else dict.fromkeys(good, "")), "cost_s": total / 1000 + 0.1 if fits else 5.0,
            })
    return rows


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Recorded]:
    """Write a recorded grid and its study file: 2 models × 3 × 3 lengths × 10 batch sizes, unless told otherwise."""

    def write(
        name: str = "grid", *, models: Sequence[str] = ("small", "large"), inputs: Sequence[int] = (128, 512, 2048),
        outputs: Sequence[int] = (16, 64, 256), batches: Sequence[int] = (1, 2, 3, 4, 6, 8, 16, 24, 32, 64),
        repeats: int = 2, noise: float = 0.02, seed: int = 0, targets: Sequence[str] = ("latency_s",),
        runner: Mapping[str, Any] | None = None, stop: Mapping[str, Any] | None = None,
        axes: Mapping[str, Any] | None = None,
    ) -> Recorded:
        given = Recorded(tmp_path / f"{name}.yaml", tmp_path / f"{name}.csv",
                         grid_rows(models, inputs, outputs, batches, repeats, noise, seed))
        given.write(given.rows)
        settings = {"kind": "replay", "table": f"{name}.csv", "cost_s": "cost_s", "accelerators": "n_gpus",
                    "status": "status", "engine_start_s": 2.0, "run_overhead_s": 0.05, **(runner or {})}
        given.study.write_text(yaml.safe_dump({
            "study": {"name": name, "storage": f"sqlite:///{tmp_path / name}.db"},
            "space": {"axes": {"model": {"scale": "category", "scope": "engine"}, "input_len": {"scale": "log"},
                               "output_len": {"scale": "log"}, "batch_size": {"scale": "log"}, **(axes or {})}},
            "runner": settings, "targets": [THROUGHPUT if name == "throughput" else name
                                            for name in targets], "stop": dict(stop or {"trials": 20}),
        }))
        return given

    return write


BENCH = """import json, os, sys, time
inputs, batch, sleep = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with open("bench.log", "a") as log:
    log.write(f"{inputs} {batch}\\n")
time.sleep(sleep)
if os.path.exists("fail") or batch == FAILS:
    sys.exit("[/no such tag] out of memory")
print(json.dumps({"latency_ms": 2 + inputs * batch / 100}))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Write a benchmark command and its study file: 4 × 6 points, unless told otherwise."""

    def write(
        *, inputs: Sequence[int] = (64, 128, 256, 512), batches: Sequence[int] = (1, 2, 4, 8, 16, 32),
        sleep_s: float = 0.0, stop: Mapping[str, Any] | None = None, fails: int | None = None,
    ) -> Bench:
        (tmp_path / "bench.py").write_text(BENCH.replace("FAILS", repr(fails)))
        study = tmp_path / "bench.yaml"
        storage = f"sqlite:///{tmp_path / 'bench.db'}"
        command = [sys.executable, "-S", "-E", "bench.py", "{input_len}", "{batch_size}", str(sleep_s)]
        study.write_text(yaml.safe_dump({
            "study": {"name": "bench", "storage": storage},
            "space": {"axes": {"input_len": {"values": list(inputs), "scale": "log"},
                               "batch_size": {"values": list(batches), "scale": "log"}}},
            "runner": {"kind": "command", "command": command}, "targets": ["latency_ms"],
            "stop": dict(stop or {"trials": 12}),
        }))
        points = [{"input_len": i, "batch_size": b} for i, b in itertools.product(inputs, batches)]
        return Bench(study, tmp_path / "bench.log", storage, points)

    return write


@pytest.fixture(autouse=True)
def _baselines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of a strategy by `name` is skipped if the baseline's packages are missing. BoTorch's models keep their
    initial hyperparameters: a fit takes seconds, and a strategy keeps its contract with any."""
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if not isinstance(name, str):
        return
    from planner.strategies.registry import STRATEGIES

    for package in STRATEGIES[name].needs if name in STRATEGIES else ():
        pytest.importorskip(package, reason=f"{name} needs {package}: pip install 'sweepwise[compare]'")
    if name == "botorch_qnipv":
        monkeypatch.setattr("planner.strategies.botorch_gp.fit_gpytorch_mll", lambda mll: mll.eval())


@pytest.fixture
def sweepwise(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """The command line's own entry function, in this process."""
    monkeypatch.setenv("COLUMNS", "250")

    def call(*arguments: object) -> Ran:
        from planner.cli import main

        monkeypatch.setattr(sys, "argv", ["sweepwise", *map(str, arguments)])
        out, err, code = io.StringIO(), io.StringIO(), 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Ran(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture
def answer(sweepwise: Callable[..., Ran], tmp_path: Path) -> Callable[..., Any]:
    """What a command that must succeed writes to --json."""

    def call(*arguments: object) -> Any:
        written = tmp_path / "answer.json"
        ran = sweepwise(*arguments, "--json", written)
        assert ran.code == 0, ran.err
        return json.loads(written.read_text())

    return call


@pytest.fixture
def process() -> Any:
    """Start the real command in a process group of its own; what still runs at the end is killed."""
    command = Path(sys.executable).with_name("sweepwise")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        running = subprocess.Popen(
            [str(command), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env={**os.environ, "COLUMNS": "250"})
        started.append(running)
        return running

    yield start
    for running in started:
        if running.poll() is None:
            running.kill()
        running.communicate()


@pytest.fixture
def trials() -> Callable[..., list[optuna.trial.FrozenTrial]]:
    """All trials of a study, read by Optuna alone."""

    def read(storage: str, name: str) -> list[optuna.trial.FrozenTrial]:
        # Optuna makes a missing database; a test must not.
        sqlite3.connect(f"file:{storage.removeprefix('sqlite:///')}?mode=ro", uri=True).close()
        return optuna.load_study(study_name=name, storage=storage).get_trials()

    return read
