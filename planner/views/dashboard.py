"""A study in Optuna's dashboard: a note with its description and status, and our figures.

The note and the figures are stored in the study itself, so that any optuna-dashboard shows them. Its own functions
write them, and all attributes are stored in one transaction: a figure has hundreds of them, and a page that reads half
of a new figure cannot show it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import optuna

from planner.analysis.checkpoints import Checkpoint, checkpoint_of
from planner.analysis.overview import Overview
from planner.analysis.status import Status
from planner.campaign.observers import Observer
from planner.evaluation.gains import Gain
from planner.ledger.observations import Observations
from planner.space import plugins
from planner.space.text import about_percent, duration, percent
from planner.strategies.strategy import Posterior
from planner.views.markdown_text import code, escaped

__all__ = ["DashboardWriter", "Source", "note_of", "save"]

# Below this line is the user's own text; above it, ours.
_KEPT: Final = "*Above: written by sweepwise, again and again. Below: yours, and kept.*"
# The dashboard sends every figure to the page each time.
_MOST_BYTES: Final = 2_500_000
# It shows them two in a row, and cuts off what is higher than its cards.
_HEIGHT: Final = 450
_FONT: Final = 10
_SHARE: Final = 0.02  # of the run's time may go into the note and the figures
_FIRST_GUESS_S: Final = 1.0
_EARLIER_CHECKPOINTS: Final = 5


class Source(Protocol):
    """The answers that a DashboardWriter needs: planner.study.Study."""

    def written_at_once(self) -> AbstractContextManager[optuna.Study]:
        """The record; what the block writes to it is stored in one transaction."""
        ...

    def checkpoints(self, observations: Observations, count: int) -> list[Checkpoint]:
        """About `count` checkpoints of some observations."""
        ...

    def overview(
        self, observations: Observations, posterior: Posterior | None, taken: Sequence[Checkpoint] | None
    ) -> Overview:
        """The present state of the study. taken: checkpoints already computed."""
        ...


def note_of(overview: Overview, state: str) -> str:
    """The study's note (Markdown): description, meta-metrics, next steps. state: what the study is doing."""
    status = overview.status
    counts = ((status.failed, "failed"), (status.saturated, "saturated"))
    named = ", ".join(f"{count} {what}" for count, what in counts if count)
    failed = f" ({named})" if named else ""
    rows = [("state", state), ("runs", f"{status.runs:,}{failed}"),
            ("grid points measured", f"{status.points_measured:,} of {status.grid_points:,}"),
            ("spent", f"{duration(status.cost_s)} of accelerator time"), *_savings(status)]
    lines = [f"## sweepwise: {escaped(status.name)}", "",
             "A benchmark grid, measured where it tells most and predicted elsewhere. Each trial is one run: its "
             "values are what was measured, medians over repeats. A failed trial has its reason among the user "
             "attributes."]
    if overview.slo:
        lines.append(f"Infeasible trials miss a service level: {', '.join(map(code, overview.slo))}.")
    lines += ["", "| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows), ""]
    if status.gains is not None and status.accuracy and not status.complete:
        lines += ["Accuracy over the points that were *not* measured, estimated without knowing the truth:", "",
                  "| target | estimated accuracy | 90 % interval | noise allows |", "| --- | --- | --- | --- |"]
        lines += [f"| {escaped(target)} | {percent(e.estimated)} | {percent(e.low)} … {percent(e.high)} | "
                  f"{about_percent(e.ceiling)} |" if e else f"| {escaped(target)} | too few runs to estimate | | |"
                  for target, e in status.accuracy.items()]
    lines += ["", "Go on with `sweepwise run STUDY`, ask with `sweepwise predict STUDY`; the study file is among the "
              "study's user attributes. Our figures are on the study's first page, below Optuna's own."]
    return "\n".join(lines)


def _savings(status: Status) -> list[tuple[str, str]]:
    found, plain = status.gains, status.plain
    if found is None or plain is None:
        return []
    label = " (estimated)" if found.estimated else ""

    def said(gain: Gain) -> str:
        return f"{gain.value:.1f}×" + (f", {gain.low:.1f} … {gain.high:.1f}{label}" if gain.low != gain.high else "")

    return [("the plain sweep", f"{duration(plain.cost[0])}{label}"),
            ("experiments_gain", f"{found.experiments:.1f}×"), ("time_gain", said(found.time)),
            ("resource_gain", said(found.resource))]


def save(record: optuna.Study, overview: Overview, state: str) -> None:
    """Write note and figures into the study, which a caller should let be stored at once (`Source.written_at_once`).

    Raises any error of storage or figures: a caller within a campaign must catch it.
    """
    from optuna_dashboard import get_note, save_note, save_plotly_graph_object

    body = note_of(overview, state)
    save_note(record, _with_the_old(body, get_note(record)))
    for name, figure in _figures(overview):
        save_plotly_graph_object(record, figure, graph_object_id=name)


def _with_the_old(body: str, old: str) -> str:
    """Our new part, followed by the user's own text in `old`."""
    _, line, kept = old.partition(_KEPT)
    return f"{body}\n\n---\n{_KEPT}\n\n{(kept if line else old).strip()}".rstrip() + "\n"


def _figures(overview: Overview) -> list[tuple[str, Any]]:
    """Our figures with the names under which they are stored, as many as a page can hold."""
    from planner.views.figures import history, surface, tradeoff

    if not overview.surfaces:
        return []
    rates = overview.rates
    made = [("course", history(overview.checkpoints, overview.costs, tuple(overview.surfaces), overview.goal)),
            ("tradeoff", None if isinstance(rates, str) else tradeoff(overview.observations, rates))]
    made += [(f"surface-{target}", surface(overview.status.name, found))
             for target, found in overview.surfaces.items()]
    kept, size = [], 0
    for name, figure in made:
        if figure is not None:
            figure.update_layout(height=_HEIGHT, font_size=_FONT, title_font_size=_FONT + 3)
            figure.update_annotations(font_size=_FONT)
            size += len(figure.to_json())
            kept += [(name, figure)] if size <= _MOST_BYTES else []
    return kept


class DashboardWriter(Observer):
    """Keeps note and figures of a running study up to date, for a fiftieth of the campaign's time at most.

    Does nothing if optuna-dashboard is not installed. Errors do not leave this class: `trouble` has the last one.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._source, self._clock = source, clock
        self._began = clock()
        self._written_s, self._next_s = 0.0, _FIRST_GUESS_S
        self._earlier = 0
        self._checkpoints: list[Checkpoint] = []
        self._available = plugins.dashboard_installed()
        self.trouble = ""

    def begun(self, observations: Observations) -> None:
        """Store the state at the end of the earlier campaign."""
        self._began, self._earlier = self._clock(), len(observations.runs)

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """Store the accuracy, and write if it is time to."""
        if self._available:
            self._checkpoints.append(checkpoint_of(observations, posterior))
            self._write(observations, posterior, "running")

    def finish(self, posterior: Posterior | None, observations: Observations, reason: str) -> None:
        """Write once more, under the same rule, after the campaign. posterior: its last one."""
        if self._available and posterior is not None:
            self._write(observations, posterior, f"stopped ({reason})")

    def _write(self, observations: Observations, posterior: Posterior, state: str) -> None:
        before = self._clock()
        if self._written_s + self._next_s > _SHARE * (before - self._began):
            return
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        try:
            if self._earlier:
                self._checkpoints[:0] = self._source.checkpoints(
                    observations.prefix(self._earlier), _EARLIER_CHECKPOINTS)
                self._earlier = 0
            overview = self._source.overview(observations, posterior, self._checkpoints)
            with self._source.written_at_once() as record:
                save(record, overview, f"{state}, as of {at}")
            self.trouble = ""
        except Exception as error:  # nothing here may end the campaign
            self.trouble = f"{type(error).__name__}: {error}"
        self._next_s = self._clock() - before
        self._written_s += self._next_s
