"""AIPerf's profile_export_aiperf.json (aiperf 0.13): one benchmark, each metric with its unit.

AIPerf's inter_token_latency is (latency − ttft) / (tokens − 1) of a request, which vLLM calls tpot; its
inter_chunk_latency is over the gaps between chunks, vLLM's itl.
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
    short,
)
from planner.space.types import StudyError, Value

__all__ = ["Aiperf"]

_FILE: Final = "profile_export_aiperf.json"
_DISTRIBUTIONS: Final = {"request_latency": "e2el", "time_to_first_token": "ttft", "inter_token_latency": "tpot",
                         "inter_chunk_latency": "itl"}
_RATES: Final = {"request_throughput": "request_throughput", "output_token_throughput": "output_throughput",
                 "total_token_throughput": "total_token_throughput", "goodput": "request_goodput"}
_STATISTICS: Final = {"avg": "mean", "p50": "median", "std": "std"}
_PERCENTILES: Final = ("p50", "p90", "p95", "p99")
_TO_MS: Final = {"ms": 1.0, "sec": 1000.0, "s": 1000.0, "us": 1e-3, "ns": 1e-6}
_PER_SECOND: Final = frozenset({"requests/sec", "tokens/sec"})


class Aiperf:
    """The report of one benchmark, or the folder that holds it."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is such a report or folder."""
        return source.holds(_FILE) or _is_report(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """The one row of the report. Raises StudyError."""
        path, name = file_of(path, name, "aiperf", _FILE)
        data, digest = read_bytes(path)
        report = parse_json(data, name)
        if not _is_report(report):
            raise StudyError(f"{name}: is not a {_FILE} of AIPerf; name that file")
        provenance = Provenance(name, digest, "aiperf", "report", str(report.get("aiperf_version", "")),
                                content_identity(report))
        return [_row(report, provenance)]


def _is_report(data: Any) -> bool:
    return isinstance(data, dict) and "input_config" in data and isinstance(data.get("request_latency"), dict)


def _row(report: Mapping[str, Any], provenance: Provenance) -> Row:
    where = provenance.where
    fields, seconds = _fields(report, where), _value(report, "benchmark_duration", "avg", where, _TO_MS) or 0.0
    notes = ("warm-ups and server start are not in the file",)
    errors = _value(report, "error_request_count", "avg", where) or 0.0
    if report.get("was_cancelled") or errors or _value(report, "request_error_rate", "avg", where):
        reason = "the benchmark was cancelled" if report.get("was_cancelled") else (
            f"{int(errors)} requests failed" if errors else "requests failed")
        return Row(fields, {}, seconds / 1000, provenance, failure=reason, notes=notes)
    return Row(fields, _metrics(report, where), seconds / 1000, provenance, notes=notes)


def _fields(report: Mapping[str, Any], where: str) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    for name, lengths in (("input_len", "input_sequence_length"), ("output_len", "output_sequence_length")):
        low, high = (_value(report, lengths, end, where) for end in ("min", "max"))
        if low is not None and low == high and (value := scalar(low)) is not None:
            fields[name] = value
    config = report.get("input_config")
    phases = config.get("phases") if isinstance(config, dict) else None
    for phase in phases if isinstance(phases, list) else []:
        if isinstance(phase, dict) and phase.get("kind") == "profiling":
            for theirs, ours in (("concurrency", "max_concurrency"), ("rate", "request_rate")):
                if (value := scalar(phase.get(theirs))) is not None:
                    fields[ours] = value
    if model := _model(config):
        fields["model"] = model
    return fields


def _model(config: Any) -> str | None:
    try:
        items = config["models"]["items"]
        return str(items[0]["name"]) if len(items) == 1 else None
    except (KeyError, TypeError, IndexError):
        return None


def _metrics(report: Mapping[str, Any], where: str) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for theirs, ours in _RATES.items():
        rate = _value(report, theirs, "avg", where, dict.fromkeys(_PER_SECOND, 1.0))
        if rate is not None:
            found[ours] = (rate,)
    for theirs, ours in _DISTRIBUTIONS.items():
        for statistic, prefix in [*_STATISTICS.items(), *((p, p) for p in _PERCENTILES)]:
            value = _value(report, theirs, statistic, where, _TO_MS)
            if value is not None:
                found[f"{prefix}_{ours}_ms"] = (value,)
        if f"median_{ours}_ms" in found:
            found[f"{ours}_ms"] = found[f"median_{ours}_ms"]
    return found


def _value(
    report: Mapping[str, Any], name: str, statistic: str, where: str, units: Mapping[str, float] | None = None
) -> float | None:
    """One statistic of a metric, converted by `units` (unit → factor); None if the report has no such metric."""
    metric = report.get(name)
    if metric is None:
        return None
    if not isinstance(metric, dict):
        raise StudyError(f"{where}: {name} is {short(metric)}, not a metric; is the file whole?")
    if metric.get(statistic) is None:
        return None
    factor = 1.0
    if units is not None:
        unit = metric.get("unit")
        if not isinstance(unit, str) or unit not in units:
            raise StudyError(f"{where}: {name} has the unit {short(unit)}; known are {', '.join(sorted(units))}")
        factor = units[unit]
    return factor * number(metric[statistic], where, f"{name}.{statistic}")
