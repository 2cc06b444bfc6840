"""LLMPerf's results (ray-project/llmperf, token_benchmark_ray.py of 2023-12 to 2024-12, "version": "2023-08-31").

NAME_summary.json               settings, and statistics over the requests without error; one flat object
NAME_individual_responses.json  a list of requests, without settings

Times are seconds. Percentiles are interpolated as vLLM's; the deviation is pandas' (n - 1) and becomes vLLM's (n).
LLMPerf's inter_token_latency_s is the time of the whole request, first token included, by its tokens: vLLM has no such
metric, and it is not read. tpot, (latency - first token) / (tokens - 1) of a request, comes from the requests. The
duration is requests by requests a minute. mean_output_tokens is what was asked for, as max_tokens; how many tokens came
is in `counts`. LLMPerf counts tokens with the tokenizer of Llama 2 for every model: rates and tpot follow that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source
from planner.importers.rows import (
    Counts,
    Provenance,
    Row,
    content_identity,
    number,
    parse_json,
    read_bytes,
    usable,
)
from planner.importers.values import distribution, flattened, json_beside, settings_of
from planner.space.types import StudyError, Value

__all__ = ["Llmperf"]

_SUMMARY: Final = "_summary.json"
_REQUESTS: Final = "_individual_responses.json"
_SUMMARY_KEYS: Final = frozenset({"num_concurrent_requests", "results_num_completed_requests",
                                  "results_ttft_s_quantiles_p50"})
_REQUEST_KEYS: Final = frozenset({"ttft_s", "end_to_end_latency_s", "inter_token_latency_s", "number_output_tokens"})
_DISTRIBUTIONS: Final = {"ttft_s": "ttft", "end_to_end_latency_s": "e2el"}
_SETTINGS: Final = {"model": "model", "num_concurrent_requests": "max_concurrency", "mean_input_tokens": "input_len",
                    "mean_output_tokens": "output_len", "stddev_input_tokens": "stddev_input_tokens",
                    "stddev_output_tokens": "stddev_output_tokens"}
_SAMPLING: Final = "additional_sampling_params_"
_EXTREMES: Final = ("end_to_end_latency_s", "ttft_s", "number_input_tokens", "number_output_tokens")
_TRIED: Final = 20
_TOKENS: Final = "LLMPerf counts tokens with Llama 2's tokenizer, whatever the model: token rates and tpot follow that"
_COST: Final = "server start is not in the file"


class Llmperf:
    """A summary, the requests of one run, or a folder with any number of them."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is such a file, or holds one."""
        if source.is_folder:
            return any(_is_ours(json_beside(file)) for file in islice(_files(source.path), _TRIED))
        return _is_ours(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each run. Raises StudyError."""
        if not path.is_dir():
            return [_row(path, name)]
        rows = [_row(file, f"{name}/{file.relative_to(path)}") for file in _files(path) if _is_ours(json_beside(file))]
        if not rows:
            raise StudyError(f"{name}: holds no *{_SUMMARY} of LLMPerf; name its --results-dir")
        return rows


def _files(path: Path) -> Iterator[Path]:
    """The summaries, and the requests that have no summary."""
    yield from sorted(path.rglob(f"*{_SUMMARY}"))
    for file in sorted(path.rglob(f"*{_REQUESTS}")):
        if not _beside(file, _REQUESTS, _SUMMARY).is_file():
            yield file


def _beside(file: Path, ending: str, other: str) -> Path:
    """The other file of the run; the file itself if it was renamed."""
    return file.with_name(file.name.removesuffix(ending) + other) if file.name.endswith(ending) else file


def _is_ours(data: Any) -> bool:
    return _is_summary(data) or _is_requests(data)


def _is_summary(data: Any) -> bool:
    return isinstance(data, dict) and data.keys() >= _SUMMARY_KEYS


def _is_requests(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and isinstance(data[0], dict) and data[0].keys() >= _REQUEST_KEYS


def _row(path: Path, name: str) -> Row:
    data, digest = read_bytes(path)
    record = parse_json(data, name)
    provenance = Provenance(name, digest, "llmperf", "run")
    if _is_summary(record):
        other = json_beside(_beside(path, _SUMMARY, _REQUESTS))
        return _of_summary(record, other, provenance)
    if not _is_requests(record):
        raise StudyError(f"{name}: is not a *{_SUMMARY} or *{_REQUESTS} of LLMPerf; name such a file")
    provenance = replace(provenance, identity=_identity_of_requests(record))
    summary = json_beside(_beside(path, _REQUESTS, _SUMMARY))
    if _is_summary(summary) and _identity_of_summary(summary) == provenance.identity:
        return _of_summary(summary, record, provenance)
    return _of_requests(record, provenance)


# ------------------------------------------------------------------------------------------------------------ identity


def _identity_of_summary(summary: Mapping[str, Any]) -> str:
    """The same for a summary and its requests: both have the extremes to the last digit."""
    done = _plain(summary.get("results_num_completed_requests"))
    ends = [_plain(summary.get(f"results_{key}_{end}")) for key in _EXTREMES for end in ("min", "max")]
    known = done and all(math.isfinite(end) for end in ends)
    return content_identity([done, ends] if known else summary)


def _identity_of_requests(requests: list[Any]) -> str:
    good = [request for request in requests if isinstance(request, dict) and request.get("error_code") is None]
    values = [[_plain(request.get(key)) for request in good] for key in _EXTREMES]
    known = good and all(math.isfinite(value) for column in values for value in column)
    return content_identity([float(len(good)), [end(column) for column in values for end in (min, max)]]
                            if known else requests)


def _plain(value: Any) -> float:
    """A number, also where LLMPerf wrote it as text; else nan."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _counted(tokens: float) -> float | None:
    return tokens if 0 < tokens < math.inf else None


# ------------------------------------------------------------------------------------------------------------- summary


def _of_summary(summary: Mapping[str, Any], requests: Any, provenance: Provenance) -> Row:
    where, notes = provenance.where, [_COST]
    identity = _identity_of_summary(summary)
    provenance = replace(provenance, version=str(summary.get("version", "")), identity=provenance.identity or identity)
    fields = _fields(summary)
    others = {key: value for key, value in flattened(summary).items() if key not in fields}
    done = number(summary["results_num_completed_requests"], where, "results_num_completed_requests")
    seconds = _duration(summary, done, notes)
    errors = usable(summary.get("results_number_errors"), "results_number_errors", notes) or 0.0
    if errors or not done:
        reason = f"{int(errors)} of {int(errors + done)} requests failed"
        return Row(fields, {}, seconds, provenance, failure=reason, notes=tuple(notes), others=others)
    metrics = _statistics(summary, done, notes)
    if _is_requests(requests) and _identity_of_requests(requests) == identity:
        metrics |= distribution("tpot", _tpots(requests))
    else:
        notes.append(f"no tpot: no *{_REQUESTS} of the same run is beside the summary")
    if not metrics:
        raise StudyError(f"{where}: has no usable ttft, latency or throughput; is the file whole?")
    inputs, outputs = (done * _plain(summary.get(f"results_number_{kind}_tokens_mean")) for kind in ("input", "output"))
    counts = Counts(seconds or None, done, _counted(inputs), _counted(outputs))
    return Row(fields, metrics, seconds, provenance, notes=(*notes, _TOKENS), others=others, counts=counts)


def _fields(summary: Mapping[str, Any]) -> dict[str, Value]:
    flat = settings_of(flattened(summary))
    fields = {ours: flat[theirs] for theirs, ours in _SETTINGS.items() if theirs in flat}
    return fields | {key.removeprefix(_SAMPLING): value for key, value in flat.items()
                     if key.startswith(_SAMPLING) and key.removeprefix(_SAMPLING) not in fields}


def _duration(summary: Mapping[str, Any], done: float, notes: list[str]) -> float:
    key = "results_num_completed_requests_per_min"
    rate = usable(summary.get(key), key, notes)
    seconds = done / (rate / 60) if rate else 0.0
    if not seconds or not math.isfinite(seconds):
        notes.append("the duration is not in the file; counted as 0")
        return 0.0
    return seconds


def _statistics(summary: Mapping[str, Any], done: float, notes: list[str]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for theirs, ours in _DISTRIBUTIONS.items():
        statistics = {"p50": f"{theirs}_quantiles_p50", "mean": f"{theirs}_mean",
                      **{p: f"{theirs}_quantiles_{p}" for p in ("p90", "p95", "p99")}}
        for statistic, key in statistics.items():
            value = usable(summary.get(f"results_{key}"), f"results_{key}", notes)
            if value is not None and math.isfinite(1000 * value):
                found[f"{statistic}_{ours}_ms"] = (1000 * value,)
        if f"p50_{ours}_ms" in found:
            found[f"{ours}_ms"] = found[f"median_{ours}_ms"] = found[f"p50_{ours}_ms"]
        deviation = _plain(summary.get(f"results_{theirs}_stddev"))
        if f"mean_{ours}_ms" in found and done > 1 and math.isfinite(1000 * deviation) and deviation >= 0:
            found[f"std_{ours}_ms"] = (1000 * deviation * math.sqrt((done - 1) / done),)
    for key, ours, factor in (("results_mean_output_throughput_token_per_s", "output_throughput", 1.0),
                              ("results_num_completed_requests_per_min", "request_throughput", 1 / 60)):
        rate = usable(summary.get(key), key, [])
        if rate is not None:
            found[ours] = (factor * rate,)
    return found


# ------------------------------------------------------------------------------------------------------------ requests


def _of_requests(requests: list[Any], provenance: Provenance) -> Row:
    where, notes = provenance.where, ["the file has no settings and no duration; name the summary beside it"]
    if not all(isinstance(request, dict) for request in requests):
        raise StudyError(f"{where}: holds something that is no request; is the file whole?")
    good = [request for request in requests if request.get("error_code") is None]
    if len(good) < len(requests):
        reason = f"{len(requests) - len(good)} of {len(requests)} requests failed"
        return Row({}, {}, 0.0, provenance, failure=reason, notes=tuple(notes))
    metrics = distribution("tpot", _tpots(good))
    for theirs, ours in _DISTRIBUTIONS.items():
        seconds = [usable(request.get(theirs), theirs, notes) for request in good]
        metrics |= distribution(ours, [1000 * value for value in seconds if value is not None])
    if not metrics:
        raise StudyError(f"{where}: no request has a time; is the file whole?")
    inputs, outputs = (sum(_plain(request.get(f"number_{kind}_tokens")) for request in good)
                       for kind in ("input", "output"))
    counts = Counts(None, len(good), _counted(inputs), _counted(outputs))
    return Row({}, metrics, 0.0, provenance, notes=tuple(dict.fromkeys([*notes, _TOKENS])), counts=counts)


def _tpots(requests: list[Any]) -> list[float]:
    """Milliseconds a token after the first, of each request that has at least two."""
    found: list[float] = []
    for request in requests:
        if request.get("error_code") is None:
            latency, first, tokens = (_plain(request.get(key)) for key in
                                      ("end_to_end_latency_s", "ttft_s", "number_output_tokens"))
            if first > 0 and latency > first and 1 < tokens < math.inf:
                found.append(1000 * (latency - first) / (tokens - 1))
    return found
