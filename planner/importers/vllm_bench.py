"""Result files of vLLM's benchmarks, 2024 to 0.32, and of the Rust client that writes the same.

latency     seconds of each iteration of one static batch; the file has neither lengths nor batch size
            (benchmarks/benchmark_latency.py, vllm/benchmarks/latency.py)
throughput  one offline run of many requests; the file has no lengths
            (benchmarks/benchmark_throughput.py, vllm/benchmarks/throughput.py)
serve       milliseconds, and requests or tokens per second
            (benchmarks/benchmark_serving.py until 0.9, vllm/benchmarks/serve.py since; src/output/json.rs of
            vllm-project/vllm-bench 0.1, single and multi-turn)

Names over time, in results of `serve`:

request_inthroughput    request_throughput, in the first months of 2024
request_goodput:        request_goodput, with a colon, until mid 2025 (vllm-project/vllm#20274)
total_token_throughput  was not there in early 2024, but input_throughput and output_throughput were
failed                  only in later versions; before, requests with a text in `errors`, or num_prompts − completed
total_output_tokens     is not there where a pooling model was measured
max_concurrency         was not there in early 2024, and is null where there is no limit

tpot is (latency − ttft) / (tokens − 1) of a request, itl the gaps between chunks, throughout. vLLM writes zeros for
what is undefined: tpot of a single token, everything where nothing was streamed. So a time whose mean or median is not
above 0 is left out with all its percentiles. A goodput of 0 is a figure. Lengths that nobody asked for by name are the
means over requests, if whole numbers. What counts as a setting is in planner/importers/vllm_settings.py; times of
forks in seconds (`median_ttft`) are under no name that we know, and left to --map.

A serve run with failed requests gives no numbers: vLLM writes zeros, or figures of the other requests only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import (
    DISTRIBUTIONS,
    Counts,
    Provenance,
    Row,
    content_identity,
    number,
    numbers,
    parse_json_stream,
    read_bytes,
    short,
    usable,
)
from planner.importers.vllm_names import named_parameters, parameters_of
from planner.importers.vllm_settings import accelerators, plain, split, unknown, whole
from planner.space.types import StudyError, Value

__all__ = ["VllmBench", "row_of"]

_STATISTIC: Final = re.compile(r"(mean|median|std|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms")
_RATES: Final[Mapping[str, tuple[str, ...]]] = {
    "request_throughput": ("request_throughput", "request_inthroughput"),
    "request_goodput": ("request_goodput", "request_goodput:"), "output_throughput": ("output_throughput",),
    "total_token_throughput": ("total_token_throughput",),
}
"""Metric → keys, newest first."""
_OFFLINE: Final = {"request_throughput": "requests_per_second", "total_token_throughput": "tokens_per_second"}
_LATENCY: Final = frozenset({"avg_latency", "latencies"})
_THROUGHPUT: Final = frozenset({"elapsed_time", "requests_per_second"})
_SERVE: Final = frozenset({"duration", "completed"})
_WINDOW: Final = "steady_state"
_NO_WARM_UP: Final = "warm-ups and {} start are not in the file"


class VllmBench:
    """A result file, also one with several results (--append-result), or a sweep's summary.json."""

    def recognises(self, source: Source) -> bool:
        """Whether the file's first result has one of the three formats."""
        data = source.json
        return bool(_kind(data[0] if isinstance(data, list) and data else data))

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each result; more metrics are derived if `known` has lengths and batch size. Raises
        StudyError."""
        path, name = file_of(path, name, "vllm-bench")
        data, digest = read_bytes(path)
        values = parse_json_stream(data, name)
        records = [record for value in values for record in (value if isinstance(value, list) else [value])]
        if not records:
            raise StudyError(f"{name}: holds no result; is it a file of vLLM's benchmark?")
        rows = [row_of(record, Provenance(name, digest, "vllm-bench", f"result {i + 1}"), known, path)
                for i, record in enumerate(records)]
        return [row for row in rows if row is not None]


def _kind(record: Any) -> str:
    """The benchmark that wrote the result: latency, throughput or serve; empty if none did."""
    keys = record.keys() if isinstance(record, dict) else set()
    if keys >= _LATENCY:
        return "latency"
    if keys >= _THROUGHPUT:
        return "throughput"
    return "serve" if keys >= _SERVE and any(key in keys for key in _RATES["request_throughput"]) else ""


def row_of(record: Any, provenance: Provenance, known: Mapping[str, Value], path: Path,
           attached: Collection[str] = ()) -> Row | None:
    """The row of one result; None for a sweep's warm-up. path: its file, whose folder may name parameters of a sweep.
    attached: keys that are settings wherever they are. Raises StudyError."""
    kind = _kind(record)
    if not kind:
        raise StudyError(f"{provenance.where}: is not a result of vllm bench latency, throughput or serve; "
                         "name the format with --format, or leave the file out")
    if record.get("run_number") == -1:
        return None
    named = named_parameters(record, path)
    said = {**record, **named}
    fields, others = split(said, {*parameters_of(record), *attached, *named}, _metric_keys(record))
    version = record.get("version")
    provenance = replace(provenance, identity=content_identity(record),
                         version=version if isinstance(version, str) and version != "N/A" else "")
    notes: list[str] = []
    row = Row(fields, {}, 0.0, provenance, others={**others, **_window(record)},
              accelerators=accelerators(said, notes), unknown=unknown(others))
    if kind == "serve":
        return _serve(record, row, notes)
    return (_latency if kind == "latency" else _throughput)(record, row, {**known, **fields}, notes)


def _metric_keys(record: Mapping[str, Any]) -> set[str]:
    return {key for key in record if _STATISTIC.fullmatch(key)}.union(*_RATES.values(), _OFFLINE.values())


def _window(record: Mapping[str, Any]) -> dict[str, Value]:
    """The figures of the Rust client's steady-state window, under names with an underscore."""
    inside = record.get(_WINDOW)
    values = {f"{_WINDOW}_{key}": plain(value) for key, value in inside.items()} if isinstance(inside, dict) else {}
    return {name: value for name, value in values.items() if value is not None}


def _latency(record: Mapping[str, Any], row: Row, said: Mapping[str, Value], notes: list[str]) -> Row:
    where = row.provenance.where
    seconds = numbers(record["latencies"], where, "latencies")
    if min(seconds) <= 0:
        raise StudyError(f"{where}: latencies holds a zero, which no batch takes; correct it or leave the file out")
    batch, inputs, outputs = (_size(said, name, where) for name in ("batch_size", "input_len", "output_len"))
    metrics = {"e2el_ms": tuple(1000 * s for s in seconds)}
    if batch:
        metrics["request_throughput"] = tuple(batch / s for s in seconds)
    if batch and outputs:
        metrics["output_throughput"] = tuple(batch * outputs / s for s in seconds)
    if batch and inputs and outputs:
        metrics["total_token_throughput"] = tuple(batch * (inputs + outputs) / s for s in seconds)
    return _measured(row, metrics, sum(seconds), [_NO_WARM_UP.format("engine"), *notes])


def _throughput(record: Mapping[str, Any], row: Row, said: Mapping[str, Value], notes: list[str]) -> Row:
    rates = {name: usable(record.get(key), key, notes) for name, key in _OFFLINE.items()}
    metrics = {name: (rate,) for name, rate in rates.items() if rate is not None}
    outputs = _size(said, "output_len", row.provenance.where)
    if outputs and "request_throughput" in metrics:
        metrics["output_throughput"] = (metrics["request_throughput"][0] * outputs,)
    seconds = usable(record["elapsed_time"], "elapsed_time", notes)
    counts = Counts(seconds, usable(record.get("num_requests"), "num_requests", notes))
    return _measured(replace(row, counts=counts), metrics, seconds or 0.0, [_NO_WARM_UP.format("engine"), *notes])


def _serve(record: Mapping[str, Any], row: Row, notes: list[str]) -> Row:
    where = row.provenance.where
    seconds = usable(record["duration"], "duration", notes)
    completed = int(number(record["completed"], where, "completed"))
    lost = _lost(record, completed, where)
    if lost or completed < 1:
        reason = f"{lost} of {lost + completed} requests failed"
        return replace(row, failure=reason, seconds=seconds or 0.0, notes=(_NO_WARM_UP.format("server"),))
    counts = Counts(seconds, completed, input_tokens=_tokens(record, "total_input_tokens", notes),
                    output_tokens=_tokens(record, "total_output_tokens", notes))
    fields = dict(row.fields)
    if record.get("mode") != "multi_turn":  # where prompts grow from turn to turn
        for name, tokens in (("input_len", counts.input_tokens), ("output_len", counts.output_tokens)):
            if tokens and tokens % completed == 0 and not _differ(record.get(name + "s")):
                fields.setdefault(name, int(tokens) // completed)
    metrics = {**_rates(record, notes), **_times(record, notes)}
    return _measured(replace(row, fields=fields, counts=counts), metrics, seconds or 0.0,
                     [_NO_WARM_UP.format("server"), *notes])


def _measured(row: Row, metrics: Mapping[str, tuple[float, ...]], seconds: float, notes: list[str]) -> Row:
    """The row with its metrics. Raises StudyError if there are none."""
    if not metrics:
        raise StudyError(f"{row.provenance.where}: has no figure that can be right ({'; '.join(notes[1:4]) or 'none'}"
                         "); leave the file out")
    return replace(row, metrics=metrics, seconds=seconds, notes=tuple(notes))


def _size(said: Mapping[str, Value], name: str, where: str) -> int | None:
    if name not in said:
        return None
    if size := whole(said[name]):
        return size
    raise StudyError(f"{where}: {name} is {short(said[name])}, not a count from 1; correct it or leave the file out")


def _lost(record: Mapping[str, Any], completed: int, where: str) -> int:
    """The number of failed requests."""
    if (failed := record.get("failed")) is not None:
        return int(number(failed, where, "failed"))
    if isinstance(errors := record.get("errors"), list) and len(errors) >= completed > 0:
        return sum(bool(error) for error in errors)
    asked = record.get("num_prompts")
    return max(0, int(number(asked, where, "num_prompts")) - completed) if asked is not None else 0


def _tokens(record: Mapping[str, Any], key: str, notes: list[str]) -> float | None:
    return 0.0 if record.get(key) == 0 else usable(record.get(key), key, notes)


def _differ(lengths: Any) -> bool:
    """Whether the list of lengths that --save-detailed adds has several different ones."""
    return isinstance(lengths, list) and any(length != lengths[0] for length in lengths)


def _rates(record: Mapping[str, Any], notes: list[str]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for name, keys in _RATES.items():
        key = next((key for key in keys if record.get(key) is not None), keys[0])
        rate = usable(record.get(key), key, notes)
        if rate is not None:
            found[name] = (rate,)
    if type(goodput := record.get("request_goodput", record.get("request_goodput:"))) in {int, float} and not goodput:
        found["request_goodput"] = (0.0,)
    if "total_token_throughput" not in record and "output_throughput" in found:
        rate = usable(record.get("input_throughput"), "input_throughput", notes)
        if rate is not None:
            found["total_token_throughput"] = (rate + found["output_throughput"][0],)
    return found


def _times(record: Mapping[str, Any], notes: list[str]) -> dict[str, tuple[float, ...]]:
    found: dict[str, tuple[float, ...]] = {}
    for name in DISTRIBUTIONS:
        keys = [key for key in record if (match := _STATISTIC.fullmatch(key)) and match[2] == name]
        middle = next((key for key in (f"median_{name}_ms", f"p50_{name}_ms") if key in keys), f"mean_{name}_ms")
        said: list[str] = []
        values = {key: (value,) for key in keys if (value := usable(record[key], key, said)) is not None}
        mean = f"mean_{name}_ms"
        if any(key in keys and key not in values for key in (middle, mean)):
            if values.keys() & {middle, mean} or said:
                notes.append(f"{middle} is {short(record.get(middle))}, {mean} {short(record.get(mean))}: {name}, "
                             "which is undefined then, is left out")
            continue
        notes += said
        if middle in values and middle != mean:
            values[f"{name}_ms"] = values[middle]
        found |= values
    return found
