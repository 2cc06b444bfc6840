"""Verbs that make and mind the record: plan, run, status, discard."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.app import (
    JsonOption,
    NameOption,
    QuietOption,
    SeedOption,
    StorageOption,
    StudyArgument,
    app,
    console,
    write_json,
)
from planner.cli.record import read_study

if TYPE_CHECKING:
    from planner.campaign.setup import StudySetup
    from planner.evaluation.gains import Gains
    from planner.ledger.observations import Observations
    from planner.strategies.strategy import Posterior

__all__ = ["show_state", "state_of"]

_REASONS = {
    "accuracy": "the accuracy asked for is reached (estimated, with a margin)",
    "noise": "the accuracy asked for is more than the noise of the measurements allows, and what it allows is reached; "
             "more repeats a run, or a quieter machine, would allow more",
    "cost": "the cost limit is reached", "trials": "the limit of runs is reached",
    "grid": "nothing is left to measure", "interrupted": "stopped by hand",
    "failures": "run after run failed and none succeeded; run again to try once more",
}


@app.command()
def plan(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    run_s: Annotated[float, typer.Option("--run-s", min=0.0, help="Assumed seconds of a middling run.")] = 5.0,
    start_s: Annotated[float, typer.Option("--start-s", min=0.0, help="Assumed seconds of an engine start.")] = 60.0,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Say how large the grid is and what it would cost, in full and adaptively. Starts nothing."""
    from planner.analysis.plan import plan_of, plan_table

    opened = read_study(study, storage, name, seed)
    planned = plan_of(opened, _observations_if_any(opened), run_s, start_s)
    write_json(json_file, planned.to_json())
    console(quiet).print(plan_table(planned))


@app.command()
def run(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    strategy: Annotated[str, typer.Option("--strategy", help="How points are chosen; 'full' for the whole grid.")]
    = "sweepwise",
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Measure: create the study, or resume it and finish what it was asked for."""
    from planner.campaign.loop import Loop
    from planner.campaign.observers import Observers
    from planner.campaign.stopping import Limits
    from planner.views.dashboard import DashboardWriter
    from planner.views.progress import Progress

    opened = read_study(study, storage, name, seed)
    chosen = opened.strategy(strategy)
    ledger = opened.create_or_resume()
    observations = ledger.observations(opened.grid)
    limits = Limits() if strategy == "full" else opened.limits()
    out = console(quiet)
    try:
        with _ctrl_c() as stop, Progress(out, limits, len(opened.grid), quiet) as progress:
            reached = ledger.study.user_attrs.get("stopped") in {"accuracy", "noise"}
            ledger.study.set_user_attr("stopped", None)
            writer = DashboardWriter(opened, ledger.study, observations)
            watching = Observers(progress, writer)
            loop = Loop(opened.runner, chosen, ledger, observations, limits, seed, watching, opened.clock,
                        lambda: bool(stop),
                        reached)
            reason = loop.run()
    finally:
        opened.runner.close()
    ledger.study.set_user_attr("stopped", reason)
    posterior = _posterior(opened, observations, strategy)
    writer.ended(posterior, observations, reason)
    write_json(json_file, state_of(observations, posterior, reason))
    show_state(out, opened, observations, posterior, reason)
    if reason == "interrupted":
        out.print(f"resume with: {shlex.join(['sweepwise', *sys.argv[1:]])}", soft_wrap=True)
        raise typer.Exit(130)
    if not observations.measured.any():
        failures = [r.measurement.reason for r in observations.runs if r.measurement.reason]
        print(f"sweepwise: no run succeeded; the last said: {failures[-1] if failures else 'nothing'}",
              file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def status(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    runs: Annotated[bool, typer.Option("--runs", help="List every run.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Say how far the study is: runs, cost, gains, estimated accuracy."""
    from planner.views.terminal import runs_table

    opened = read_study(study, storage, name, seed)
    ledger = opened.ledger()
    observations = ledger.observations(opened.grid)
    posterior = _posterior(opened, observations, "sweepwise")
    reason = ledger.study.user_attrs.get("stopped")
    write_json(json_file, state_of(observations, posterior, reason))
    out = console(quiet)
    if runs:
        out.print(runs_table(observations, ledger.discarded))
    show_state(out, opened, observations, posterior, reason)


@app.command()
def discard(
    study: StudyArgument,
    number: Annotated[int, typer.Argument(metavar="RUN", help="The run's number, as status --runs lists it.")],
    why: Annotated[str, typer.Option("--why", help="Kept with the run.")] = "taken back by hand",
    storage: StorageOption = None, name: NameOption = None, json_file: JsonOption = None, quiet: QuietOption = False,
) -> None:
    """Take a bad run back: it stays in the record and is used no more."""
    opened = read_study(study, storage, name)
    opened.ledger().discard(number, why)
    write_json(json_file, {"discarded": number, "why": why})
    console(quiet).print(f"run {number} is discarded; `sweepwise run` measures its points anew if it needs them",
                         soft_wrap=True)


def state_of(observations: Observations, posterior: Posterior | None, reason: str | None) -> dict[str, Any]:
    """The form of `status --json`."""
    savings = _gains(observations, posterior)
    accuracy = posterior.accuracy if posterior else dict.fromkeys(observations.targets)
    return {
        "grid_points": len(observations.grid), "runs": observations.finished, "failed": observations.failures,
        "cost_s": observations.spent,
        "points_measured": int(observations.measured.sum()),
        "experiments_gain": savings.experiments if savings else None,
        "time_gain": savings.time.value if savings else None,
        "resource_gain": savings.resource.value if savings else None,
        "gains_estimated": savings.estimated if savings else None,
        "accuracy": {
            target: {"estimated": e.estimated, "low": e.low, "high": e.high, "ceiling": e.ceiling} if e else
            {"estimated": None, "low": None, "high": None, "ceiling": None}
            for target, e in accuracy.items()
        },
        "never_run": observations.never_run(),
        "stopped": reason,
    }


def show_state(
    out: Any, opened: StudySetup, observations: Observations, posterior: Posterior | None, reason: str | None
) -> None:
    """The tables that `run` ends with and `status` shows."""
    from planner.views.terminal import accuracy_table, gains_table, never_run

    failed = f", {observations.failures} failed" if observations.failures else ""
    out.print(f"{opened.name}: {observations.finished} runs{failed}, {int(observations.measured.sum()):,} of "
              f"{len(observations.grid):,} "
              f"grid points measured", soft_wrap=True)
    if reason:
        out.print(f"stopped: {_REASONS.get(reason, reason)}", soft_wrap=True)
    savings = _gains(observations, posterior)
    if posterior is not None and savings is not None:
        out.print(gains_table(savings, observations.spent, posterior.plain.cost[0]))
        if posterior.accuracy and not observations.known.all():
            out.print(accuracy_table(dict(posterior.accuracy)))
            if unknown := never_run(observations):
                out.print(unknown, soft_wrap=True)


def _gains(observations: Observations, posterior: Posterior | None) -> Gains | None:
    from planner.evaluation.gains import gains

    return gains(observations, posterior.plain, posterior.longest) if posterior else None


def _posterior(opened: StudySetup, observations: Observations, strategy: str) -> Posterior | None:
    """What the final state is worth; nothing where nothing was measured."""
    if not observations.measured.any():
        return None
    # A full sweep has no opinion of its own about the points it has not reached yet: ours is shown.
    return opened.posterior(observations, "sweepwise" if strategy == "full" else strategy)


def _observations_if_any(opened: StudySetup) -> Observations | None:
    from planner.space.types import StudyError

    try:
        return opened.ledger().observations(opened.grid)
    except StudyError:
        return None


@contextmanager
def _ctrl_c() -> Iterator[list[bool]]:
    """The first Ctrl-C asks the loop to stop after the run in hand, a second one stops the run itself."""
    asked: list[bool] = []

    def handle(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        print("\nstopping after the run in hand; Ctrl-C again drops it", file=sys.stderr)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
