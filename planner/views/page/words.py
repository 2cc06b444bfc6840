"""Text and tables of a report, the same for a page and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from planner.analysis.rates import Rates
from planner.analysis.report import Accuracy, Report
from planner.space.text import about_percent, duration, percent, point_text
from planner.views.boundary import boundary_rows, load_name, undecided_text
from planner.views.machine import drift_text
from planner.views.priors import prior_lines
from planner.views.quality import HEAD, quality_rows
from planner.views.terminal import never_run

__all__ = ["Large", "Table", "boundary_tables", "headline", "paragraphs", "tables"]

_MOST_REASONS: Final = 12


@dataclass(frozen=True, slots=True)
class Large:
    """One of the four figures at the top."""

    label: str
    value: str
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def headline(report: Report) -> list[Large]:
    """The headline figures: request, cost, cost of the plain sweep, accuracy of the rest."""
    observations = report.observations
    failed = f", {observations.failures:,} of them failed" if observations.failures else ""
    money = report.money(observations.spent)
    return [
        Large("asked for", f"{len(observations.grid):,} points", [_asked(report)]),
        Large("spent", duration(observations.spent), [
            f"{observations.finished:,} runs{failed}; {int(observations.measured.sum()):,} points measured",
            *([f"${money:,.2f} at the price given"] if money is not None else [])]),
        Large("the plain sweep", duration(report.plain[0]), _plain_notes(report)),
        _accuracy(report),
    ]


def paragraphs(report: Report) -> dict[str, str]:
    """Place in the report → text."""
    rates = report.rates
    return {
        "summary": _summary(report),
        "tradeoff": f"Left out: {rates}." if isinstance(rates, str) else f"{rates.how}.{_quality(rates)}",
        "load": "Each line is an engine configuration with a workload: predicted, with its 90 % band. Dots are "
                "measured; a cross is a load that the server could not keep up with. The dashed line is the SLO's "
                "bound. A click in the legend shows or hides a line.",
        "failing": f"{report.expected_failures:,} points that no run has tried are expected to fail "
                   "(probability above one half).",
        "curve": _curve(report),
        "boundary": _boundary(report),
        "machine": _machine(report),
        "priors": " ".join(f"{line[0].upper()}{line[1:]}." for line in prior_lines(report.posterior.priors)),
        "kind": "true" if any(one.kind == "true" for one in report.accuracies) else "estimated",
    }


def _quality(rates: Rates) -> str:
    found = rates.quality
    return "" if found is None else (
        f" Colours show {found.figure.name}; of {len(found.front):,} points no other is at least as good in all three.")


def tables(report: Report) -> dict[str, Table]:
    """Name → table; tables may have no rows."""
    return {
        "accuracy": _accuracy_table(report), "gains": _gains_table(report), "failures": _failure_table(report),
        "saturation": _saturation_table(report),
        "spending": Table(("spent on", "accelerator time", "share"), [
            (name, duration(seconds), percent(seconds / report.spending.total))
            for name, seconds in report.spending.parts]),
        "starts": Table(("part of engine starts", "starts", "each", "share"), [
            (part.name, f"{part.starts:,}", duration(part.seconds / part.starts), percent(part.share))
            for part in report.start_parts]),
        "quality": Table(HEAD, quality_rows(report.quality) if report.quality else []),
        "fingerprint": Table(("key", "value"), sorted(report.provenance.fingerprint.items())),
        "versions": Table(("package", "version"), list(report.provenance.versions.items())),
    }


def _machine(report: Report) -> str:
    """Whether the machine was the same all along; empty where nothing can tell, as in a study without times."""
    drift = report.posterior.drift
    noted = [f"A run was disturbed: {line}." for line in report.disturbances]
    if drift is None:
        return " ".join(noted)
    changed = drift_text(drift)
    said = f"{changed[0].upper()}{changed[1:]}." if changed else (
        "No change of the machine was seen while the study ran; a run takes now "
        f"{percent(drift.low)} … {percent(drift.high)} of what it took at first (90 % interval).")
    return " ".join([said, *noted])


def _boundary(report: Report) -> str:
    found = report.boundaries
    if found is None:
        return ""
    attainment = found.attainment
    return (f"The highest {load_name(found)} that meets {'each of these' if len(found.tiers) > 1 else found.tiers[0]}, "
            "for each engine configuration and workload. In brackets: it is met with 95 % up to the first load, with "
            "5 % at most from the second on. "
            f"{undecided_text(attainment.open_count, attainment.total, attainment.boundary.confidence).capitalize()}.")


def boundary_tables(report: Report) -> list[tuple[str, Table]]:
    """Title and table of the highest loads; none where no boundary is known."""
    if report.boundaries is None:
        return []
    return [(title, Table(head, rows)) for title, head, rows in boundary_rows(
        report.boundaries, report.observations.grid)]


def _asked(report: Report) -> str:
    stop = report.study.spec.stop
    cost = stop.cost_limit
    limits = [f"{percent(stop.accuracy)} accuracy"] if stop.accuracy is not None else []
    if report.study.boundary is not None:
        limits.append(f"the boundary of {'; '.join(map(str, report.study.boundary.tiers))} is found")
    if stop.decision is not None:
        limits.append(f"the best configuration is known with {percent(stop.decision)}")
    if cost is not None and cost.kind == "share":
        limits.append(f"{cost.amount * 100:g} % of the sweep's cost")
    elif cost is not None:
        limits.append(f"${cost.amount:g}" if cost.kind == "money" else duration(cost.amount))
    limits += [f"{stop.trials:,} runs"] if stop.trials is not None else []
    return "until " + ", or ".join(limits) if limits else "until 95.0 % accuracy"


def _plain_notes(report: Report) -> list[str]:
    _, low, high = report.plain
    gain = report.savings.resource
    if not report.savings.estimated:
        return [f"as measured; {gain.value:.1f}× what was spent"]
    return [f"estimated: {gain.value:.1f}× what was spent", f"90 % interval {duration(low)} to {duration(high)}"]


def _accuracy(report: Report) -> Large:
    if report.observations.known.all():
        return Large("accuracy of the rest", "–", ["every point was measured; nothing is predicted"])
    worst = report.worst
    if worst is None or worst.value is None:
        missing = ", ".join(one.target for one in report.accuracies if one.value is None)
        return Large("accuracy of the rest", "unknown", [f"too few runs to estimate it for {missing}"])
    several = f", the least accurate of {len(report.accuracies)} targets" if len(report.accuracies) > 1 else ""
    notes = [f"{worst.target}{several}", *_interval(worst)]
    return Large(f"{worst.kind} accuracy of the rest", percent(worst.value), notes)


def _interval(one: Accuracy) -> list[str]:
    if one.estimated is None or one.low is None or one.high is None:
        return ["no estimate without truth: too few runs"]
    ends = f"90 % interval {percent(one.low)} to {percent(one.high)}"
    return [ends] if one.kind == "estimated" else [f"estimated without truth: {percent(one.estimated)}, {ends}"]


def _how_known(one: Accuracy) -> str:
    if one.kind == "true" or one.low is None or one.high is None:
        return "true: checked against a measured grid"
    return f"estimated; 90 % interval {percent(one.low)} to {percent(one.high)}"


def _summary(report: Report) -> str:
    observations, gain = report.observations, report.savings.resource
    said = [f"{observations.finished:,} runs measured {int(observations.measured.sum()):,} of "
            f"{len(observations.grid):,} grid points in "
            f"{duration(observations.spent)} of accelerator time."]
    how = "measured" if not report.savings.estimated else (
        f"estimated; 90 % interval {duration(report.plain[1])} to {duration(report.plain[2])}")
    said.append(f"Measuring every point by itself costs {duration(report.plain[0])} ({how}), "
                f"{gain.value:.1f} times as much.")
    worst = report.worst
    if worst is not None and worst.value is not None and not observations.known.all():
        said.append(f"Its predictions of the other points are {percent(worst.value)} accurate for {worst.target}"
                    f"{', the least accurate target' if len(report.accuracies) > 1 else ''} ({_how_known(worst)}).")
    if unknown := never_run(report.never_run):
        said.append(f"{unknown[0].upper()}{unknown[1:]}.")
    return " ".join(said)


def _curve(report: Report) -> str:
    said = "Accuracy of the least accurate target on the points not yet measured, over what had been spent."
    if any(curve.strategy != "sweepwise" for curve in report.curves):
        said += (" Other strategies are played on the recorded grid: random and Latin hypercube points with our model, "
                 "two seeds each; powers of two of the batch axis with straight lines between them.")
    return said


def _accuracy_table(report: Report) -> Table:
    head = ["target", "estimated accuracy", "90 % interval", "noise allows"]
    scores = report.evaluation.scores if report.evaluation else {}
    if scores:
        head += ["true accuracy", "median error", "95 % of errors below", "inside 90 % interval"]
    rows = []
    for one in report.accuracies:
        row = [one.target, *([percent(one.estimated), f"{percent(one.low)} to {percent(one.high)}",
                              about_percent(one.ceiling)]
                             if one.estimated is not None and one.low is not None and one.high is not None
                             and one.ceiling is not None else ["–", "too few runs", "–"])]
        if one.target in scores:
            found = scores[one.target]
            row += [percent(number) for number in
                    (found.accuracy, found.median_ape, found.p95_ape, found.coverage90)]
        rows.append(row)
    return Table(head, [] if report.observations.known.all() else rows)


def _gains_table(report: Report) -> Table:
    found = report.savings
    label = "estimated" if found.estimated else "measured"
    rows = [("experiments_gain", f"{found.experiments:.1f}×", "points for each run")]
    for name, gain in (("time_gain", found.time), ("resource_gain", found.resource),
                       ("over longest runs only", found.longest)):
        if gain is not None:
            ends = f"estimated, 90 % interval {gain.low:.1f} to {gain.high:.1f}" if gain.low != gain.high else label
            rows.append((name, f"{gain.value:.1f}×", ends))
    return Table(("meta-metric", "gain", "how it is known"), rows)


def _saturation_table(report: Report) -> Table:
    """The lines that saturate within the grid: from which load on more of it gives no more throughput."""
    found = report.load_curves
    rows = []
    for panel in found.panels if found else ():
        for curve in panel.curves:
            if curve.saturates is not None:
                seen = found is not None and found.saturated[curve.saturates]
                rows.append((curve.name, f"{panel.axis.name} {panel.loads[curve.saturates]:g}",
                             "a run fell behind" if seen else "throughput levels off"))
    more = [(f"{len(rows) - _MOST_REASONS} more", "", "")] if len(rows) > _MOST_REASONS else []
    head = ("engine configuration and workload", "saturates from", "how it is known")
    return Table(head, rows[:_MOST_REASONS] + more)


def _failure_table(report: Report) -> Table:
    found = report.failures
    rows = [(one.kind.words, one.reason, f"{one.runs:,}", point_text(one.example), duration(one.cost_s))
            for one in found[:_MOST_REASONS]]
    if rest := found[_MOST_REASONS:]:
        rows.append(("", f"{len(rest)} other reasons", f"{sum(one.runs for one in rest):,}", "", ""))
    return Table(("kind", "reason", "runs", "for example at", "cost"), rows)
