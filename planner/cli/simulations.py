"""The verb simulate: would adaptive sampling have worked on this recorded grid?"""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.app import (
    JsonOption,
    QuietOption,
    SeedOption,
    StorageOption,
    StudyArgument,
    app,
    console,
    opened,
    say_notes,
)
from planner.space.types import StudyError

__all__: list[str] = []


@app.command()
def simulate(
    study: StudyArgument,
    strategies: Annotated[
        str, typer.Option("--strategies", help="Names, separated by commas; a wrong name lists them all.")
    ] = "sweepwise",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of each strategy.")] = 3,
    at_cost: Annotated[str, typer.Option("--at-cost", help="Shares of the full cost at which to score.")]
    = "0.01,0.02,0.05,0.1",
    stop_accuracy: Annotated[
        float, typer.Option(
            "--stop-accuracy", min=0.0, max=1.0, help="Accuracy at which the stopping rule would stop.")] = 0.95,
    workers: Annotated[
        str, typer.Option("--workers", help="Play with so many workers on one study, as in 1,8,64.")] = "",
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Simulations at a time.")] = 1,
    storage: StorageOption = None, json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Play the adaptive loop against a recorded grid and score it against the truth.

    The file of --json is written after each simulation, and the same command continues from there.
    """
    from planner.views.simulation import SimulationProgress, decisions_table, simulation_table, workers_table

    subject, out = opened(study, storage, seed=seed), console(quiet)
    say_notes(out, subject.notes)
    names = [name.strip() for name in strategies.split(",") if name.strip()]
    with SimulationProgress(out) as progress:
        found = subject.simulate(names, seeds=seeds, at_cost=_shares(at_cost), stop_accuracy=stop_accuracy, jobs=jobs,
                                 file=json_file, observer=progress, workers=_numbers(workers))
    out.print(workers_table(found) if workers else simulation_table(found))
    if found.decisions:
        out.print(decisions_table(found))


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise StudyError(f"--at-cost: cannot read '{text}'; write shares of the full cost, as in 0.01,0.05") from error


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError as error:
        raise StudyError(f"--workers: cannot read '{text}'; write numbers of workers, as in 1,8,64") from error
