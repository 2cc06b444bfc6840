"""Verbs that decide: recommend, capacity, idealize."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.app import (
    JsonOption,
    NameOption,
    QuietOption,
    SeedOption,
    StorageOption,
    StudyArgument,
    app,
    complain,
    console,
    opened,
    resume_hint,
    write_json,
)
from planner.space.types import StudyError

__all__: list[str] = []


@app.command()
def recommend(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    maximize: Annotated[str | None, typer.Option(
        "--maximize", metavar="METRIC", help="The metric to maximize.")] = None,
    minimize: Annotated[str | None, typer.Option(
        "--minimize", metavar="METRIC", help="The metric to minimize.")] = None,
    slo: Annotated[list[str] | None, typer.Option(
        "--slo", metavar="CONDITION", help=(
            "As in 'p99_ttft_ms <= 500'; repeatable; the study file's `slo` where none is given."))] = None,
    tier: Annotated[list[str] | None, typer.Option(
        "--tier", metavar="CONDITIONS", help=(
            "As in 'p99_ttft_ms <= 500 and tpot_ms <= 40': show the highest load that meets it; repeatable; the "
            "study's boundary, else all conditions, where none is given."))] = None,
    confidence: Annotated[float, typer.Option(
        "--confidence", metavar="SHARE", help="Least probability of meeting every condition, between 0 and 1.")] = 0.9,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many configurations to show.")] = 5,
    per_accelerator: Annotated[bool, typer.Option(
        "--per-accelerator",
        help="Divide the objective by the accelerators used (multiply it, where less is better).")] = False,
    workload: Annotated[list[str] | None, typer.Option(
        "--workload", metavar="PART|TRACE", help=(
            "The requests to serve: input_len=1024,output_len=128:0.7 with its share, repeatable; or the file of a "
            "trace; the study file's `workload` where none is given."))] = None,
    share: Annotated[float, typer.Option(
        "--share", metavar="SHARE", help="Share of the workload's requests that must meet every condition.")] = 1.0,
    baseline: Annotated[str | None, typer.Option(
        "--baseline", metavar="AXIS=VALUE,…", help=(
            "The configuration to compare with, as in tensor_parallel_size=1; the study file's `baseline` where none "
            "is given."))] = None,
    whole: Annotated[bool, typer.Option("--all", help="Show the tables behind the answer too.")] = False,
    verify: Annotated[bool, typer.Option(
        "--verify",
        help="Measure the winner and its closest competitor, as part of the study, and answer again.")] = False,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Show the best configurations that meet every condition, and with what probability they do."""
    from planner.views.decision import decision_json, show_decision

    subject = opened(study, storage, name, seed)
    answer = subject.recommend(maximize=maximize, minimize=minimize, slo=slo, confidence=confidence,
                               per_accelerator=per_accelerator, verify=verify, tiers=tier or (),
                               workload=workload or (), share=share, baseline=baseline)
    if answer.verified is not None and answer.verified.interrupted:
        complain(f"interrupted; {resume_hint()}")
        raise typer.Exit(130)
    write_json(json_file, decision_json(answer, subject.grid, top))
    show_decision(console(quiet), answer, subject.grid, top, whole)


@app.command()
def capacity(
    study: StudyArgument, storage: StorageOption = None, name: NameOption = None,
    rate: Annotated[list[str] | None, typer.Option(
        "--rate", metavar="RATE[,RATE…]", help=(
            "Requests per second of the whole service; further ones are compared. Repeatable."))] = None,
    slo: Annotated[list[str] | None, typer.Option(
        "--slo", metavar="CONDITION", help=(
            "As in 'p99_ttft_ms <= 500'; repeatable; the study file's `slo`, else its boundary, where none is "
            "given."))] = None,
    confidence: Annotated[float, typer.Option(
        "--confidence", metavar="SHARE", help="Least probability of meeting every condition, between 0 and 1.")] = 0.9,
    workload: Annotated[list[str] | None, typer.Option(
        "--workload", metavar="PART|TRACE", help=(
            "The requests to serve: input_len=1024,output_len=128:0.7 with its share, repeatable; or the file of a "
            "trace; the study file's `workload` where none is given."))] = None,
    share: Annotated[float, typer.Option(
        "--share", metavar="SHARE", help="Share of the workload's requests that must meet every condition.")] = 1.0,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many configurations to show.")] = 3,
    json_file: JsonOption = None, quiet: QuietOption = False, seed: SeedOption = 0,
) -> None:
    """Show how many accelerators serve a load within the service levels, the cheapest configuration first."""
    from planner.views.capacity import capacity_json, show_capacity

    found = opened(study, storage, name, seed).capacity(
        [_rate(word) for text in rate or () for word in text.split(",")], slo=slo, confidence=confidence,
        workload=workload or (), share=share)
    write_json(json_file, capacity_json(found, top))
    show_capacity(console(quiet), found, top)


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise StudyError(f"--rate: cannot read '{text}'; write requests per second like 40, or 20,40,80") from None


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
    """Compare models by the time that a request takes on an engine that serves it alone."""
    from planner.views.isolated_latency import idealized_json, idealized_tables, ratio_table

    subject = opened(study, storage, name, seed)
    found = subject.idealize(prompts=[_prompt(text) for text in prompt or ()], blackbox=blackbox)
    write_json(json_file, idealized_json(found))
    out = console(quiet)
    for part in idealized_tables(found):
        out.print(part)
        out.print()
    if found.blackbox is not None:
        out.print(ratio_table(found.blackbox, subject.grid))


def _prompt(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]*):([1-9][0-9]*)", text.strip())
    if match is None:
        raise StudyError(f"--prompt: cannot read '{text}'; write tokens in and out like 512:128")
    return int(match[1]), int(match[2])
