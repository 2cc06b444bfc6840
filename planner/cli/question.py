"""The options that say what is asked, shared by `recommend` and `report --decision`."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["BaselineOption", "ConfidenceOption", "MaximizeOption", "MinimizeOption", "PerAcceleratorOption",
           "ShareOption", "SloOption", "TierOption", "WorkloadOption"]

MaximizeOption = Annotated[str | None, typer.Option("--maximize", metavar="METRIC", help="The metric to maximize.")]
MinimizeOption = Annotated[str | None, typer.Option("--minimize", metavar="METRIC", help="The metric to minimize.")]
SloOption = Annotated[
    list[str] | None, typer.Option(
        "--slo", metavar="CONDITION", help=(
            "As in 'p99_ttft_ms <= 500'; repeatable; the study file's `slo` where none is given."))]
TierOption = Annotated[
    list[str] | None, typer.Option(
        "--tier", metavar="CONDITIONS", help=(
            "As in 'p99_ttft_ms <= 500 and tpot_ms <= 40': show the highest load that meets it; repeatable; the "
            "study's boundary, else all conditions, where none is given."))]
ConfidenceOption = Annotated[
    float, typer.Option(
        "--confidence", metavar="SHARE", help="Least probability of meeting every condition, between 0 and 1.")]
PerAcceleratorOption = Annotated[
    bool, typer.Option(
        "--per-accelerator", help="Divide the objective by the accelerators used (multiply it, where less is better).")]
WorkloadOption = Annotated[
    list[str] | None, typer.Option(
        "--workload", metavar="PART|TRACE", help=(
            "The requests to serve: input_len=1024,output_len=128:0.7 with its share, repeatable; or the file of a "
            "trace; the study file's `workload` where none is given."))]
ShareOption = Annotated[
    float, typer.Option(
        "--share", metavar="SHARE", help="Share of the workload's requests that must meet every condition.")]
BaselineOption = Annotated[
    str | None, typer.Option(
        "--baseline", metavar="AXIS=VALUE,…", help=(
            "The configuration to compare with, as in tensor_parallel_size=1; the study file's `baseline` where none "
            "is given."))]
