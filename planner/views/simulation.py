"""A simulation as it goes on and as it ends, in a terminal."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from planner.space.text import duration, percent

__all__ = ["SimulationProgress", "simulation_table"]


class SimulationProgress:
    """Simulations done, time left and the latest accuracy: a bar in a terminal, a line each elsewhere. A context
    manager. total: simulations asked for; found: how many of them an earlier call has done."""

    def __init__(self, console: Console, total: int, found: int = 0) -> None:
        self._console = console
        self._total, self._found = total, found
        self._done = found
        self._began = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> SimulationProgress:
        if self._found:
            self._console.print(f"{self._found} of {self._total} simulations were done before", soft_wrap=True)
        if self._console.is_terminal and not self._console.quiet:
            self._bar = Progress(BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
                                 console=self._console, transient=True)
            self._task = self._bar.add_task("simulating", total=self._total, completed=self._found)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def finished(self, runs: list[dict[str, Any]]) -> None:
        """One more simulation; `runs` has its entry for each target."""
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
    return f"{runs[0]['strategy']}, seed {runs[0]['seed']}: {found} at {last * 100:g} % of the cost"


def simulation_table(result: dict[str, Any]) -> Table:
    """Median accuracy over seeds at each share of the full cost, and where the stopping rule stops."""
    runs = result["runs"]
    shares = [entry["cost_fraction"] for entry in runs[0]["at"]]
    table = Table(box=None, title="Accuracy by share of the full cost, median over seeds", title_justify="left")
    for column in ("strategy", "target", *[f"{share * 100:g} %" for share in shares], "stops at", "accuracy there"):
        named = column in {"strategy", "target"}
        table.add_column(column, justify="left" if named else "right", overflow="fold")
    for name, target in dict.fromkeys((run["strategy"], run["target"]) for run in runs):
        mine = [run for run in runs if (run["strategy"], run["target"]) == (name, target)]
        cells = [percent(_median([run["at"][i]["accuracy"] for run in mine])) for i in range(len(shares))]
        table.add_row(name, target, *cells, *_stops([run["stop"] for run in mine]))
    table.caption = (f"{result['grid_points']:,} grid points; full cost: {duration(result['full_cost'])} of "
                     "accelerator time")
    table.caption_justify = "left"
    return table


def _stops(stops: list[dict[str, Any] | None]) -> tuple[str, str]:
    """The share of the cost and the accuracy at which the seeds stop that do; how many they are, where some do not."""
    there = [stop for stop in stops if stop]
    if not there:
        return "–", "–"
    some = f" ({len(there)} of {len(stops)})" if len(there) < len(stops) else ""
    return (percent(_median([stop["cost_fraction"] for stop in there])) + some,
            percent(_median([stop["accuracy"] for stop in there])))


def _median(values: list[float | None]) -> float:
    """NaN where a value is undefined: a median over the lucky seeds would flatter."""
    numbers = [_number(value) for value in values]
    return statistics.median(numbers) if all(map(math.isfinite, numbers)) else math.nan


def _number(value: float | None) -> float:
    return math.nan if value is None else value
