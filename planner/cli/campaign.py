"""Verbs that make and mind the record: plan, run, status, discard."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.app import (
    JsonOption,
    NameOption,
    PriorOption,
    QuietOption,
    SeedOption,
    StorageOption,
    StudyArgument,
    app,
    complain,
    console,
    opened,
    resume_hint,
    say_notes,
    write_json,
)

__all__: list[str] = []


@app.command()
def plan(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    run_s: Annotated[float, typer.Option("--run-s", min=0.0, help="Assumed seconds of a median run.")] = 5.0,
    start_s: Annotated[float, typer.Option("--start-s", min=0.0, help="Assumed seconds of an engine start.")] = 60.0,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Show how large the grid is and what it would cost, in full and adaptively. Starts nothing."""
    from planner.views.plan import plan_table

    subject, out = opened(study, storage, name, seed), console(quiet)
    planned = subject.plan(run_s=run_s, start_s=start_s)
    write_json(json_file, planned.to_json())
    say_notes(out, subject.notes)
    out.print(plan_table(planned))


@app.command()
def run(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    strategy: Annotated[str, typer.Option("--strategy", help="How points are chosen; 'full' for the whole grid.")]
    = "sweepwise",
    parallel: Annotated[int | None, typer.Option(
        "--parallel", metavar="N", min=1, show_default="1", help="Runs at a time, each on devices of its own.")] = None,
    executor: Annotated[str | None, typer.Option(
        "--executor", metavar="NAME", show_default="local", help="Where runs are made: local, or ray.")] = None,
    address: Annotated[str | None, typer.Option(
        "--address", metavar="ADDRESS", show_default=False, help="The Ray cluster's; RAY_ADDRESS by default.")] = None,
    prior: PriorOption = None, json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Measure: create the study or resume it, until what the study file asks for is reached."""
    from planner.campaign.observers import Observers
    from planner.cli.interrupt import CtrlC
    from planner.views.dashboard import DashboardWriter
    from planner.views.progress import Progress
    from planner.views.terminal import show_status

    subject, out = opened(study, storage, name, seed, prior), console(quiet)
    say_notes(out, subject.notes)
    writer = DashboardWriter(subject)
    with CtrlC() as stop, Progress(out, subject.outlook(), quiet) as progress:
        result = subject.run(strategy=strategy, observer=Observers(stop, progress, writer),
                             stop_requested=stop.requested, parallel=parallel, executor=executor, address=address)
    writer.finish(result.posterior, result.observations, result.reason)
    status = subject.status(result)
    write_json(json_file, status.to_json())
    show_status(out, status)
    if result.reason == "interrupted":
        out.print(resume_hint(), soft_wrap=True)
        raise typer.Exit(130)
    if not result.succeeded:
        complain(f"no run succeeded; the last said: {result.last_reason or 'nothing'}")
        raise typer.Exit(1)


@app.command()
def status(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    runs: Annotated[bool, typer.Option("--runs", help="List every run.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Show how far the study is: runs, cost, gains, estimated accuracy."""
    from planner.views.terminal import runs_table, show_status

    subject, out = opened(study, storage, name, seed), console(quiet)
    found = subject.status()
    write_json(json_file, found.to_json())
    if runs:
        out.print(runs_table(subject.observations(), subject.discarded()))
    show_status(out, found)


@app.command()
def discard(
    study: StudyArgument,
    number: Annotated[int, typer.Argument(metavar="RUN", help="The run's number, as status --runs lists it.")],
    why: Annotated[str, typer.Option("--why", help="The reason, kept with the run.")] = "taken back by hand",
    storage: StorageOption = None, name: NameOption = None, json_file: JsonOption = None, quiet: QuietOption = False,
) -> None:
    """Take a bad run back: it stays in the record and is used no more."""
    opened(study, storage, name).discard(number, why)
    write_json(json_file, {"discarded": number, "why": why})
    console(quiet).print(f"run {number} is discarded; `sweepwise run` measures its points anew if it needs them",
                         soft_wrap=True)
