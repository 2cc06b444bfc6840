"""Reports of inference-perf (kubernetes-sigs, 0.1 … 0.7): the folder of a run, a row for each stage of its load.

  stage_N_lifecycle_metrics.json    a row (inference_perf/reportgen/base.py, summarize_requests)
  summary_lifecycle_metrics.json    all stages mixed, and the pauses between them: read only where no stage is there
  config.yaml                       settings (inference_perf_config.py)
  per_request_…, adapter_…, *_prometheus_metrics.json, validation.json    not read

Latencies are seconds over the successful requests. request_latency is vLLM's e2el, inter_token_latency its itl.
normalized_time_per_output_token (latency / tokens) is not vLLM's tpot. time_per_output_token is: (last token − first
token) / (tokens − 1). What versions count as tokens differs, and no report names its version:

  0.1, 0.2    every line of the answer, so that tpot comes out half as long, and itl of empty lines
  0.3, 0.4    every message, with the closing one
  0.5         (benchmark_time_seconds, no output_tokens) tokens of each chunk tokenized alone: twice as many with
              tokenizers that begin each text with a token of their own; rates of output tokens are then twice too high
  0.6, 0.7    tokens; all tokens of a chunk get the chunk's time, so a gap of 0 says that chunks hold several

So reports of 0.1 to 0.4 are compared with (mean latency − mean time to first token) / (mean tokens − 1), and tpot and
itl left out if they are more than 10 % off. In reports of 0.5 whatever counts output tokens is left out if the server
counted others (token_count_mismatches), or if there are gaps of 0. Since 0.6 gaps of 0 mean that itl is left out.

requested_rate is the request rate, except with a limit of concurrency: there it is the number of requests. Rates are
divided by the time from the first request to the last answer, failed requests included. A stage with failed requests
is a failure. Lengths are those that the configuration asks for, or else those that all requests had.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.inference_perf_config import Config, read_config
from planner.importers.rows import (
    Counts,
    Provenance,
    Row,
    content_identity,
    number,
    parse_json,
    read_bytes,
    section,
    usable,
)
from planner.importers.values import plain, usable_from_zero
from planner.space.types import StudyError, Value

__all__ = ["InferencePerf"]

_STAGE: Final = re.compile(r"stage_(\d+)_lifecycle_metrics\.json$")
_SUMMARY: Final = "summary_lifecycle_metrics.json"
_NAMES: Final = {"request_latency": "e2el", "time_to_first_token": "ttft", "time_per_output_token": "tpot",
                 "inter_token_latency": "itl"}
_RATES: Final = {"requests_per_sec": "request_throughput", "output_tokens_per_sec": "output_throughput",
                 "total_tokens_per_sec": "total_token_throughput"}
_STATISTICS: Final = ("mean", "median", "p50", "p75", "p90", "p95", "p99", "p99.9")
_OF_TOKENS: Final = ("tpot", "itl", "output_throughput", "total_token_throughput", "request_goodput")
_FAR: Final = 0.1
_OF_REQUESTS: Final = frozenset({"start_time", "end_time", "info", "error"})


class InferencePerf:
    """The folder of a run, or one file of it."""

    def recognises(self, source: Source) -> bool:
        """Whether the folder has such a report, or the file is one."""
        if source.is_folder:
            return any(_files(source.path))
        return _is_report(source.json) or _is_requests(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each stage; for the whole run if no stage is there. Raises StudyError."""
        if not path.is_dir():
            return [_row_of(path, name)]
        stages, summaries = _files(path)
        found = stages or summaries
        if not found:
            raise StudyError(f"{name}: holds no stage_N_lifecycle_metrics.json of inference-perf; name the folder of a "
                             "run")
        return [_row_of(file, f"{name}/{file.name}") for file in found]


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Reports of stages in order, and reports over all stages. Those of one LoRA adapter are a part of them."""
    try:
        files = sorted(file for file in folder.iterdir() if "adapter_" not in file.name)
    except OSError:
        return [], []
    stages = [(int(found[1]), file) for file in files if (found := _STAGE.search(file.name))]
    return [file for _, file in sorted(stages)], [file for file in files if file.name.endswith(_SUMMARY)]


def _is_report(data: Any) -> bool:
    if not isinstance(data, dict) or not data.keys() >= {"load_summary", "successes", "failures"}:
        return False
    successes = data["successes"]
    return isinstance(successes, dict) and successes.keys() >= {"count", "latency", "throughput"}


def _is_requests(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and data[0].keys() >= _OF_REQUESTS


def _row_of(file: Path, name: str) -> Row:
    data, digest = read_bytes(file)
    report = parse_json(data, name)
    if _is_requests(report):
        raise StudyError(f"{name}: lists single requests; name the folder, or its stage_N_lifecycle_metrics.json")
    if not _is_report(report):
        raise StudyError(f"{name}: is not a lifecycle report of inference-perf; name the folder of a run, or its "
                         "stage_N_lifecycle_metrics.json")
    if file.name.startswith("adapter_"):
        raise StudyError(f"{name}: has the requests of one LoRA adapter only; name the folder, or its "
                         "stage_N_lifecycle_metrics.json")
    found = _STAGE.search(file.name)
    stage = int(found[1]) if found else None
    notes = ["server start is not in the file"]
    config = read_config(file.with_name("config.yaml"), stage, notes)
    place = Provenance(name, digest, "inference-perf", "report" if stage is None else f"stage {stage}",
                       identity=content_identity(report))
    return _row(report, place, config, notes)


def _row(report: Mapping[str, Any], place: Provenance, config: Config, notes: list[str]) -> Row:
    where = place.where
    load, successes = section(report, "load_summary", where), section(report, "successes", where)
    latency, throughput = section(successes, "latency", where), section(successes, "throughput", where)
    whole = _is_of_all_stages(load, place, config, notes)
    good = number(successes.get("count"), where, "successes.count")
    lost = number(section(report, "failures", where).get("count"), where, "failures.count")
    doubtful = _is_doubtful(report, successes, latency, notes)
    counts = _counts(successes, good, notes)
    rate = usable(throughput.get("requests_per_sec"), "requests_per_sec", notes)
    seconds = usable(report.get("benchmark_time_seconds"), "benchmark_time_seconds", notes) or (
        good / rate if rate and math.isfinite(good / rate) else None)
    lengths = {name: value for name, value in _counted(successes).items() if name != "output_len" or not doubtful}
    others = {**{key: value for key in ("requested_rate", "achieved_rate", "send_duration")
                 if (value := plain(load.get(key))) is not None}, **config.others}
    row = Row({**lengths, **_load(load, config), **config.fields}, {},
              seconds or usable(load.get("send_duration"), "send_duration", notes) or 0.0, place, others=others,
              counts=replace(counts, duration_s=None if whole else seconds,
                             output_tokens=None if doubtful else counts.output_tokens))
    if lost or not good:
        return replace(row, failure=f"{int(lost)} of {int(lost + good)} requests failed", notes=tuple(notes))
    old = "benchmark_time_seconds" not in report
    metrics = _latencies(latency, old and _is_off(latency, counts, notes), notes)
    if not whole:
        metrics |= _rates(throughput, successes.get("goodput_metrics"), notes)
    if doubtful:
        metrics = {name: value for name, value in metrics.items() if not any(part in name for part in _OF_TOKENS)}
    if not metrics:
        raise StudyError(f"{where}: holds no figure that can be used ({'; '.join(notes)}); leave the file out")
    return replace(row, metrics=metrics, notes=tuple(notes))


def _is_doubtful(report: Mapping[str, Any], successes: Mapping[str, Any], latency: Mapping[str, Any], notes: list[str]
                 ) -> bool:
    """Whether the report is of 0.5, and its output tokens are not those of the server."""
    gaps = latency.get("inter_token_latency")
    several = isinstance(gaps, dict) and gaps.get("min") == 0
    if "benchmark_time_seconds" not in report or "output_tokens" in successes or not (
            several or successes.get("token_count_mismatches")):
        return False
    notes.append("inference-perf 0.5 counted other output tokens than the server: whatever counts them is left out")
    return True


def _is_of_all_stages(load: Mapping[str, Any], place: Provenance, config: Config, notes: list[str]) -> bool:
    """Whether the report may mix several stages. Raises StudyError if it does."""
    if config.stages == 1 or "requested_rate" in load:
        return False
    if config.stages > 1:
        raise StudyError(f"{place.where}: mixes {config.stages} stages of different load, which are no point; name the "
                         "folder with stage_N_lifecycle_metrics.json (report.request_lifecycle.per_stage: true)")
    notes.append("the report is of all stages, whose number is not in the file: rates, which count the pauses between "
                 "stages, are left out")
    return True


def _counts(successes: Mapping[str, Any], good: float, notes: list[str]) -> Counts:
    """Tokens as the server counted them, where the report has that."""
    totals = []
    for first, second in (("prompt_tokens", "prompt_len"), ("output_tokens", "output_len")):
        summary = successes.get(first) or successes.get(second)
        mean = usable(summary.get("mean"), f"{second}.mean", notes) if isinstance(summary, dict) else None
        totals.append(None if mean is None or not math.isfinite(mean * good) else mean * good)
    return Counts(None, good, totals[0], totals[1])


def _counted(successes: Mapping[str, Any]) -> dict[str, Value]:
    """The lengths that all requests had."""
    fields: dict[str, Value] = {}
    for name, first, second in (("input_len", "prompt_tokens", "prompt_len"),
                                ("output_len", "output_tokens", "output_len")):
        summary = successes.get(first) or successes.get(second)
        if not isinstance(summary, dict):
            continue
        low, high = plain(summary.get("min")), summary.get("max")
        if isinstance(low, int | float) and low > 0 and low == high and low == int(low):
            fields[name] = int(low)
    return fields


def _load(load: Mapping[str, Any], config: Config) -> dict[str, Value]:
    """The rate that was asked for, or the limit of concurrency, of which the rate is then no setting."""
    limit = plain(load.get("concurrency"))
    limit = config.max_concurrency if limit is None else limit
    if config.is_of_sessions:
        return {} if limit is None else {"concurrent_sessions": limit}
    if limit is not None:
        return {"max_concurrency": limit}
    rate = plain(load.get("requested_rate"))
    rate = config.request_rate if rate is None else rate
    return {} if rate is None else {"request_rate": rate}


def _is_off(latency: Mapping[str, Any], counts: Counts, notes: list[str]) -> bool:
    """Whether time_per_output_token of an old file counts something other than tokens."""
    whole, first, step = (_mean(latency.get(name)) for name in (
        "request_latency", "time_to_first_token", "time_per_output_token"))
    tokens = (counts.output_tokens or 0) / (counts.requests or 1)
    if whole is None or first is None or step is None or tokens <= 1:
        return False
    expected = (whole - first) / (tokens - 1)
    if abs(step - expected) <= _FAR * max(step, expected):
        return False
    notes.append(f"tpot and itl are left out: time_per_output_token is {1000 * step:.3g} ms, and by latency and tokens "
                 f"it is {1000 * expected:.3g} ms (inference-perf before 0.5 counts lines or messages as tokens)")
    return True


def _mean(summary: Any) -> float | None:
    return usable(summary.get("mean"), "mean", []) if isinstance(summary, dict) else None


def _latencies(latency: Mapping[str, Any], is_off: bool, notes: list[str]) -> dict[str, tuple[float, ...]]:
    metrics: dict[str, tuple[float, ...]] = {}
    for theirs, ours in _NAMES.items():
        summary = latency.get(theirs)
        if not isinstance(summary, dict) or (is_off and ours in {"tpot", "itl"}):
            continue  # None without streaming
        if ours == "itl" and summary.get("min") == 0:
            notes.append("itl is left out: chunks hold several tokens, whose gaps are 0")
            continue
        for key in _STATISTICS:
            value = usable(summary.get(key), f"{theirs}.{key}", notes)
            if value is not None and math.isfinite(1000 * value):
                metrics[f"{key}_{ours}_ms"] = (1000 * value,)
        if f"p50_{ours}_ms" in metrics:  # 0.1 calls the median so
            metrics.setdefault(f"median_{ours}_ms", metrics[f"p50_{ours}_ms"])
        if f"median_{ours}_ms" in metrics:
            metrics[f"{ours}_ms"] = metrics[f"median_{ours}_ms"]
    return metrics


def _rates(throughput: Mapping[str, Any], goodput: Any, notes: list[str]) -> dict[str, tuple[float, ...]]:
    metrics: dict[str, tuple[float, ...]] = {
        ours: (value,) for theirs, ours in _RATES.items()
        if (value := usable(throughput.get(theirs), theirs, notes)) is not None}
    good = goodput.get("request_goodput") if isinstance(goodput, dict) else None
    if (rate := usable_from_zero(good, "request_goodput", notes)) is not None:
        metrics["request_goodput"] = (rate,)
    return metrics
