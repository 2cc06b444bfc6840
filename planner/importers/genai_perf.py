"""GenAI-Perf's profile_export_genai_perf.json (triton-inference-server/perf_analyzer, genai-perf, May 2024 … 0.0.16).

  to 24.06           nanoseconds, num_output_token. inter_token_latency is that of a request in the release 24.06, and
                     over gaps between chunks in development until 6 June 2024; the file does not say which, so it
                     is left out (llm_metrics.py)
  since 24.07        milliseconds, output_sequence_length; inter_token_latency is that of a request: vLLM's tpot
  to 0.0.12          input_config holds the options: concurrency, request_rate, model (export_data/json_exporter.py)
  0.0.13 … 0.0.16    input_config.perf_analyzer.stimulus, .model_names (config/input/config_perf_analyzer.py)

Without streaming the file has a time to first token all the same, equal to the latency: it is left out
(profile_data_parser/llm_profile_data_parser.py; GenAI-Perf's own tables leave it out too). All units but milliseconds
are "requests/sec" in 0.0.6 … 0.0.8.

Failed requests are not in the file. The duration is requests by request_throughput, since December 2024. Its CSV has no
settings and is not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.nvidia_report import (
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

__all__ = ["GenaiPerf"]

_FILE: Final = "profile_export_genai_perf.json"
_DISTRIBUTIONS: Final = {"request_latency": "e2el", "time_to_first_token": "ttft", "inter_token_latency": "tpot"}
_CONFIG: Final = frozenset({"perf_analyzer", "model", "model_names", "synthetic_input_tokens_mean"})
_OTHERS: Final = frozenset({"phases", "loadgen", "models"})
_GAPS: Final = ("inter_token_latency of GenAI-Perf up to 24.06 is over gaps or over requests, and the file does not "
                "say which: left out")
_WHOLE: Final = "nothing was streamed: time_to_first_token is the request latency, and left out"
_MISSING: Final = "failed requests, warm-ups and server start are not in the file"


class GenaiPerf:
    """The report of one benchmark, or the folder that holds it or several."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is such a report or folder, or GenAI-Perf's CSV."""
        if source.is_folder:
            return bool(reports_in(source.path, _FILE))
        return _is_report(source.json) or is_csv(source, with_std=False)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each report. Raises StudyError."""
        return read_each(path, name, _FILE, "genai-perf", _read)


def _read(path: Path, name: str) -> Row:
    if is_csv(Source(path), with_std=False):
        raise refuse_csv(path, name, "GenAI-Perf")
    data, digest = read_bytes(path)
    report = parse_json(data, name)
    if not _is_report(report):
        raise StudyError(f"{name}: is not a {_FILE} of GenAI-Perf; name that file")
    return _row(report, Provenance(name, digest, "genai-perf", "report", identity=content_identity(report)))


def _is_report(data: Any) -> bool:
    if not isinstance(data, dict) or not isinstance(config := data.get("input_config"), dict):
        return False
    return (bool(config.keys() & _CONFIG) and not config.keys() & _OTHERS and "aiperf_version" not in data
            and isinstance(data.get("request_latency"), dict))


def _row(report: Mapping[str, Any], place: Provenance) -> Row:
    notes = [_MISSING]
    fields = _fields(report["input_config"], report)
    distributions = dict(_DISTRIBUTIONS)
    if "num_output_token" in report and "inter_token_latency" in report:
        notes.append(_GAPS)
        del distributions["inter_token_latency"]
    metrics = metrics_of(report, distributions, notes)
    if _one_response(report):
        notes.append(_WHOLE)
        metrics = {name: values for name, values in metrics.items() if not name.endswith("ttft_ms")}
    if not metrics:
        raise StudyError(f"{place.where}: has no usable latency or throughput; is the file whole?")
    requests, rate = statistic(report, ("request_count",), "avg"), metrics.get("request_throughput", (0.0,))[0]
    seconds = requests / rate if requests and rate else None
    if seconds is None or not math.isfinite(seconds):
        notes.append("the duration is not in the file; counted as 0")
        seconds = None
    return Row(fields, metrics, seconds or 0.0, place, notes=tuple(notes), others=others_of(report, fields),
               counts=counted(report, seconds))


def _one_response(report: Mapping[str, Any]) -> bool:
    """Whether every answer of several tokens came at once: its first token is then its last."""
    first, last = (statistic(report, (name,), "avg") for name in ("time_to_first_token", "request_latency"))
    tokens = statistic(report, ("output_sequence_length", "num_output_token"), "max")
    return first is not None and first == last and tokens != 1


def _fields(config: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Value]:
    fields = lengths(report)
    fields.update({name: value for name, asked in _asked(config) if (value := length_asked(asked)) is not None})
    analyzer = config.get("perf_analyzer")
    stimulus = analyzer.get("stimulus") if isinstance(analyzer, dict) else None
    load = stimulus if isinstance(stimulus, dict) else config
    for theirs, ours in (("concurrency", "max_concurrency"), ("request_rate", "request_rate")):
        if (value := same_for_all([load.get(theirs)])) is not None:
            fields[ours] = value
    if model := single(config.get("model_names")) or single(config.get("model")):
        fields["model"] = model
    return fields


def _asked(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The lengths of synthetic prompts that the options ask for."""
    given = config.get("input")
    if isinstance(given, dict):
        if not given.get("file"):
            yield "input_len", given.get("synthetic_tokens")
            yield "output_len", given.get("output_tokens")
    elif config.get("prompt_source", "synthetic") == "synthetic" and not config.get("input_dataset"):
        for ours, theirs in (("input_len", "synthetic_input_tokens"), ("output_len", "output_tokens")):
            yield ours, {key: config.get(f"{theirs}_{key}") for key in ("mean", "stddev")}
