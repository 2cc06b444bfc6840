"""The verb simulate: would adaptive sampling have worked on this recorded grid?"""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.app import JsonOption, QuietOption, SeedOption, StorageOption, StudyArgument, app, console
from planner.cli.record import read_study
from planner.space.types import StudyError

__all__: list[str] = []


@app.command()
def simulate(
    study: StudyArgument,
    strategies: Annotated[
        str, typer.Option("--strategies", help="Names, separated by commas; a wrong one is answered by all of them.")
    ] = "sweepwise",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds of each strategy.")] = 3,
    at_cost: Annotated[str, typer.Option("--at-cost", help="Shares of the full cost at which to score.")]
    = "0.01,0.02,0.05,0.1",
    stop_accuracy: Annotated[
        float, typer.Option("--stop-accuracy", min=0.0, max=1.0, help="Where the stopping rule would stop.")] = 0.95,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Simulations at a time.")] = 1,
    storage: StorageOption = None, json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Play the adaptive loop against a recorded grid and score it against the truth.

    What --json names is written after each simulation, and an equal call goes on from there.
    """
    from planner.simulation.simulate import Replay, simulate_each
    from planner.simulation.simulation_file import SimulationFile, header
    from planner.strategies.registry import check_names
    from planner.views.simulation import SimulationProgress, simulation_table

    opened = read_study(study, storage, seed=seed)
    names = list(dict.fromkeys(name.strip() for name in strategies.split(",") if name.strip()))
    if not names:
        raise StudyError("--strategies: names none; write one or more, as in sweepwise,random")
    if not 0 <= stop_accuracy <= 1:
        raise StudyError(f"--stop-accuracy: {stop_accuracy} is out of range; it lies between 0 and 1")
    shares = _shares(at_cost)
    replay = Replay(opened.recorded(), opened.metrics)
    check_names(names, "--strategies")
    for name in names:
        opened.strategy(name)  # refused before any is played
    tasks = [(name, number) for name in names for number in range(seed, seed + seeds)]
    about = header(opened.name, opened.text, replay, shares, stop_accuracy)
    record, out = SimulationFile(json_file, about, tasks), console(quiet)
    with SimulationProgress(out, len(tasks), len(tasks) - len(record.missing)) as progress:
        for runs in simulate_each(replay, record.missing, shares, stop_accuracy, jobs):
            record.add(runs)
            progress.finished(runs)
    out.print(simulation_table(record.answer()))


def _shares(text: str) -> list[float]:
    try:
        shares = sorted({float(part) for part in text.split(",")})
    except ValueError as error:
        raise StudyError(f"--at-cost: cannot read '{text}'; write shares of the full cost, as in 0.01,0.05") from error
    if not shares or not all(0 < share <= 1 for share in shares):
        raise StudyError(f"--at-cost: '{text}' is out of range; shares of the full cost lie above 0 and up to 1")
    return shares
