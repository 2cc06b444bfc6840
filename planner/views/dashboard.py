"""A study in Optuna's dashboard: a note that says what it is and how far, our figures, and a server that shows them.

The note and the figures lie in the study itself, so that anybody's optuna-dashboard shows them. Its own functions write
them; what they write is gathered and stored in one transaction: a figure is hundreds of attributes, and a page that
reads half of a new one cannot show it.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import optuna

from planner.analysis.checkpoints import Checkpoint, checkpoints
from planner.campaign.loop import Observer
from planner.evaluation.gains import Gain, gains
from planner.ledger.observations import Observations
from planner.ledger.optuna_private import written_at_once
from planner.models.grid_model import Prediction
from planner.space.text import duration, percent
from planner.space.types import StudyError
from planner.strategies.strategy import Posterior

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup

__all__ = ["DashboardWriter", "is_available", "missing", "note_of", "save"]

# Below this line a person's own words stand; above it, ours.
_KEPT: Final = "*Above: written by sweepwise, again and again. Below: yours, and kept.*"
# The dashboard sends every figure to the page at every look.
_MOST_BYTES: Final = 2_500_000
# It shows them two in a row, and cuts off what is higher than its cards.
_HEIGHT: Final = 450
_FONT: Final = 10
_SHARE: Final = 0.02  # of the run's time may go into the note and the figures
_FIRST_GUESS_S: Final = 1.0
_EARLIER_CHECKPOINTS: Final = 5


def is_available() -> bool:
    """Whether the extra `dashboard` is installed."""
    return importlib.util.find_spec("optuna_dashboard") is not None


def note_of(study: StudySetup, observations: Observations, posterior: Posterior | None, state: str) -> str:
    """The study's note (Markdown): what it is, the meta-metrics, how to go on. `state`: what it is doing."""
    failed = f" ({observations.failures} failed)" if observations.failures else ""
    rows = [("state", state), ("runs", f"{observations.finished:,}{failed}"),
            ("grid points measured", f"{int(observations.measured.sum()):,} of {len(observations.grid):,}"),
            ("spent", f"{duration(observations.spent)} of accelerator time")]
    lines = [f"## sweepwise: {study.name}", "",
             "A benchmark grid, measured where it tells most and predicted elsewhere. Each trial is one run: its "
             "values are what was measured, medians over repeats. A failed trial has its reason among the user "
             "attributes."]
    if study.spec.slo:
        lines.append(f"Infeasible trials miss a service level: {', '.join(f'`{text}`' for text in study.spec.slo)}.")
    if posterior is not None:
        rows += _savings(observations, posterior)
    lines += ["", "| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows), ""]
    if posterior is not None and posterior.accuracy and not observations.known.all():
        lines += ["Accuracy over the points that were *not* measured, estimated without knowing the truth:", "",
                  "| target | estimated accuracy | 90 % interval | noise allows |", "| --- | --- | --- | --- |"]
        lines += [f"| {target} | {percent(e.estimated)} | {percent(e.low)} … {percent(e.high)} | about "
                  f"{percent(e.ceiling)} |" if e else f"| {target} | too few runs to estimate | | |"
                  for target, e in posterior.accuracy.items()]
    lines += ["", "Go on with `sweepwise run STUDY`, ask with `sweepwise predict STUDY`; the study file is among the "
              "study's user attributes. Our figures are on the study's first page, below Optuna's own."]
    return "\n".join(lines)


def _savings(observations: Observations, posterior: Posterior) -> list[tuple[str, str]]:
    found = gains(observations, posterior.plain, posterior.longest)
    label = " (estimated)" if found.estimated else ""

    def said(gain: Gain) -> str:
        return f"{gain.value:.1f}×" + (f", {gain.low:.1f} … {gain.high:.1f}{label}" if gain.low != gain.high else "")

    return [("the plain sweep", f"{duration(posterior.plain.cost[0])}{label}"),
            ("experiments_gain", f"{found.experiments:.1f}×"), ("time_gain", said(found.time)),
            ("resource_gain", said(found.resource))]


def save(
    study: StudySetup, record: optuna.Study, observations: Observations, posterior: Posterior | None, state: str,
    found: Sequence[Checkpoint] | None = None,
) -> None:
    """Write note and figures into the study. `found`: looks already taken; without them some are, which takes a while.

    Raises whatever storage or figures raise: a caller in the midst of a campaign must not let that end it.
    """
    from optuna_dashboard import get_note, save_note, save_plotly_graph_object

    body = note_of(study, observations, posterior, state)
    figures = [] if posterior is None else _figures(study, observations, posterior, found)
    with written_at_once(record) as draft:
        save_note(draft, _with_the_old(body, get_note(record)))
        for name, figure in figures:
            save_plotly_graph_object(draft, figure, graph_object_id=name)


def _with_the_old(body: str, old: str) -> str:
    """Our part anew, and what a person wrote below it, or instead of it."""
    _, line, kept = old.partition(_KEPT)
    return f"{body}\n\n---\n{_KEPT}\n\n{(kept if line else old).strip()}".rstrip() + "\n"


def _figures(
    study: StudySetup, observations: Observations, posterior: Posterior, found: Sequence[Checkpoint] | None
) -> list[tuple[str, Any]]:
    """Our figures by the names under which they are kept, as many as a page can bear."""
    from planner.views.figures import history, surface, tradeoff

    made = [("course", history(study, observations, checkpoints(study, observations,
                                                                posterior) if found is None else found)),
            ("tradeoff", tradeoff(study, observations, posterior))]
    made += [(f"surface-{target}", surface(study, observations, posterior, target)) for target in study.targets]
    kept, size = [], 0
    for name, figure in made:
        if figure is not None:
            figure.update_layout(height=_HEIGHT, font_size=_FONT, title_font_size=_FONT + 3)
            figure.update_annotations(font_size=_FONT)
            size += len(figure.to_json())
            kept += [(name, figure)] if size <= _MOST_BYTES else []
    return kept


class DashboardWriter(Observer):
    """Keeps note and figures of a running study up to date, for a fiftieth of the run's time at most.

    Does nothing where optuna-dashboard is not installed. Whatever goes wrong stays here: `trouble` says what.
    """

    def __init__(
        self, study: StudySetup, record: optuna.Study, observations: Observations, clock: Callable[[],
            float] = time.monotonic
    ) -> None:
        self._study, self._record, self._clock = study, record, clock
        self._began = clock()
        self._written_s, self._next_s = 0.0, _FIRST_GUESS_S
        self._earlier = len(observations.runs)
        self._checkpoints: list[Checkpoint] = []
        self._available = is_available()
        self.trouble = ""

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        """Remember the look; write where the time for it has come."""
        if self._available:
            # The course needs the accuracy only; the predictions of all looks would fill the memory.
            slim = replace(posterior, prediction=Prediction({}, {}, {}, {}), feasibility=posterior.feasibility[:0])
            self._checkpoints.append(Checkpoint(len(observations.runs), observations.spent, observations, slim))
            self._write(observations, posterior, "running")

    def ended(self, posterior: Posterior | None, observations: Observations, reason: str) -> None:
        """The run is over: write once more, under the same rule."""
        if self._available and posterior is not None:
            self._write(observations, posterior, f"stopped ({reason})")

    def _write(self, observations: Observations, posterior: Posterior, state: str) -> None:
        before = self._clock()
        if self._written_s + self._next_s > _SHARE * (before - self._began):
            return
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        try:
            if self._earlier:
                self._checkpoints[:0] = checkpoints(self._study, observations.prefix(self._earlier),
                                                    count=_EARLIER_CHECKPOINTS)
                self._earlier = 0
            save(self._study, self._record, observations, posterior, f"{state}, as of {at}", self._checkpoints)
            self.trouble = ""
        except Exception as error:  # whatever: nothing here is worth the campaign
            self.trouble = f"{type(error).__name__}: {error}"
        self._next_s = self._clock() - before
        self._written_s += self._next_s


def missing() -> StudyError:
    """What to say where the extra is not installed."""
    return StudyError("dashboard: optuna-dashboard is not installed; pip install 'sweepwise[dashboard]'")
