"""Result files of `vllm bench latency`, `throughput` and `serve` (vllm/benchmarks/*.py of 0.32).

latency     seconds of each iteration of one static batch; the file has neither lengths nor batch size
throughput  one offline run of many requests; the file has no lengths
serve       milliseconds, and requests or tokens per second; lengths are means over requests, if whole numbers

A serve run with failed requests gives no numbers: vLLM writes zeros, or figures of the other requests only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import (
    DISTRIBUTIONS,
    Provenance,
    Row,
    content_identity,
    number,
    numbers,
    parse_json_stream,
    positive_count,
    read_bytes,
    scalar,
)
from planner.space.types import StudyError, Value

__all__ = ["VllmBench", "row_of"]

_STATISTIC: Final = re.compile(r"(mean|median|std|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms")
_RATES: Final = ("request_throughput", "request_goodput", "output_throughput", "total_token_throughput")
# Keys of the file that are neither settings of a sweep nor metrics.
_ASIDE: Final = frozenset({
    "date", "endpoint_type", "backend", "label", "tokenizer_id", "num_prompts", "burstiness", "duration", "completed",
    "failed", "total_input_tokens", "total_output_tokens", "max_output_tokens_per_s", "max_concurrent_requests", "rtfx",
    "run_number", "_benchmark_name", "avg_latency", "elapsed_time", "num_requests", "total_num_tokens",
    "requests_per_second", "tokens_per_second", *_RATES})
_NOT_SET: Final = re.compile(r"(spec_decode|diffusion|probe)_|.*_ms$")


class VllmBench:
    """A result file, also one with several results (--append-result), or a sweep's summary.json."""

    def recognises(self, source: Source) -> bool:
        """Whether the file's first result has one of the three formats."""
        data = source.json
        return _is_result(data[0] if isinstance(data, list) and data else data)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each result; more metrics are derived if `known` has lengths and batch size. Raises
        StudyError."""
        path, name = file_of(path, name, "vllm-bench")
        data, digest = read_bytes(path)
        values = parse_json_stream(data, name)
        records = [record for value in values for record in (value if isinstance(value, list) else [value])]
        if not records:
            raise StudyError(f"{name}: holds no result; is it a file of vLLM's benchmark?")
        rows = [row_of(record, Provenance(name, digest, "vllm-bench", f"result {i + 1}"), known)
                for i, record in enumerate(records)]
        return [row for row in rows if row is not None]


def _is_result(data: Any) -> bool:
    keys = data.keys() if isinstance(data, dict) else set()
    return ({"avg_latency", "latencies"} <= keys or {"elapsed_time", "requests_per_second"} <= keys
            or {"duration", "completed", "request_throughput"} <= keys)


def row_of(record: Any, provenance: Provenance, known: Mapping[str, Value]) -> Row | None:
    """The row of one result; None for a sweep's warm-up. Raises StudyError."""
    if not _is_result(record):
        raise StudyError(f"{provenance.where}: is not a result of vllm bench latency, throughput or serve; "
                         "name the format with --format, or leave the file out")
    if record.get("run_number") == -1:
        return None
    provenance = Provenance(provenance.file, provenance.sha256, provenance.format, provenance.row, provenance.version,
                            content_identity(record))
    fields = {**_fields(record), **known}
    if "avg_latency" in record:
        return _latency(record, fields, provenance)
    if "elapsed_time" in record:
        return _throughput(record, fields, provenance)
    return _serve(record, fields, provenance)


def _fields(record: Mapping[str, Any]) -> dict[str, Value]:
    kept = {key.replace("-", "_"): scalar(value) for key, value in record.items()
            if key not in _ASIDE and not _NOT_SET.match(key)}
    fields = {key: value for key, value in kept.items() if value is not None}
    if "model_id" in fields:
        fields.setdefault("model", str(record["model_id"]))
        del fields["model_id"]
    for length in ("input_len", "output_len"):
        if f"random_{length}" in fields:
            fields.setdefault(length, fields[f"random_{length}"])
    return fields


def _count(fields: Mapping[str, Value], key: str, where: str) -> int | None:
    return positive_count(fields[key], where, key) if key in fields else None


def _latency(record: Mapping[str, Any], fields: dict[str, Value], provenance: Provenance) -> Row:
    where = provenance.where
    seconds = numbers(record["latencies"], where, "latencies")
    if min(seconds) <= 0:
        raise StudyError(f"{where}: latencies holds a zero, which no batch takes; correct it or leave the file out")
    metrics = {"e2el_ms": tuple(1000 * s for s in seconds)}
    batch = _count(fields, "batch_size", where)
    inputs, outputs = _count(fields, "input_len", where), _count(fields, "output_len", where)
    if batch:
        metrics["request_throughput"] = tuple(batch / s for s in seconds)
    if batch and outputs:
        metrics["output_throughput"] = tuple(batch * outputs / s for s in seconds)
    if batch and inputs and outputs:
        metrics["total_token_throughput"] = tuple(batch * (inputs + outputs) / s for s in seconds)
    return Row(fields, metrics, sum(seconds), provenance, notes=("warm-ups and engine start are not in the file",))


def _throughput(record: Mapping[str, Any], fields: dict[str, Value], provenance: Provenance) -> Row:
    where = provenance.where
    seconds = number(record["elapsed_time"], where, "elapsed_time")
    rate = number(record["requests_per_second"], where, "requests_per_second")
    metrics = {"request_throughput": (rate,),
               "total_token_throughput": (number(record.get("tokens_per_second"), where, "tokens_per_second"),)}
    if outputs := _count(fields, "output_len", where):
        metrics["output_throughput"] = (rate * outputs,)
    return Row(fields, metrics, seconds, provenance, notes=("warm-ups and engine start are not in the file",))


def _serve(record: Mapping[str, Any], fields: dict[str, Value], provenance: Provenance) -> Row:
    where = provenance.where
    seconds = number(record["duration"], where, "duration")
    completed = int(number(record["completed"], where, "completed"))
    asked = record.get("num_prompts")
    failed = record.get("failed")
    lost = number(failed, where, "failed") if failed is not None else (
        number(asked, where, "num_prompts") - completed if asked is not None else 0)
    notes = ("warm-ups and server start are not in the file",)
    if lost > 0 or completed < 1:
        reason = f"{int(max(lost, 0))} of {int(max(lost, 0)) + completed} requests failed"
        return Row(fields, {}, seconds, provenance, failure=reason, notes=notes)
    for name, total in (("input_len", "total_input_tokens"), ("output_len", "total_output_tokens")):
        tokens = number(record.get(total), where, total)
        if tokens and tokens % completed == 0 and not _differ(record.get(name + "s")):
            fields.setdefault(name, int(tokens) // completed)
    return Row(fields, _statistics(record, where), seconds, provenance, notes=notes)


def _differ(lengths: Any) -> bool:
    """Whether the list of lengths that --save-detailed adds has several different ones."""
    return isinstance(lengths, list) and any(length != lengths[0] for length in lengths)


def _statistics(record: Mapping[str, Any], where: str) -> dict[str, tuple[float, ...]]:
    metrics: dict[str, tuple[float, ...]] = {
        key: (number(record[key], where, key),) for key in _RATES if record.get(key) is not None}
    metrics |= {key: (number(value, where, key),) for key, value in record.items() if _STATISTIC.fullmatch(key)}
    for name in DISTRIBUTIONS:
        if metrics.get(f"mean_{name}_ms") == (0.0,):
            # vLLM writes undefined values (tpot of a single token) as zero.
            metrics = {key: value for key, value in metrics.items() if not key.endswith(f"_{name}_ms")}
        if f"median_{name}_ms" in metrics:
            metrics[f"{name}_ms"] = metrics[f"median_{name}_ms"]
    return metrics
