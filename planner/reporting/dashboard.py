"""A study in Optuna's dashboard: a note that says what it is and how far, our figures, and a server that shows them.

The note and the figures lie in the study itself, so that anybody's optuna-dashboard shows them. Its own functions write
them; what they write is gathered and stored in one transaction: a figure is hundreds of attributes, and a page that
reads half of a new one cannot show it.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import optuna

from planner.acquisition.strategy import Belief
from planner.evaluation.gains import Gain, gains
from planner.ledger.observations import Observations
from planner.loop import Observer
from planner.reporting.looks import Look, looks
from planner.reporting.terminal import duration, percent
from planner.space.types import StudyError
from planner.surrogates.model import Prediction

if TYPE_CHECKING:
    from planner.study import Study

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
_EARLIER_LOOKS: Final = 5


def is_available() -> bool:
    """Whether the extra `dashboard` is installed."""
    return importlib.util.find_spec("optuna_dashboard") is not None


def note_of(study: Study, seen: Observations, belief: Belief | None, state: str) -> str:
    """The study's note (Markdown): what it is, the meta-metrics, how to go on. `state`: what it is doing."""
    failed = f" ({seen.failures} failed)" if seen.failures else ""
    rows = [("state", state), ("runs", f"{seen.finished:,}{failed}"),
            ("grid points measured", f"{int(seen.measured.sum()):,} of {len(seen.grid):,}"),
            ("spent", f"{duration(seen.spent)} of accelerator time")]
    lines = [f"## sweepwise: {study.name}", "",
             "A benchmark grid, measured where it tells most and predicted elsewhere. Each trial is one run: its "
             "values are what was measured, medians over repeats. A failed trial has its reason among the user "
             "attributes."]
    if study.spec.slo:
        lines.append(f"Infeasible trials miss a service level: {', '.join(f'`{text}`' for text in study.spec.slo)}.")
    if belief is not None:
        rows += _bargain(seen, belief)
    lines += ["", "| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows), ""]
    if belief is not None and belief.accuracy and not seen.known.all():
        lines += ["Accuracy over the points that were *not* measured, estimated without knowing the truth:", "",
                  "| target | estimated accuracy | 90 % interval | noise allows |", "| --- | --- | --- | --- |"]
        lines += [f"| {target} | {percent(e.estimated)} | {percent(e.low)} … {percent(e.high)} | about "
                  f"{percent(e.ceiling)} |" if e else f"| {target} | too few runs to estimate | | |"
                  for target, e in belief.accuracy.items()]
    lines += ["", "Go on with `sweepwise run STUDY`, ask with `sweepwise predict STUDY`; the study file is among the "
              "study's user attributes. Our figures are on the study's first page, below Optuna's own."]
    return "\n".join(lines)


def _bargain(seen: Observations, belief: Belief) -> list[tuple[str, str]]:
    found = gains(seen, belief.plain, belief.longest)
    label = " (estimated)" if found.estimated else ""

    def said(gain: Gain) -> str:
        return f"{gain.value:.1f}×" + (f", {gain.low:.1f} … {gain.high:.1f}{label}" if gain.low != gain.high else "")

    return [("the plain sweep", f"{duration(belief.plain.cost[0])}{label}"),
            ("experiments_gain", f"{found.experiments:.1f}×"), ("time_gain", said(found.time)),
            ("resource_gain", said(found.resource))]


def save(
    study: Study, record: optuna.Study, seen: Observations, belief: Belief | None, state: str,
    found: Sequence[Look] | None = None,
) -> None:
    """Write note and figures into the study. `found`: looks already taken; without them some are, which takes a while.

    Raises whatever storage or figures raise: a caller in the midst of a campaign must not let that end it.
    """
    from optuna_dashboard import get_note, save_note, save_plotly_graph_object

    body = note_of(study, seen, belief, state)
    figures = [] if belief is None else _figures(study, seen, belief, found)
    gathered = _Gathered(record._storage)
    draft = copy.copy(record)
    draft._storage = gathered  # type: ignore[assignment]
    save_note(draft, _with_the_old(body, get_note(record)))
    for name, figure in figures:
        save_plotly_graph_object(draft, figure, graph_object_id=name)
    gathered.store(record._study_id)


def _with_the_old(body: str, old: str) -> str:
    """Our part anew, and what a person wrote below it, or instead of it."""
    _, line, kept = old.partition(_KEPT)
    return f"{body}\n\n---\n{_KEPT}\n\n{(kept if line else old).strip()}".rstrip() + "\n"


def _figures(
    study: Study, seen: Observations, belief: Belief, found: Sequence[Look] | None
) -> list[tuple[str, Any]]:
    """Our figures by the names under which they are kept, as many as a page can bear."""
    from planner.reporting.figures import course, surface, tradeoff

    made = [("course", course(study, seen, looks(study, seen, belief) if found is None else found)),
            ("tradeoff", tradeoff(study, seen, belief))]
    made += [(f"surface-{target}", surface(study, seen, belief, target)) for target in study.targets]
    kept, size = [], 0
    for name, figure in made:
        if figure is not None:
            figure.update_layout(height=_HEIGHT, font_size=_FONT, title_font_size=_FONT + 3)
            figure.update_annotations(font_size=_FONT)
            size += len(figure.to_json())
            kept += [(name, figure)] if size <= _MOST_BYTES else []
    return kept


class _Gathered:
    """In the place of a storage: reads from it, and keeps what is written to the study until `store`."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._written: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {**self._storage.get_study_system_attrs(study_id), **self._written}

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._written[key] = value

    def store(self, study_id: int) -> None:
        """Everything at once where the storage is Optuna's database as we know it, else one by one."""
        from sqlalchemy import bindparam, column, table
        from sqlalchemy.exc import OperationalError, SQLAlchemyError

        attributes = table("study_system_attributes", column("study_id"), column("key"), column("value_json"))
        old = attributes.delete().where(
            attributes.c.study_id == study_id, attributes.c.key == bindparam("old"))
        try:
            with getattr(self._storage, "_backend", self._storage).engine.begin() as connection:
                connection.execute(old, [{"old": key} for key in self._written])
                connection.execute(attributes.insert(), [
                    {"study_id": study_id, "key": key, "value_json": json.dumps(value)}
                    for key, value in self._written.items()])
        except OperationalError:  # locked: no better one by one
            raise
        except (AttributeError, SQLAlchemyError):
            for key, value in self._written.items():
                self._storage.set_study_system_attr(study_id, key, value)


class DashboardWriter(Observer):
    """Keeps note and figures of a running study up to date, for a fiftieth of the run's time at most.

    Does nothing where optuna-dashboard is not installed. Whatever goes wrong stays here: `trouble` says what.
    """

    def __init__(
        self, study: Study, record: optuna.Study, seen: Observations, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._study, self._record, self._clock = study, record, clock
        self._began = clock()
        self._written_s, self._next_s = 0.0, _FIRST_GUESS_S
        self._earlier = len(seen.runs)
        self._looks: list[Look] = []
        self._available = is_available()
        self.trouble = ""

    def believed(self, belief: Belief, seen: Observations) -> None:
        """Remember the look; write where the time for it has come."""
        if self._available:
            # The course needs the accuracy only; the predictions of all looks would fill the memory.
            slim = replace(belief, prediction=Prediction({}, {}, {}, {}), success=belief.success[:0])
            self._looks.append(Look(len(seen.runs), seen.spent, seen, slim))
            self._write(seen, belief, "running")

    def ended(self, belief: Belief | None, seen: Observations, reason: str) -> None:
        """The run is over: write once more, under the same rule."""
        if self._available and belief is not None:
            self._write(seen, belief, f"stopped ({reason})")

    def _write(self, seen: Observations, belief: Belief, state: str) -> None:
        before = self._clock()
        if self._written_s + self._next_s > _SHARE * (before - self._began):
            return
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        try:
            if self._earlier:
                self._looks[:0] = looks(self._study, seen.prefix(self._earlier), count=_EARLIER_LOOKS)
                self._earlier = 0
            save(self._study, self._record, seen, belief, f"{state}, as of {at}", self._looks)
            self.trouble = ""
        except Exception as error:  # whatever: nothing here is worth the campaign
            self.trouble = f"{type(error).__name__}: {error}"
        self._next_s = self._clock() - before
        self._written_s += self._next_s


def missing() -> StudyError:
    """What to say where the extra is not installed."""
    return StudyError("dashboard: optuna-dashboard is not installed; pip install 'sweepwise[dashboard]'")
