"""AIPerf's profile_export_aiperf.json (ai-dynamo/aiperf 0.1 … 0.13): one benchmark, each metric with its unit.

  0.1           metrics under "records", the first token's as "ttft", the output tokens' sum as benchmark_token_count;
                settings in input_config.loadgen (aiperf/exporters/json_exporter.py, metrics/types/ttft_metric.py)
  0.2 … 0.8     metrics at the top; the settings as before (aiperf/common/models/export_models.py, user_config.py)
  0.9 … 0.11    settings in input_config.phases and .models, the phase that counts by its name (aiperf/config/phases.py)
  0.12, 0.13    the same, and phases have a kind

What is meant by each metric stands in nvidia_report.py. Rates are divided by benchmark_duration. Failed requests are in
error_request_count, and in no metric: such a row is a failure, as is a benchmark that was cancelled, or that is not
complete: AIPerf says that such figures "must not be compared" (exporter_manager.py). Since 0.13 inter_token_latency is
divided by the tokens after the first chunk, where the server counts them. Lengths are those that the configuration asks
for, or else those that all requests had. Its CSV has no settings and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.nvidia_report import (
    TO_MS,
    counted,
    is_csv,
    length_asked,
    lengths,
    metrics_of,
    others_of,
    read_each,
    refuse_csv,
    reports_in,
    same_for_all,
    single,
    statistic,
)
from planner.importers.rows import Provenance, Row, content_identity, parse_json, read_bytes
from planner.space.types import StudyError, Value
from planner.tables.table_file import one_line

__all__ = ["Aiperf"]

_FILE: Final = "profile_export_aiperf.json"
_DISTRIBUTIONS: Final = {"request_latency": "e2el", "time_to_first_token": "ttft", "inter_token_latency": "tpot",
                         "inter_chunk_latency": "itl"}
_BEFORE: Final = {"ttft": "time_to_first_token", "ttst": "time_to_second_token", "benchmark_token_count": "total_osl"}
_CONFIG: Final = frozenset({"phases", "loadgen", "models"})


class Aiperf:
    """The report of one benchmark, or the folder that holds it or several."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is such a report or folder, or AIPerf's CSV."""
        if source.is_folder:
            return bool(reports_in(source.path, _FILE))
        return _is_report(source.json) or is_csv(source, with_std=True)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each report. Raises StudyError."""
        return read_each(path, name, _FILE, "aiperf", _read)


def _read(path: Path, name: str) -> Row:
    if is_csv(Source(path), with_std=True):
        raise refuse_csv(path, name, "AIPerf")
    data, digest = read_bytes(path)
    report = parse_json(data, name)
    if not _is_report(report):
        raise StudyError(f"{name}: is not a {_FILE} of AIPerf; name that file")
    place = Provenance(name, digest, "aiperf", "report", str(report.get("aiperf_version", "")),
                       content_identity(report))
    return _row(_flat(report), place)


def _is_report(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(config := data.get("input_config"), dict):
        return False
    endpoint = config.get("endpoint")
    ours = "aiperf_version" in data or bool(config.keys() & _CONFIG) or (
        isinstance(endpoint, dict) and "model_names" in endpoint)
    return ours and "perf_analyzer" not in config and isinstance(_flat(data).get("request_latency"), dict)


def _flat(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The report with the metrics at the top and by their later names, where 0.1 has them under "records"."""
    records = report.get("records")
    if not isinstance(records, dict):
        return report
    named = {_BEFORE.get(str(key), str(key)): value for key, value in records.items()}
    return {**named, **{key: value for key, value in report.items() if key != "records"}}


def _row(report: Mapping[str, Any], place: Provenance) -> Row:
    notes = ["warm-ups and server start are not in the file"]
    fields = _fields(report)
    others = others_of(report, fields)
    seconds = _duration(report, notes)
    if reason := _failure(report):
        return Row(fields, {}, seconds or 0.0, place, failure=reason, notes=tuple(notes), others=others)
    metrics = metrics_of(report, _DISTRIBUTIONS, notes)
    if not metrics:
        raise StudyError(f"{place.where}: has no usable latency or throughput; is the file whole?")
    return Row(fields, metrics, seconds or 0.0, place, notes=tuple(notes), others=others,
               counts=counted(report, seconds))


def _failure(report: Mapping[str, Any]) -> str:
    """Why the figures are not those of the whole load; "" if they are."""
    if report.get("was_cancelled") is True:
        return "the benchmark was cancelled"
    if report.get("is_complete") is False:
        return f"AIPerf calls the results incomplete: {one_line(str(report.get('incomplete_reason')))[:100]}"
    errors = statistic(report, ("error_request_count",), "avg")
    if errors:
        return f"{int(errors)} requests failed"
    return "requests failed" if statistic(report, ("request_error_rate",), "avg") else ""


def _duration(report: Mapping[str, Any], notes: list[str]) -> float | None:
    """Seconds of the measured phase."""
    milliseconds = statistic(report, ("benchmark_duration",), "avg", TO_MS, notes)
    if milliseconds is not None:
        return milliseconds / 1000
    try:
        begin, end = (datetime.fromisoformat(report[key]) for key in ("start_time", "end_time"))
        seconds = (end - begin).total_seconds()
    except (KeyError, TypeError, ValueError):
        seconds = 0.0
    if seconds > 0:
        return seconds
    notes.append("the duration is not in the file; counted as 0")
    return None


# -------------------------------------------------------------------------------------------------------------- fields


def _fields(report: Mapping[str, Any]) -> dict[str, Value]:
    config = report["input_config"]
    fields = lengths(report)
    fields.update({name: value for name, asked in _asked(config) if (value := length_asked(asked)) is not None})
    load = config.get("loadgen")
    phases = [load] if isinstance(load, dict) else list(_profiling(config.get("phases")))
    for ours, names in (("max_concurrency", ("concurrency",)), ("request_rate", ("rate", "request_rate"))):
        value = same_for_all([next((phase[key] for key in names if key in phase), None) for phase in phases])
        if value is not None:
            fields[ours] = value
    if model := _model(config):
        fields["model"] = model
    return fields


def _profiling(phases: Any) -> Iterator[Mapping[str, Any]]:
    """The phases that the figures are of."""
    for phase in phases if isinstance(phases, list) else []:
        if isinstance(phase, dict):
            kind = phase.get("kind") or ("warmup" if phase.get("name") == "warmup" else "profiling")
            if kind == "profiling" and phase.get("exclude_from_results") is not True:
                yield phase


def _asked(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The lengths of synthetic prompts that the configuration asks for."""
    prompt = _inner(config, "input", "prompt")
    if "file" not in _inner(config, "input"):
        yield "input_len", prompt.get("input_tokens")
        yield "output_len", prompt.get("output_tokens")
    datasets = config.get("datasets")
    if isinstance(datasets, list) and len(datasets) == 1 and _inner(datasets[0]).get("type") == "synthetic":
        prompts = _inner(datasets[0], "prompts")
        yield "input_len", prompts.get("isl")
        yield "output_len", prompts.get("osl")


def _model(config: Mapping[str, Any]) -> str | None:
    if name := single(_inner(config, "endpoint").get("model_names")):
        return name
    items = _inner(config, "models").get("items")
    return single([_inner(item).get("name") for item in items]) if isinstance(items, list) else None


def _inner(data: Any, *keys: str) -> Mapping[str, Any]:
    """The object under the keys; an empty one if there is none."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}
