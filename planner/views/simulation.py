"""Progress and result of a simulation in a terminal."""

from __future__ import annotations

import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from planner.analysis.choice_status import TOLERANCE
from planner.analysis.simulated import Simulation, Summary, WorkersSummary
from planner.simulation.observer import SimulationObserver
from planner.space.text import duration, percent

__all__ = ["SimulationProgress", "decisions_table", "simulation_table", "workers_table"]


class SimulationProgress(SimulationObserver):
    """Simulations done, time left and the latest accuracy: a bar in a terminal, a line each elsewhere. A context
    manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = self._found = self._done = 0
        self._began = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> SimulationProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begun(self, total: int, found: int) -> None:
        """Prints how many were done before."""
        self._total, self._found, self._done, self._began = total, found, found, time.monotonic()
        if found:
            self._console.print(f"{found} of {total} simulations were done before", soft_wrap=True)
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
                                 console=self._console, transient=True)
            self._task = self._bar.add_task("simulating", total=total, completed=found)
            self._bar.start()

    def finished(self, runs: list[dict[str, Any]]) -> None:
        """Prints the accuracy of one more simulation."""
        self._done += 1
        text = f"{_latest(runs)} · {self._left()}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=text)
        else:
            self._console.print(f"{self._done} of {self._total}: {text}", soft_wrap=True)

    def _left(self) -> str:
        each = (time.monotonic() - self._began) / (self._done - self._found)
        return f"about {duration(each * (self._total - self._done))} left"


def _latest(runs: list[dict[str, Any]]) -> str:
    """sweepwise, seed 0: latency_s 95.1 % at 10 % of the cost"""
    last = runs[0]["at"][-1]["cost_fraction"]
    found = ", ".join(f"{run['target']} {percent(_number(run['at'][-1]['accuracy']))}" for run in runs)
    workers = f", {runs[0]['workers']} workers" if "workers" in runs[0] else ""
    return f"{runs[0]['strategy']}, seed {runs[0]['seed']}{workers}: {found} at {last * 100:g} % of the cost"


def simulation_table(found: Simulation) -> Table:
    """Median accuracy over seeds at each share of the full cost, and where the stopping rule stops."""
    table = Table(box=None, title="Accuracy by share of the full cost, median over seeds", title_justify="left")
    shares = [f"{share * 100:g} %" for share in found.shares]
    for column in ("strategy", "target", *shares, "stops at", "accuracy there"):
        named = column in {"strategy", "target"}
        table.add_column(column, justify="left" if named else "right", overflow="fold")
    for one in found.summaries:
        table.add_row(one.strategy, one.target, *(percent(accuracy) for accuracy in one.accuracy), *_stops(one))
    answer = found.answer
    table.caption = (f"{answer['grid_points']:,} grid points; full cost: {duration(answer['full_cost'])} of "
                     "accelerator time")
    table.caption_justify = "left"
    return table


def workers_table(found: Simulation) -> Table:
    """What an accuracy costs with each number of workers, and how soon a study ends."""
    stated = f"{found.stated_accuracy * 100:g} %"
    table = Table(box=None, title="Several workers, median over seeds", title_justify="left")
    for column in ("strategy", "target", "workers", f"cost of {stated}", "relative", "of it starts", "stops at",
                   "accuracy there", "time to finish", "speed-up"):
        table.add_column(column, justify="left" if column in {"strategy", "target"} else "right", overflow="fold")
    for one in found.by_workers:
        table.add_row(
            one.strategy, one.target, str(one.workers), percent(one.cost), _times(one.relative), percent(one.starts),
            *_stops(one), duration(one.wall_s) if math.isfinite(one.wall_s) else "–", _times(one.speed_up))
    answer = found.answer
    table.caption = (f"{answer['grid_points']:,} grid points; costs are shares of the full cost, "
                     f"{duration(answer['full_cost'])} of accelerator time; –: not reached, or before the first share "
                     "of --at-cost")
    table.caption_justify = "left"
    return table


def decisions_table(found: Simulation) -> Table:
    """Where the decision would have stopped the study, and how many of its choices are right."""
    table = Table(box=None, title="Decisions against the recording", title_justify="left")
    for column in ("strategy", "stops at", "state", "cases", "right", "one named right", "stated"):
        table.add_column(column, justify="left" if column in {"strategy", "state"} else "right")
    for one in found.decisions:
        some = f" ({one.stopped} of {one.seeds})" if one.stopped < one.seeds else ""
        table.add_row(one.strategy, percent(one.stops_at) + some if one.stopped else "–", one.state, str(one.cases),
                      str(one.right), str(one.named), percent(one.probability))
    table.caption = (f"cases of all seeds; right: the best that was recorded is better by {100 * TOLERANCE:g} % at "
                     "most; open: neither decided nor tied at the last of --at-cost")
    table.caption_justify = "left"
    return table


def _times(factor: float) -> str:
    return f"{factor:.2f} ×" if math.isfinite(factor) else "–"


def _stops(one: Summary | WorkersSummary) -> tuple[str, str]:
    """Median cost and accuracy at the stop over the seeds that stop, with their number if some do not."""
    if not one.stopped:
        return "–", "–"
    some = f" ({one.stopped} of {one.seeds})" if one.stopped < one.seeds else ""
    return percent(one.stops_at) + some, percent(one.accuracy_there)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
