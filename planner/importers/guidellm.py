"""GuideLLM's benchmarks.json (vllm-project/guidellm, earlier neuralmagic, 0.2 … 0.8): a benchmark for each load.

  0.2, 0.3     settings in args.strategy and worker, no version (guidellm/benchmark/benchmark.py, output.py)
  0.4          settings in config.strategy and config.backend, no version (benchmark/schemas/generative/benchmark.py)
  0.5 … 0.8    the same, with metadata.guidellm_version (benchmark/schemas/report.py)

request_latency is seconds, the others are milliseconds. GuideLLM's inter_token_latency_ms is (last − first token) /
(tokens − 1) of a request, which vLLM calls tpot, but counted once for each token: long answers weigh more than in
vLLM's. Its own time_per_output_token_ms counts the first token too and has no counterpart. Percentiles are GuideLLM's:
always the value of a request, never interpolated.

Figures are those of successful requests. Where requests were cut off at the end, token rates are those of `total`: the
server made these tokens too. 0.2 counts each prompt twice in tokens_per_second, which is then left out.
cooldown_duration is last request − end of the measured window: below 0 the window went on when no request was left, and
is taken without that time. Lengths are those asked for (guidellm_files.py), or else those that all requests had.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from planner.importers.guidellm_files import asked_lengths, other_output, refuse_output
from planner.importers.importer import Source, file_of
from planner.importers.rows import (
    Counts,
    Provenance,
    Row,
    content_identity,
    number,
    parse_json,
    read_bytes,
    scalar,
    section,
    short,
    usable,
)
from planner.importers.values import flattened, usable_from_zero
from planner.space.types import StudyError, Value

__all__ = ["Guidellm"]

_FILE: Final = "benchmarks.json"
# GuideLLM's name → vLLM's name, and the factor to milliseconds.
_DISTRIBUTIONS: Final = {"request_latency": ("e2el", 1000.0), "time_to_first_token_ms": ("ttft", 1.0),
                         "inter_token_latency_ms": ("tpot", 1.0)}
_RATES: Final = {"requests_per_second": "request_throughput", "output_tokens_per_second": "output_throughput",
                 "tokens_per_second": "total_token_throughput"}
_STATISTICS: Final = {"mean": "mean", "median": "median", "std_dev": "std"}
_PERCENTILES: Final = ("p50", "p90", "p95", "p99")
_FAR: Final = 0.1
_COST: Final = "server start is not in the file"


class Guidellm:
    """A report of one or several benchmarks, or the folder that holds it."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is such a report or folder, or GuideLLM's CSV, YAML or HTML."""
        return source.holds(_FILE) or bool(other_output(source)) or _is_report(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each benchmark of the report. Raises StudyError."""
        path, name = file_of(path, name, "guidellm", _FILE)
        if what := other_output(Source(path)):
            raise refuse_output(path, name, what)
        data, digest = read_bytes(path)
        report = parse_json(data, name)
        if not _is_report(report) or not report["benchmarks"]:
            raise StudyError(f"{name}: is not a GuideLLM report with benchmarks; write it with --output kind=json")
        metadata = report.get("metadata")
        version = str(metadata["guidellm_version"]) if isinstance(metadata, dict) else ""
        return [_row(benchmark, Provenance(name, digest, "guidellm", f"benchmark {i + 1}", version),
                     asked_lengths(report, benchmark))
                for i, benchmark in enumerate(report["benchmarks"])]


def _is_report(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        return False
    metadata = data.get("metadata")
    if isinstance(metadata, dict):
        return "guidellm_version" in metadata
    first = data["benchmarks"][0] if data["benchmarks"] else None
    return isinstance(first, dict) and first.get("type_") == "generative_benchmark" and "metrics" in first


def _row(benchmark: Any, place: Provenance, asked: Mapping[str, Value]) -> Row:
    where, notes = place.where, [_COST]
    metrics, config = section(benchmark, "metrics", where), _config(benchmark, where)
    totals = section(metrics if "request_totals" in metrics else benchmark, "request_totals", where)
    identity = content_identity([config.get("id_"), totals, metrics.get("request_latency")])
    place = replace(place, identity=identity)
    fields = {**_fields(metrics, config), **asked}
    others = flattened({"strategy": config["strategy"], "request_totals": totals})
    seconds, window = _times(benchmark, notes)
    errored, successful = (int(number(totals.get(key), where, key)) for key in ("errored", "successful"))
    if errored or not successful:
        return Row(fields, {}, seconds, place, failure=f"{errored} of {errored + successful} requests failed",
                   notes=tuple(notes), others=others)
    cut_off = usable(totals.get("incomplete"), "incomplete", notes) or 0.0
    found = _rates(metrics, bool(cut_off), notes) | _latencies(metrics, notes)
    if "config" not in benchmark:
        _without_prompts_twice(found, metrics, "total" if cut_off else "successful", notes)
    if not found:
        raise StudyError(f"{where}: has no usable latency or throughput; is the file whole?")
    if cut_off:
        notes.append("rates of tokens count those of the requests that were cut off, too")
    prompt, output = (None if cut_off else _figure(metrics, f"{kind}_token_count", "total_sum")
                      for kind in ("prompt", "output"))
    return Row(fields, found, seconds, place, notes=tuple(notes), others=others,
               counts=Counts(window, successful, prompt, output, cut_off))


def _config(benchmark: Mapping[str, Any], where: str) -> dict[str, Any]:
    """id_, strategy and backend of a benchmark, also of 0.2 and 0.3."""
    if "config" in benchmark or "args" not in benchmark:
        config = section(benchmark, "config", where)
        return {**config, "strategy": section(config, "strategy", where)}
    worker = benchmark.get("worker")
    model = worker.get("backend_model") if isinstance(worker, dict) else None
    return {"id_": benchmark.get("id_"), "strategy": section(benchmark["args"], "strategy", where),
            "backend": {"model": model if model != "None" else None}}


def _times(benchmark: Mapping[str, Any], notes: list[str]) -> tuple[float, float | None]:
    """Seconds of the whole benchmark, and of its measured window (None: unknown)."""
    parts: dict[str, float] = {}
    for key in ("duration", "warmup_duration", "cooldown_duration"):
        given = benchmark.get(key)
        try:
            parts[key] = 0.0 if isinstance(given, bool) else float(given or 0)
        except (TypeError, ValueError, OverflowError):
            parts[key] = math.nan
        if not math.isfinite(parts[key]):
            notes.append(f"{key} is {short(given)}, which makes no sense; counted as 0")
            parts[key] = 0.0
        elif parts[key] < 0:
            notes.append(f"{key} is {parts[key]:.4g}: the measured window is taken without that time")
    window = parts["duration"] + min(parts["cooldown_duration"], 0.0) + min(parts["warmup_duration"], 0.0)
    whole = sum(parts.values())
    run = benchmark.get("run_stats")  # 0.2 and 0.3, warm-up and cool-down included
    if isinstance(run, dict):
        begin, end = (usable(run.get(key), key, []) for key in ("start_time", "end_time"))
        whole = max(whole, end - begin) if begin and end else whole
    return (whole if 0 < whole < math.inf else 0.0), (window if 0 < window < math.inf else None)


def _fields(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    strategy, backend = config["strategy"], config.get("backend")
    kind = strategy.get("type_")
    if kind in {"concurrent", "synchronous"}:
        streams = scalar(strategy.get("streams", 1))
        fields["max_concurrency"] = 1 if streams is None else streams
    rate = scalar(strategy.get("rate"))
    if rate is not None:
        fields["request_rate"] = rate
    if isinstance(backend, dict) and isinstance(backend.get("model"), str):
        fields["model"] = backend["model"]
    for name, counts in (("input_len", "prompt_token_count"), ("output_len", "output_token_count")):
        tokens = _group(metrics, counts)
        if tokens.get("min") == tokens.get("max") and usable(tokens.get("min"), counts, []):
            value = scalar(tokens["min"])
            if value is not None:
                fields[name] = value
    return fields


# ------------------------------------------------------------------------------------------------------------- figures


def _rates(metrics: Mapping[str, Any], cut_off: bool, notes: list[str]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for theirs, ours in _RATES.items():
        group = "total" if cut_off and theirs != "requests_per_second" else "successful"
        if (rate := _figure(metrics, theirs, "mean", notes, group)) is not None:
            found[ours] = (rate,)
    goodput = _group(metrics, "request_goodput").get("mean")
    if (rate := usable_from_zero(goodput, "request_goodput", notes)) is not None:
        found["request_goodput"] = (rate,)
    return found


def _latencies(metrics: Mapping[str, Any], notes: list[str]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for theirs, (ours, to_ms) in _DISTRIBUTIONS.items():
        summary = _group(metrics, theirs)
        if not summary.get("mean"):
            continue  # no streaming, or a single token: GuideLLM writes zeros
        percentiles = summary.get("percentiles")
        named = {prefix: summary.get(key) for key, prefix in _STATISTICS.items()}
        named |= {p: percentiles.get(p) if isinstance(percentiles, dict) else None for p in _PERCENTILES}
        for prefix, given in named.items():
            value = usable(given, f"{theirs}.{prefix}", notes)
            if value is not None and math.isfinite(to_ms * value):
                found[f"{prefix}_{ours}_ms"] = (to_ms * value,)
        if f"median_{ours}_ms" in found:
            found[f"{ours}_ms"] = found[f"median_{ours}_ms"]
            found.setdefault(f"p50_{ours}_ms", found[f"median_{ours}_ms"])
    return found


def _without_prompts_twice(
    found: dict[str, tuple[float, ...]], metrics: Mapping[str, Any], group: str, notes: list[str]
) -> None:
    """Leaves out the rate of all tokens if it is not to that of output tokens as the tokens are."""
    said, output = (found.get(name, (0.0,))[0] for name in ("total_token_throughput", "output_throughput"))
    prompt, answer = (_figure(metrics, f"{kind}_token_count", "total_sum", group=group)
                      for kind in ("prompt", "output"))
    if not said or not output or not prompt or not answer:
        return
    expected = output * (prompt + answer) / answer
    if abs(said - expected) > _FAR * max(said, expected):
        del found["total_token_throughput"]
        notes.append(f"total_token_throughput is left out: tokens_per_second is {said:.4g}, and by the tokens counted "
                     f"{expected:.4g} (GuideLLM 0.2 counts prompts twice)")


def _figure(metrics: Mapping[str, Any], name: str, key: str, notes: list[str] | None = None,
            group: str = "successful") -> float | None:
    return usable(_group(metrics, name, group).get(key), f"{name}.{key}", [] if notes is None else notes)


def _group(metrics: Mapping[str, Any], name: str, group: str = "successful") -> Mapping[str, Any]:
    """The distribution over the requests of a group; empty if the report has none."""
    whole = metrics.get(name)
    found = whole.get(group) if isinstance(whole, dict) else None
    return found if isinstance(found, dict) else {}
