"""Several simulations in one call: those that a file holds already are kept, the others are played."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.simulation.observer import SimulationObserver
from planner.simulation.replay import Replay
from planner.simulation.simulate import Task, simulate_each, stage
from planner.simulation.simulation_file import SimulationFile, header
from planner.space.types import StudyError
from planner.strategies.registry import check_names, make_strategy

__all__ = ["SimulationOptions", "play"]


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """The simulations to play. seeds: number of consecutive seeds from first_seed on. at_cost: shares of the full
    cost, ascending, at which to score. stop_accuracy: threshold of the stopping rule. jobs: simulations at a time.
    workers: numbers of workers, each played with each seed; empty: one, without saying so."""

    strategies: tuple[str, ...] = ("sweepwise",)
    seeds: int = 3
    at_cost: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    stop_accuracy: float = 0.95
    jobs: int = 1
    first_seed: int = 0
    workers: tuple[int, ...] = ()

    @property
    def tasks(self) -> list[Task]:
        """The simulations, those of one strategy together."""
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        if not self.workers:
            return [(name, seed) for name in self.strategies for seed in seeds]
        return [(name, seed, workers) for name in self.strategies for workers in self.workers for seed in seeds]

    def check(self) -> None:
        """Raises StudyError that names the wrong option of `simulate`."""
        if not self.strategies:
            raise StudyError("--strategies: is empty; write one or more, as in sweepwise,random")
        if not 0 <= self.stop_accuracy <= 1:
            raise StudyError(f"--stop-accuracy: {self.stop_accuracy} is out of range; it lies between 0 and 1")
        if not self.at_cost or not all(0 < share <= 1 for share in self.at_cost):
            said = ",".join(f"{share:g}" for share in self.at_cost)
            raise StudyError(f"--at-cost: '{said}' is out of range; shares of the full cost lie above 0 and up to 1")
        if any(number < 1 for number in self.workers):
            raise StudyError(f"--workers: {min(self.workers)} is out of range; write numbers from 1 on, as in 1,8,64")
        check_names(self.strategies, "--strategies")


def play(
    name: str, study_file: str, replay: Replay, options: SimulationOptions, file: Path | None = None,
    observer: SimulationObserver | None = None,
) -> dict[str, Any]:
    """The answer in the form of `simulate --json`.

    name, study_file: of the study, and its text. file: written after each simulation; simulations in it are not
    played again. Raises StudyError if an option is wrong, or the file holds another simulation.
    """
    options.check()
    for strategy in options.strategies:
        make_strategy(strategy, stage(replay, strategy, options.first_seed)[1])  # refused before any is played
    watching = observer or SimulationObserver()
    shares = sorted(set(options.at_cost))
    tasks = options.tasks
    record = SimulationFile(file, header(name, study_file, replay, shares, options.stop_accuracy), tasks)
    watching.begun(len(tasks), len(tasks) - len(record.missing))
    for runs in simulate_each(replay, record.missing, shares, options.stop_accuracy, options.jobs):
        record.add(runs)
        watching.finished(runs)
    return record.answer()
