"""The file of `simulate --json`: complete after every simulation, so that an equal call continues where one ended.

Contract: every write is atomic (to a second file, then renamed); results are only added; a file of another study, table
or scoring is refused. One process at a time writes to a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from planner.simulation.replay import Replay
from planner.simulation.simulate import Task
from planner.space.text import as_json
from planner.space.types import StudyError

__all__ = ["SimulationFile", "header"]

# Keys that must be equal for two runs to be of one simulation → their names in messages.
_IDENTITY: Final = {"version": "version of sweepwise", "study_sha256": "study file", "table_sha256": "table",
                    "options": "--at-cost or --stop-accuracy"}


def header(name: str, study_file: str, replay: Replay, shares: Sequence[float], stop_accuracy: float) -> dict[str, Any]:
    """The head of the answer: the simulation's identity, and the size of its grid. study_file: its text."""
    return {
        "version": version("sweepwise"), "study": name,
        "study_sha256": hashlib.sha256(study_file.encode()).hexdigest(),
        "table_sha256": replay.recorded.runner.table.sha256,
        "options": {"at_cost": list(shares), "stop_accuracy": stop_accuracy},
        "grid_points": len(replay.recorded.grid), "full_cost": replay.full_cost,
    }


class SimulationFile:
    """The runs of one simulation.

    path: None keeps them in memory. tasks: those requested now; others in the file are kept.
    Raises StudyError if the file holds another simulation.
    """

    def __init__(self, path: Path | None, header: dict[str, Any], tasks: Sequence[Task]) -> None:
        self.path = path
        self.tasks = tasks
        self._header = as_json(header)
        self._runs: dict[Task, list[dict[str, Any]]] = {}
        for run in self._read():
            self._runs.setdefault(_task(run), []).append(run)

    @property
    def missing(self) -> list[Task]:
        """The tasks without a result."""
        return [task for task in self.tasks if task not in self._runs]

    def add(self, runs: list[dict[str, Any]]) -> None:
        """Store the result of one simulation: its entry for each target."""
        self._runs[_task(runs[0])] = as_json(runs)
        if self.path is None:
            return
        beside = self.path.with_name(self.path.name + ".partial")
        all_runs = self._answer(dict.fromkeys([*self.tasks, *self._runs]))
        try:
            beside.write_text(json.dumps(all_runs, indent=1) + "\n", encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            raise StudyError(f"--json: cannot write {self.path} ({error.strerror}); give another path") from error

    def answer(self) -> dict[str, Any]:
        """The answer in the form of `simulate --json`, with the tasks finished so far."""
        return self._answer(self.tasks)

    def _answer(self, tasks: Iterable[Task]) -> dict[str, Any]:
        return {**self._header, "runs": [run for task in tasks for run in self._runs.get(task, [])]}

    def _read(self) -> list[dict[str, Any]]:
        if self.path is None or not self.path.exists():
            return []
        try:
            held = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            held = None
        if not (isinstance(held, dict) and isinstance(held.get("runs"), list)):
            return []  # not a simulation: --json overwrites it
        if differs := [said for key, said in _IDENTITY.items() if self._header[key] != held.get(key)]:
            raise StudyError(f"--json: {self.path} holds a simulation with another {differs[0]}; give another file, or "
                             "delete that one to start again")
        return list(held["runs"])


def _task(run: Mapping[str, Any]) -> Task:
    """The simulation of which `run` is a result."""
    task = run["strategy"], run["seed"]
    return (*task, run["workers"]) if "workers" in run else task
