"""The live view of a running study."""

from __future__ import annotations

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from planner.analysis.choice_status import ChoiceStatus
from planner.analysis.outlook import Outlook
from planner.campaign.observers import Observer
from planner.evaluation.estimate import Estimate
from planner.ledger.observations import Observations, Run
from planner.space.text import about_percent, duration, percent, point_text
from planner.space.types import Point, Status
from planner.strategies.strategy import Posterior
from planner.views.boundary import undecided_text
from planner.views.choice import choice_text
from planner.views.machine import drift_text

__all__ = ["AuditProgress", "Progress"]


class Progress(Observer):
    """A live view in a terminal; a plain line for each run and checkpoint elsewhere. A context manager."""

    def __init__(self, console: Console, outlook: Outlook, quiet: bool = False) -> None:
        self._console = console
        self._outlook = outlook
        self._limits, self._grid_points = outlook.limits, outlook.grid_points
        self._quiet = quiet
        self._live: Live | None = None
        self._point: Point | None = None
        self._posterior: Posterior | None = None
        self._observations: Observations | None = None
        self._notes: list[str] = []
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def begun(self, observations: Observations) -> None:
        """Opens the live view."""
        self._began = time.monotonic()
        if self._console.is_terminal and not self._quiet:
            self._live = Live(get_renderable=self._view, console=self._console, refresh_per_second=4)
            self._live.start()

    def waiting(self, problem: str) -> None:
        """Says why nothing goes on."""
        self.note(problem)

    def noted(self, text: str) -> None:
        """Says it; it stays on the screen."""
        if self._live is not None and not self._quiet:
            self._console.print(text, soft_wrap=True)
        else:
            self.note(text)

    def ended(self, reason: str, observations: Observations) -> None:
        """Closes it."""
        self._stop()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def note(self, text: str) -> None:
        """Print a line above the live view."""
        self._notes = [text]
        if self._live is None and not self._quiet:
            self._console.print(text, soft_wrap=True)

    def started(self, point: Point, observations: Observations) -> None:
        """Shows what is being measured."""
        self._point, self._observations = point, observations

    def finished(self, run: Run, observations: Observations) -> None:
        """Counts the run; a failed one is reported at once."""
        self._point, self._observations = None, observations
        if run.measurement.status is Status.FAILED:
            kind = f" ({run.measurement.failure_kind.words})" if run.measurement.failure_kind else ""
            self.note(f"run {run.number} failed{kind}: {run.measurement.reason[:160]}")
        elif run.measurement.status is Status.SATURATED:
            self.note(f"run {run.number}: {point_text(run.point)} is saturated: no latency, its rates are kept")
        elif why := run.measurement.quality.get("failed"):
            self.note(f"run {run.number}: its quality could not be evaluated: {why[:160]}")
        elif run.measurement.disturbances:
            self.note(f"run {run.number} was disturbed: {'; '.join(run.measurement.disturbances)}")
        elif run.measurement.status is Status.INTERRUPTED:
            self.note(f"run {run.number} does not count: {run.measurement.reason}")
        elif self._live is None and not self._quiet:
            self._console.print(self._line(run, observations), soft_wrap=True)

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """Shows the estimated accuracy."""
        self._posterior, self._observations = posterior, observations
        self._outlook.checkpoint(posterior, observations)
        if changed := drift_text(posterior.drift):
            self.note(changed)
        if self._live is None and not self._quiet:
            parts = [f"{t} {percent(e.estimated)}" for t, e in posterior.accuracy.items() if e is not None]
            if parts:
                self._console.print(f"estimated accuracy: {', '.join(parts)}", soft_wrap=True)
            if (found := posterior.attainment) is not None:
                self._console.print(undecided_text(found.open_count, found.total, found.boundary.confidence),
                                    soft_wrap=True)
            if posterior.choice is not None:
                self._console.print(choice_text(ChoiceStatus.of_choice(posterior.choice)), soft_wrap=True)

    def _line(self, run: Run, observations: Observations) -> str:
        cost = run.measurement.cost
        parts = [("engine start", cost.import_s + cost.start_s if cost.start_s else 0.0),
                 ("evaluation", cost.evaluation_s)]
        said = ", ".join(f"{what} {duration(seconds)}" for what, seconds in parts if seconds)
        start = f" ({said})" if said else ""
        return (f"run {run.number}: {point_text(run.point)} · {duration(cost.seconds)}{start} · "
                f"{observations.measured.sum()} of {self._grid_points} points · {duration(observations.spent)} spent")

    def _view(self) -> RenderableType:
        observations = self._observations
        if observations is None:
            return Panel("starting …", title="sweepwise", title_align="left")
        rows: list[RenderableType] = [self._figures(observations), *self._bars(observations)]
        doing = point_text(self._point) if self._point else "planning"
        rows.append(Text(f"measuring  {doing}", overflow="ellipsis", no_wrap=True))
        rows += [Text(note, style="yellow", overflow="ellipsis", no_wrap=True) for note in self._notes]
        return Panel(Group(*rows), title="sweepwise", title_align="left", subtitle="Ctrl-C stops after the run in hand",
                     subtitle_align="left")

    def _figures(self, observations: Observations) -> Text:
        counts = [(observations.failures, "failed"), (int(observations.saturated.sum()), "saturated")]
        named = ", ".join(f"{count} {what}" for count, what in counts if count)
        failed = f" ({named})" if named else ""
        share = observations.measured.sum() / self._grid_points
        return Text(
            f"{observations.finished} runs{failed} · {observations.measured.sum()} of "
            f"{self._grid_points} points measured "
            f"({percent(share)}) · running for {duration(time.monotonic() - self._began)} · "
            f"time left {self._time_left(observations)}"
        )

    def _bars(self, observations: Observations) -> list[RenderableType]:
        grid = Table.grid(padding=(0, 2))
        ceiling = self._outlook.ceiling
        if ceiling:
            grid.add_row("cost", ProgressBar(ceiling, min(observations.spent, ceiling), width=30),
                         f"{duration(observations.spent)} of {duration(ceiling)}")
        else:
            grid.add_row("cost", "", duration(observations.spent))
        if self._limits.trials:
            grid.add_row("runs", ProgressBar(self._limits.trials, observations.finished, width=30),
                         f"{observations.finished} of {self._limits.trials}")
        if self._posterior is not None and (found := self._posterior.attainment) is not None:
            grid.add_row("boundary", ProgressBar(found.total, found.total - found.open_count, width=30),
                         undecided_text(found.open_count, found.total, found.boundary.confidence))
        if self._posterior is not None and (choice := self._posterior.choice) is not None:
            grid.add_row("decision", ProgressBar(len(choice.cases), choice.decided_count, width=30),
                         choice_text(ChoiceStatus.of_choice(choice)))
        for target, estimate in (self._posterior.accuracy if self._posterior else {}).items():
            if estimate is None:
                grid.add_row(target, "", "too few runs to estimate")
                continue
            grid.add_row(
                target, ProgressBar(1.0, max(0.0, estimate.estimated), width=30),
                f"estimated {percent(estimate.estimated)} ({percent(estimate.low)} … {percent(estimate.high)})"
                + self._wanted(estimate))
        return [grid]

    def _wanted(self, estimate: Estimate) -> str:
        goal = self._limits.accuracy
        if goal is None:
            return ""
        noise = f"; noise allows {about_percent(estimate.ceiling)}" if estimate.forbids(goal) else ""
        return f", asked for {percent(goal)}{noise}"

    def _time_left(self, observations: Observations) -> str:
        left = self._outlook.left(observations)
        return "unknown yet" if left is None else f"about {duration(left)}"


class AuditProgress(Observer):
    """Prints a line when an audit of `count` points begins."""

    def __init__(self, console: Console, count: int) -> None:
        self._console, self._count = console, count

    def begun(self, observations: Observations) -> None:
        """The first line."""
        self._console.print(f"auditing {self._count} random points that the study did not measure …")

    def waiting(self, problem: str) -> None:
        """Says why nothing goes on."""
        self._console.print(problem, soft_wrap=True)
