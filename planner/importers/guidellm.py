"""GuideLLM's JSON report (guidellm 0.8): one benchmark for each rate or concurrency.

request_latency is seconds, the others are milliseconds. GuideLLM's inter_token_latency_ms is (last − first token) /
(tokens − 1) of a request, which vLLM calls tpot; its own time_per_output_token_ms counts the first token too and has no
counterpart. Percentiles are GuideLLM's: always the value of a request, never interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import (
    Provenance,
    Row,
    content_identity,
    number,
    parse_json,
    read_bytes,
    scalar,
    section,
)
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


class Guidellm:
    """A report of one or several benchmarks, or the folder that holds it."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is such a report or folder."""
        return source.holds(_FILE) or _is_report(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each benchmark of the report. Raises StudyError."""
        path, name = file_of(path, name, "guidellm", _FILE)
        data, digest = read_bytes(path)
        report = parse_json(data, name)
        if not _is_report(report) or not report["benchmarks"]:
            raise StudyError(f"{name}: is not a GuideLLM report with benchmarks; write it with --output kind=json")
        version = str(report["metadata"]["guidellm_version"])
        return [_row(benchmark, Provenance(name, digest, "guidellm", f"benchmark {i + 1}", version))
                for i, benchmark in enumerate(report["benchmarks"])]


def _is_report(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(data.get("benchmarks"), list):
        return False
    metadata = data.get("metadata")
    return isinstance(metadata, dict) and "guidellm_version" in metadata


def _row(benchmark: Any, place: Provenance) -> Row:
    where = place.where
    metrics, config = section(benchmark, "metrics", where), section(benchmark, "config", where)
    totals = section(metrics, "request_totals", where)
    provenance = Provenance(place.file, place.sha256, place.format, place.row, place.version,
                            content_identity([config.get("id_"), totals, metrics.get("request_latency")]))
    fields = _fields(metrics, config, where)
    seconds = sum(number(benchmark.get(key) or 0.0, where, key)
                  for key in ("duration", "warmup_duration", "cooldown_duration"))
    notes = ("server start is not in the file",)
    errored = int(number(totals.get("errored"), where, "errored"))
    successful = int(number(totals.get("successful"), where, "successful"))
    if errored or not successful:
        return Row(fields, {}, seconds, provenance, failure=f"{errored} of {errored + successful} requests failed",
                   notes=notes)
    return Row(fields, _metrics(metrics, where), seconds, provenance, notes=notes)


def _fields(metrics: Mapping[str, Any], config: Mapping[str, Any], where: str) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    strategy, backend = section(config, "strategy", where), config.get("backend")
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
        tokens = _successful(metrics, counts, where)
        if tokens is not None and tokens.get("min") == tokens.get("max"):
            value = scalar(tokens.get("min"))
            if value is not None:
                fields[name] = value
    return fields


def _metrics(metrics: Mapping[str, Any], where: str) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for theirs, ours in _RATES.items():
        if (rate := _successful(metrics, theirs, where)) is not None:
            found[ours] = (number(rate.get("mean"), where, f"{theirs}.mean"),)
    for theirs, (ours, to_ms) in _DISTRIBUTIONS.items():
        summary = _successful(metrics, theirs, where)
        if summary is None or not summary.get("mean"):
            continue  # no streaming, or a single token: GuideLLM writes zeros
        for statistic, prefix in _STATISTICS.items():
            value = number(summary.get(statistic), where, f"{theirs}.{statistic}")
            found[f"{prefix}_{ours}_ms"] = (to_ms * value,)
        found[f"{ours}_ms"] = found[f"median_{ours}_ms"]
        percentiles = section(summary, "percentiles", where)
        for percentile in _PERCENTILES:
            value = number(percentiles.get(percentile), where, f"{theirs}.{percentile}")
            found[f"{percentile}_{ours}_ms"] = (to_ms * value,)
    return found


def _successful(metrics: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any] | None:
    """The distribution over successful requests; None if the report has none."""
    if metrics.get(name) is None:
        return None
    found = section(metrics, name, where).get("successful")
    return found if isinstance(found, dict) else None
