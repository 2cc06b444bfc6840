"""What the reports of AIPerf and GenAI-Perf share: {metric: {unit, avg, p50 …, min, max, std}}, and their CSV.

inter_token_latency is (latency - time to first token) / (tokens - 1) of a request, vLLM's tpot; inter_chunk_latency is
over the gaps between chunks, vLLM's itl. Percentiles are NumPy's, and so are vLLM's. Numbers may be text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import Counts, Row, short, usable
from planner.importers.values import flattened, plain, usable_from_zero
from planner.space.types import StudyError, Value

__all__ = ["TO_MS", "counted", "is_csv", "length_asked", "lengths", "metrics_of", "others_of", "read_each",
           "refuse_csv", "reports_in", "same_for_all", "single", "statistic"]

TO_MS: Final[Mapping[str, float]] = {"ms": 1.0, "sec": 1000.0, "s": 1000.0, "us": 1e-3, "ns": 1e-6}
_PER_SECOND: Final = {"request/sec": 1.0, "requests/sec": 1.0, "tokens/sec": 1.0}
_RATES: Final = {"request_throughput": "request_throughput", "output_token_throughput": "output_throughput",
                 "total_token_throughput": "total_token_throughput"}
_GOODPUT: Final = ("goodput", "request_goodput")
_STATISTICS: Final = {"avg": "mean", "p50": "median", "std": "std"}
_PERCENTILES: Final = ("p50", "p90", "p95", "p99")
_LENGTHS: Final = {"input_len": ("input_sequence_length", "num_input_token"),
                   "output_len": ("output_sequence_length", "num_output_token")}
_HEADER: Final = ["Metric", "avg", "min", "max"]
_SYSTEM: Final = ("Request Throughput (", "Output Token Throughput (", "Benchmark Duration (", "Request Count (")
_ASIDE: Final = ("start_time", "end_time", "benchmark_id", "run_info", "cli_command", "telemetry_data", "sessions",
                 "artifact_dir", "artifact_directory", "profile_export_file", "artifacts", "output", "warmup_metrics")
_DEEPEST: Final = 3
_LINES: Final = 20


def reports_in(folder: Path, name: str) -> list[Path]:
    """The reports in a folder of results: its own, or else those up to three folders down."""
    for depth in range(_DEEPEST + 1):
        try:
            found = sorted(folder.glob("*/" * depth + name))
        except OSError:
            return []
        if found:
            return found
    return []


def read_each(path: Path, name: str, report: str, form: str, read: Callable[[Path, str], Row]) -> list[Row]:
    """The row of a file, or of each report in a folder. name: what the user calls it. report: the tool's file name.
    Raises StudyError."""
    if path.is_dir() and (found := reports_in(path, report)):
        return [read(file, f"{name}/{file.relative_to(path)}") for file in found]
    return [read(*file_of(path, name, form))]


# ----------------------------------------------------------------------------------------------------------------- CSV


def is_csv(source: Source, with_std: bool) -> bool:
    """Whether the source is the CSV of one of the tools. with_std: AIPerf's, which alone has deviations."""
    if source.path.suffix.lower() != ".csv" or source.is_folder:
        return False
    lines = [line.strip() for line in islice(source.lines(), _LINES)]
    first = lines[0].split(",") if lines else []
    if first[:len(_HEADER)] == _HEADER:
        return ("std" in first) == with_std and {"p50", "p99"} <= set(first)
    return first == ["Metric", "Value"] and with_std and any(line.startswith(_SYSTEM) for line in lines)


def refuse_csv(path: Path, name: str, tool: str) -> StudyError:
    """The error for such a CSV: it has no settings, and its figures are rounded."""
    beside = path.with_suffix(".json")
    where = f"import {beside.name} beside it" if beside.is_file() else (
        f"import the {beside.name} that {tool} wrote with it (it is not in this folder)")
    return StudyError(f"{name}: is the CSV of {tool}, which has no settings; {where}")


# -------------------------------------------------------------------------------------------------------------- fields


def lengths(report: Mapping[str, Any]) -> dict[str, Value]:
    """The lengths that all requests had, by vLLM's names."""
    found: dict[str, Value] = {}
    for ours, names in _LENGTHS.items():
        low, high = (statistic(report, names, end) for end in ("min", "max"))
        if low is not None and low == high:
            found[ours] = _whole(low)
    return found


def length_asked(asked: Any) -> Value | None:
    """The length in {mean: …, stddev: …} if it is the same for all requests; else None."""
    if not isinstance(asked, Mapping):
        asked = {"mean": asked}
    mean, deviation = (_number(asked.get(key)) for key in ("mean", "stddev"))
    if not isinstance(mean, int | float) or deviation not in (None, 0, "") or not 1 <= mean < 2**53:
        return None
    return _whole(mean)


def single(names: Any) -> str | None:
    """The one name in a list, or the name itself."""
    if isinstance(names, list) and len(names) == 1:
        names = names[0]
    return names if isinstance(names, str) and names else None


def same_for_all(values: Iterable[Any]) -> Value | None:
    """The value if all are this one plain value; else None."""
    found = [plain(value) for value in values]
    first = found[0] if found else None
    return None if first == "" or any(value != first for value in found) else first


def others_of(report: Mapping[str, Any], fields: Collection[str]) -> dict[str, Value]:
    """Everything else that is one value, without what names this run only."""
    return {key: value for key, value in flattened(report, aside=_ASIDE).items() if key not in fields}


def _whole(value: float) -> Value:
    return int(value) if value == int(value) else value


# ------------------------------------------------------------------------------------------------------------- figures


def metrics_of(
    report: Mapping[str, Any], distributions: Mapping[str, str], notes: list[str]
) -> dict[str, tuple[float, ...]]:
    """The metrics in vLLM's names and units. distributions: the tool's name → vLLM's. What makes no sense is noted."""
    found: dict[str, tuple[float, ...]] = {}
    for theirs, ours in _RATES.items():
        if (value := statistic(report, (theirs,), "avg", _PER_SECOND, notes)) is not None:
            found[ours] = (value,)
    for theirs in _GOODPUT:
        if (value := statistic(report, (theirs,), "avg", _PER_SECOND, notes, zero=True)) is not None:
            found["request_goodput"] = (value,)
    for theirs, ours in distributions.items():
        for key, prefix in [*_STATISTICS.items(), *((p, p) for p in _PERCENTILES)]:
            if (value := statistic(report, (theirs,), key, TO_MS, notes)) is not None:
                found[f"{prefix}_{ours}_ms"] = (value,)
        if f"median_{ours}_ms" in found:
            found[f"{ours}_ms"] = found[f"median_{ours}_ms"]
    return found


def counted(report: Mapping[str, Any], duration_s: float | None) -> Counts:
    """What the report says was done."""
    requests = statistic(report, ("request_count",), "avg")
    tokens = [next(_totals(report, total, names, requests), None)
              for total, names in (("total_isl", _LENGTHS["input_len"]), ("total_osl", _LENGTHS["output_len"]))]
    return Counts(duration_s, requests, tokens[0], tokens[1])


def _totals(report: Mapping[str, Any], total: str, names: tuple[str, ...], requests: float | None) -> Iterator[float]:
    whole, mean = statistic(report, (total,), "avg"), statistic(report, names, "avg")
    if whole is not None:
        yield whole
    if mean is not None and requests and math.isfinite(mean * requests):
        yield mean * requests


def statistic(
    report: Mapping[str, Any], names: tuple[str, ...], key: str, units: Mapping[str, float] | None = None,
    notes: list[str] | None = None, zero: bool = False,
) -> float | None:
    """A figure of the first metric of these names that is there, converted by `units` (unit → factor). None if there is
    none, or it makes no sense, which is noted. zero: whether 0 is a figure."""
    name = next((name for name in names if report.get(name) is not None), None)
    if name is None:
        return None
    notes = [] if notes is None else notes
    metric = report[name]
    if not isinstance(metric, dict):
        _note(notes, f"{name} is {short(metric)}, not a metric: left out")
        return None
    value = (usable_from_zero if zero else usable)(_number(metric.get(key)), f"{name}.{key}", notes)
    if value is None or units is None:
        return value
    unit = str(metric.get("unit")).replace(" per ", "/")
    if unit not in units:
        _note(notes, f"{name} has the unit {short(metric.get('unit'))}, not one of {', '.join(units)}: left out")
        return None
    converted = value * units[unit]
    return converted if math.isfinite(converted) else None


def _number(value: Any) -> Any:
    """The number in a text; anything else as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _note(notes: list[str], line: str) -> None:
    if line not in notes:
        notes.append(line)
