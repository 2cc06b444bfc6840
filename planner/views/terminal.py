"""Tables and lines for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.analysis.placements import placements
from planner.analysis.status import NeverRun, Status
from planner.evaluation.estimate import Estimate
from planner.evaluation.gains import Gain, Gains
from planner.ledger.observations import Observations
from planner.space.failure import FailureKind
from planner.space.text import about_percent, duration, percent, point_text
from planner.views.boundary import undecided_text
from planner.views.choice import choice_lines
from planner.views.listing import Listing
from planner.views.machine import drift_text
from planner.views.priors import prior_lines
from planner.views.quality import quality_lines

if TYPE_CHECKING:
    import pandas as pd

    from planner.analysis.evaluation_report import EvaluationReport

__all__ = ["accuracy_table", "evaluation_table", "frame_table", "gains_table", "never_run", "runs_table",
           "show_status"]

_REASONS: Final = {
    "accuracy": "the accuracy asked for is reached (estimated, with a margin)",
    "noise": "the accuracy asked for is more than the noise of the measurements allows, and what it allows is reached; "
             "more repeats a run, or a quieter machine, would allow more",
    "boundary": "the boundary asked for is found",
    "difference": "it is known where this study differs from its prior; `sweepwise compare` shows it",
    "decision": "the decision asked for is reached",
    "shortlist": "every case is decided, or down to the shortlist asked for",
    "tie": "noise alone leaves the decision open; more repeats a run, or a quieter machine, would settle it",
    "cost": "the cost limit is reached", "trials": "the limit of runs is reached",
    "grid": "nothing is left to measure", "interrupted": "stopped by hand",
    "failures": "run after run failed and none succeeded; run again to try once more",
}
_COUNTS_OTHERS: Final = {"cost", "trials", "grid"}
"""The reasons for which what other workers are measuring counts as measured."""


def show_status(out: Console, status: Status) -> None:
    """Print the status, for `status` and at the end of `run`."""
    kinds = ", ".join(f"{count} {FailureKind(kind).words}" for kind, count in status.failures.items())
    counts = ((status.failed, f"failed ({kinds})"), (status.saturated, "saturated"))
    failed = "".join(f", {count} {what}" for count, what in counts if count)
    out.print(f"{status.name}: {status.runs} runs{failed}, {status.points_measured:,} of {status.grid_points:,} "
              f"grid points measured", soft_wrap=True)
    if status.stopped:
        out.print(_stopped(status.stopped, status.underway), soft_wrap=True)
    if status.boundary is not None:
        out.print(undecided_text(status.boundary.undecided, status.boundary.of, status.boundary.confidence),
                  soft_wrap=True)
    for line in choice_lines(status.choice) if status.choice is not None else ():
        out.print(line, soft_wrap=True)
    for line in quality_lines(status.quality):
        out.print(line, soft_wrap=True)
    if status.gains is None or status.plain is None:
        return
    out.print(gains_table(status.gains, status.cost_s, status.plain.cost[0]))
    if status.accuracy and not status.complete:
        out.print(accuracy_table(status.accuracy, status.judges, status.unweighted))
        if unknown := never_run(status.never_run):
            out.print(unknown, soft_wrap=True)
        for line in prior_lines(status.priors):
            out.print(line, soft_wrap=True)
        if changed := drift_text(status.drift):
            out.print(Text(changed, style="yellow"), soft_wrap=True)


def _stopped(reason: str, underway: int) -> str:
    """Why this worker, or the whole study, has stopped. underway: runs of others that go on."""
    said = _REASONS.get(reason, reason)
    if not underway:
        return f"stopped: {said}"
    theirs = f"{underway} run{'s'[underway == 1:]} of other workers"
    if reason in _COUNTS_OTHERS:
        return f"stopped here: {said} once {theirs} under way {'has' if underway == 1 else 'have'} ended"
    return f"stopped here: {said}; {theirs} {'goes' if underway == 1 else 'go'} on"


def accuracy_table(
    estimates: Mapping[str, Estimate | None], judges: Mapping[str, int], unweighted: Mapping[str, Estimate | None]
) -> Table:
    """Estimated accuracy of each target, labelled as such, and how many runs judge it. unweighted: with equal weights,
    where points count by a workload."""
    how = ", by the workload" if unweighted else ""
    table = Table(title=f"Estimated accuracy on the points not measured{how}", title_justify="left", box=None)
    for column in ("target", "estimated", "90 % interval", "noise allows", "judged by"):
        table.add_column(column, justify="left" if column == "target" else "right")
    for target, estimate in estimates.items():
        runs = f"{judges.get(target, 0):,} run{'s'[judges.get(target) == 1:]}"
        if estimate is None:
            table.add_row(target, "–", "too few runs", "", runs)
        else:
            table.add_row(target, percent(estimate.estimated), f"{percent(estimate.low)} … {percent(estimate.high)}",
                          about_percent(estimate.ceiling), runs)
    if unweighted:
        said = (f"{target} {percent(one.estimated) if one else '–'}" for target, one in unweighted.items())
        table.caption, table.caption_justify = f"all points alike: {', '.join(said)}", "left"
    return table


def never_run(missing: Sequence[NeverRun]) -> str:
    """Text about the categories without a successful run; empty if there are none."""
    parts = [f"{len(one.values)} of {one.total} values of {one.axis}, such as {one.values[0]}" for one in missing]
    return f"no run has succeeded yet at {' and at '.join(parts)}: little can be said of them" if parts else ""


def gains_table(gains: Gains, spent: float, plain: float) -> Table:
    """The gains over the plain sweep."""
    label = "estimated" if gains.estimated else "measured"
    table = Table(title=f"Gain over the plain sweep ({label})", title_justify="left", box=None)
    for column in ("meta-metric", "gain", "90 % interval"):
        table.add_column(column, justify="left" if column == "meta-metric" else "right")
    table.add_row("experiments_gain", f"{gains.experiments:.1f}×", "")
    table.add_row("time_gain", *_gain(gains.time))
    table.add_row("resource_gain", *_gain(gains.resource))
    if gains.longest is not None:
        table.add_row("… over longest runs only", *_gain(gains.longest))
    table.caption = f"spent {duration(spent)} of accelerator time; the plain sweep: {duration(plain)} ({label})"
    table.caption_justify = "left"
    return table


def _gain(gain: Gain) -> tuple[str, str]:
    return f"{gain.value:.1f}×", f"{gain.low:.1f} … {gain.high:.1f}" if gain.low != gain.high else ""


def runs_table(observations: Observations, discarded: Mapping[int, str]) -> Table:
    """Every run with point, status and cost, and where runs were side by side, the devices of each and which others
    went on beside it; discarded runs are listed below."""
    table, placed = Table(box=None, title="Runs", title_justify="left"), placements(observations)
    for column in ("run", "point", "status", "points", "cost", *(("devices", "beside runs") if placed else ())):
        table.add_column(column, overflow="fold")
    for run in observations.runs:
        measurement, place = run.measurement, placed.get(run.number)
        reason = "; ".join(filter(None, (measurement.reason, *measurement.disturbances)))
        kind = f" ({measurement.failure_kind.words})" if measurement.failure_kind else ""
        status = measurement.status.value + kind + (f": {reason}" if reason else "")
        table.add_row(str(run.number), point_text(run.point), status, str(len(measurement.readings)),
                      duration(measurement.cost.accelerator_seconds),
                      *((place.devices, place.beside) if place else ()))
    if discarded:
        table.caption = "discarded: " + ", ".join(f"{number} ({why})" for number, why in sorted(discarded.items()))
        table.caption_justify = "left"
    return table


def evaluation_table(evaluation: EvaluationReport) -> RenderableType:
    """True accuracy beside the estimated one; a column for each target."""
    how = "audited points, measured now" if evaluation.kind == "audit" else "points that no run covered"
    table = Listing(f"True accuracy on the {how}", ["", *evaluation.scores], [""])
    for name, cell in _MEASURES.items():
        cells = [cell(evaluation, target) for target in evaluation.scores]
        if any(cells):  # a whole grid has no controls
            table.add_row(name, *cells)
    label = "estimated" if evaluation.gains.estimated else "measured"
    table.caption = (f"experiments_gain {evaluation.gains.experiments:.1f}×   "
                     f"time_gain {evaluation.gains.time.value:.1f}×   "
                     f"resource_gain {evaluation.gains.resource.value:.1f}× ({label})")
    failed = [f"{evaluation.failed:,} more could not run; no accuracy counts them"] if evaluation.failed else []
    return Group(table, *failed, *(_control_lines(evaluation) if evaluation.kind == "audit" else []))


def _accuracy(evaluation: EvaluationReport, target: str) -> str:
    ends, value = evaluation.interval.get(target), percent(evaluation.scores[target].accuracy)
    return f"{value} ({percent(ends[0])} … {percent(ends[1])})" if ends else value


def _estimated(evaluation: EvaluationReport, target: str) -> str:
    estimate = evaluation.estimates.get(target)
    return percent(estimate.estimated) if estimate else "–"


def _drifted(evaluation: EvaluationReport, target: str) -> str:
    drift = evaluation.drift.get(target)
    return f"{drift.ratio:.2f}× ({drift.low:.2f} … {drift.high:.2f})" if drift else ""


_MEASURES: Final[Mapping[str, Callable[[EvaluationReport, str], str]]] = {
    "points": lambda evaluation, target: f"{evaluation.scores[target].points:,}",
    "accuracy": _accuracy,
    "… all points alike": lambda evaluation, target: (
        percent(evaluation.scores[target].unweighted) if evaluation.is_weighted else ""),
    "estimated was": _estimated,
    "median error": lambda evaluation, target: percent(evaluation.scores[target].median_ape),
    "inside their interval": lambda evaluation, target: percent(evaluation.scores[target].coverage90),
    "noise of truth": lambda evaluation, target: percent(evaluation.noise.get(target, math.nan)),
    "controls: now / then": _drifted,
}


def _control_lines(evaluation: EvaluationReport) -> list[RenderableType]:
    """The controls of an audit, and a warning if the machine has changed since the study."""
    if not evaluation.drift:
        return ["control: none; the study ran no point on the engines that were audited"]
    lines: list[RenderableType] = [f"in brackets 90 % intervals; controls: {evaluation.controls} of the study's own "
                                   "points, measured again (smallest … largest)"]
    if evaluation.has_drifted:
        lines.append(Text("the machine is no longer as it was during the study: the errors above include that; "
                          "audit again when it is as quiet as then", style="yellow"))
    return lines


def frame_table(frame: pd.DataFrame) -> Listing:
    """A few rows of predictions, each value with its interval."""
    targets = [name for name in frame.columns if f"{name}_low" in frame.columns and f"{name}_high" in frame.columns]
    ends = {f"{name}_{end}" for name in targets for end in ("low", "high")}
    columns = [name for name in frame.columns if name not in ends]
    table = Listing("In brackets 90 % intervals", columns, ["model", "source"])
    for row in frame.to_dict(orient="records"):
        table.add_row(*(_cell(row, name, targets) for name in columns))
    return table


def _cell(row: dict[Hashable, Any], name: str, targets: list[str]) -> str:
    value = row[name]
    if name == "probability_ok":
        return percent(value)
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{value:.4g} ({low:.4g} … {high:.4g})" if name in targets else f"{value:.4g}"


