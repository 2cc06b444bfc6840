"""Verbs that decide: recommend, idealize."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
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
from planner.cli.record import load_posterior, read_study
from planner.space.slo import parse_condition
from planner.space.types import Direction, StudyError

if TYPE_CHECKING:
    import numpy as np

    from planner.analysis.isolated_latency.idealize import Prompt
    from planner.analysis.recommendation.recommend import Question, Recommendation
    from planner.campaign.setup import StudySetup
    from planner.ledger.observations import Observations
    from planner.strategies.strategy import Posterior

__all__: list[str] = []


@app.command()
def recommend(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    maximize: Annotated[str | None, typer.Option(
        "--maximize", metavar="METRIC", help="The metric of which more is better.")] = None,
    minimize: Annotated[str | None, typer.Option(
        "--minimize", metavar="METRIC", help="The metric of which less is better.")] = None,
    slo: Annotated[list[str] | None, typer.Option(
        "--slo", metavar="CONDITION", help=(
            "As in 'p99_ttft_ms <= 500'; repeatable; the study file's `slo` where none is given."))] = None,
    confidence: Annotated[float, typer.Option(
        "--confidence", metavar="SHARE", help="Least probability of meeting every condition, between 0 and 1.")] = 0.9,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many configurations to show.")] = 5,
    per_accelerator: Annotated[bool, typer.Option(
        "--per-accelerator", help="Judge the objective by what it is for each accelerator.")] = False,
    verify: Annotated[bool, typer.Option(
        "--verify", help="Measure the winner and its closest rival, as part of the study, and answer anew.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Say which configurations do best and meet every condition, with what probability."""
    from planner.views.recommendation import to_json

    subject = read_study(study, storage, name, seed)
    question = _question(subject, maximize, minimize, slo, confidence, per_accelerator)
    observations, posterior = load_posterior(subject, study, _metrics(subject, question))
    devices = subject.accelerators
    answer = _answer(subject, question, devices, posterior, observations)
    verified: dict[str, Any] | None = None
    if verify:
        before = len(observations.runs), observations.spent
        answer, observations = _verified(subject, question, devices, observations)
        verified = {"runs": len(observations.runs) - before[0], "cost_s": observations.spent - before[1]}
    write_json(json_file, {**to_json(answer, subject.grid, top), "verified": verified})
    _show(answer, subject, top, verified, quiet)


@app.command()
def idealize(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    blackbox: Annotated[Path | None, typer.Option(
        "--blackbox", metavar="FILE",
        help="CSV of timings: prompt_tokens, output_tokens, seconds; also engine, model.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(
        "--prompt", metavar="IN:OUT", help="A reference prompt, tokens in and out, as in 512:128; repeatable.")] = None,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Compare models on an equal footing: what a request takes on an engine that serves it alone."""
    from planner.analysis.isolated_latency.blackbox import ratios, read_timings
    from planner.analysis.isolated_latency.idealize import idealize as idealized
    from planner.analysis.isolated_latency.idealize import latency_metrics, reference_prompts
    from planner.views.isolated_latency import idealized_json, idealized_tables, ratio_table

    subject = read_study(study, storage, name, seed)
    prompts = [_prompt(text) for text in prompt] if prompt else reference_prompts(subject.grid)
    timings = None if blackbox is None else read_timings(blackbox, subject.grid)
    metrics = latency_metrics(subject.ledger().observations(subject.grid).metrics)
    observations, posterior = load_posterior(subject, study, metrics)
    engines, silent = idealized(observations, posterior, subject.accelerators, seed)
    price = subject.spec.price.per_accelerator_hour if subject.spec.price else None
    found = None if timings is None else ratios(timings, engines, subject.grid)
    write_json(json_file, idealized_json(engines, silent, found, prompts, subject.grid, price))
    out = console(quiet)
    for part in idealized_tables(engines, silent, prompts, subject.grid, price):
        out.print(part)
        out.print()
    if found is not None:
        out.print(ratio_table(found, subject.grid))


def _prompt(text: str) -> Prompt:
    from planner.analysis.isolated_latency.idealize import Prompt

    match = re.fullmatch(r"([1-9][0-9]*):([1-9][0-9]*)", text.strip())
    if match is None:
        raise StudyError(f"--prompt: cannot read '{text}'; write tokens in and out like 512:128")
    return Prompt(int(match[1]), int(match[2]))


def _question(
    study: StudySetup, maximize: str | None, minimize: str | None, slo: list[str] | None, confidence: float,
    per_accelerator: bool,
) -> Question:
    from planner.analysis.recommendation.recommend import Question

    if maximize is not None and minimize is not None:
        raise StudyError("--minimize: stands beside --maximize; name one objective, and bound others by --slo")
    if not 0 < confidence < 1:
        raise StudyError(f"--confidence: {confidence:g} is no probability between 0 and 1; 0.9 is usual")
    objective = maximize or minimize or next(
        (metric.name for metric in study.metrics if metric.direction is Direction.MAXIMIZE), None)
    if objective is None:
        raise StudyError("--maximize: of no target it is said that more is better; name what to maximize or minimize")
    given = [(text, "--slo") for text in slo] if slo else [(t, f"slo[{i}]") for i, t in enumerate(study.spec.slo)]
    conditions = tuple(dict.fromkeys(parse_condition(text, key) for text, key in given))
    return Question(objective, minimize is None, conditions, confidence, per_accelerator)


def _metrics(study: StudySetup, question: Question) -> tuple[str, ...]:
    """The metrics to model beside the targets: those asked for, and what was measured and belongs to an answer."""
    from planner.analysis.recommendation.recommend import extra_metrics

    measured = study.ledger().observations(study.grid).metrics
    return (*question.metrics, *extra_metrics(measured))


def _answer(
    study: StudySetup, question: Question, devices: np.ndarray, posterior: Posterior, observations: Observations
) -> Recommendation:
    from planner.analysis.recommendation.recommend import recommend as answer_of

    price = study.spec.price.per_accelerator_hour if study.spec.price else None
    return answer_of(question, posterior, observations, devices, price)


def _verified(
    study: StudySetup, question: Question, devices: np.ndarray, observations: Observations
) -> tuple[Recommendation, Observations]:
    """Measure until the winner is measured; what was measured belongs to the study."""
    from planner.campaign.loop import Loop
    from planner.campaign.stopping import Limits
    from planner.campaign.verify import Verifier
    from planner.space.types import Status

    ledger = study.create_or_resume()
    observations = ledger.observations(study.grid).with_targets(observations.targets)
    strategy = Verifier(lambda: study.strategy("sweepwise"),
                        lambda posterior, now: _answer(study, question, devices, posterior, now))
    try:
        Loop(study.runner, strategy, ledger, observations, Limits(), study.seed, clock=study.clock).run()
    finally:
        study.runner.close()
    if observations.runs[-1].measurement.status is Status.INTERRUPTED:
        print(f"sweepwise: interrupted; resume with: {shlex.join(['sweepwise', *sys.argv[1:]])}", file=sys.stderr)
        raise typer.Exit(130)
    return _answer(study, question, devices, study.posterior(observations), observations), observations


def _show(answer: Recommendation, study: StudySetup, top: int, verified: dict[str, Any] | None, quiet: bool) -> None:
    from planner.space.text import duration
    from planner.views.recommendation import (
        best_table,
        front_tables,
        largest_table,
        saturation_table,
        summary_lines,
    )

    out = console(quiet)
    if verified is not None:
        out.print(f"verified: {verified['runs']} runs for {duration(verified['cost_s'])} of accelerator time, kept in "
                  "the study", soft_wrap=True)
    if len(answer.best):
        out.print(best_table(answer, study.grid, top))
    for line in summary_lines(answer, study.grid):
        out.print(line, soft_wrap=True)
    for table in (*front_tables(answer, study.grid), largest_table(answer, study.grid),
                  saturation_table(answer, study.grid)):
        if table is not None:
            out.print()
            out.print(table)
