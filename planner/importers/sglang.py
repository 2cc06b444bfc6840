"""Result lines of SGLang's benchmarks, JSON Lines that each run appends to (sglang 0.2 … 0.5.23).

serving     sglang/bench_serving.py, later benchmark/serving.py: --output-file
one batch   sglang/bench_one_batch_server.py, later benchmark/one_batch_server.py: --result-filename
offline     sglang/bench_offline_throughput.py, later benchmark/offline_throughput.py: --result-filename

Serving. Figures are vLLM's, with e2e_latency for e2el and total_throughput for total_token_throughput; the first
versions write few of them, and the rates follow from their counts and seconds. tpot is vLLM's too: (latency − ttft) /
(tokens − 1). itl is the gap between chunks divided by the tokens of the chunk (0.4.3 and later): it is vLLM's only
where a chunk is one token, so it is left out with speculative decoding and with a stream interval. Without streaming
(--disable-stream) ttft is the whole latency and itl 0: neither is then read, nor tpot. max_concurrency is the limit
that was asked for; `concurrency` is the mean that was observed, read as mean_concurrency lest it pass for the limit.

Lengths. The random_* settings are written whatever the data set is, and mean something for a random one only. Lengths
are then drawn from random_range_ratio × length (default: 1 token) to the length itself. So input_len and output_len are
the same for all requests if the ratio is 1, or if the tokens that were counted come to the longest length for each
request. Otherwise the file has no input_len, only max_input_len. The tokens that were asked of the server count, not
those that `retokenized` gives, which tokenizes the text again.

Settings of the server are in the lines of 0.5.5 and later (server_info). With enable_dp_attention the data-parallel
ranks share the GPUs of tensor parallelism. Failed requests are only in lines written with --output-details (`errors`).

One batch. output_throughput is that of decoding alone in later versions, and is not read: it follows from the latency.
With --profile each batch is run again under the profiler and written once more, without a mark: a note says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import (
    Counts,
    Provenance,
    Row,
    content_identity,
    number,
    parse_json_stream,
    read_bytes,
    usable,
)
from planner.importers.sglang_server import server_settings
from planner.importers.values import plain, plain_values, usable_from_zero, whole_number
from planner.space.types import StudyError, Value

__all__ = ["Sglang"]

_SERVING: Final = frozenset({"duration", "completed", "total_output_tokens_retokenized"})
_ONE_BATCH: Final = frozenset({"run_name", "batch_size", "input_len", "output_len", "latency", "overall_throughput"})
_OFFLINE: Final = frozenset({"successful_requests", "total_latency", "total_output_tokens", "total_throughput"})
_STATISTIC: Final = re.compile(r"(mean|median|std|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2e_latency|e2el)_ms")
_RANDOM: Final = frozenset({"random", "random-ids", ""})
_WITH_OUTPUT_LEN: Final = frozenset({"sharegpt", "custom"})
# Keys of a serving line that are read under another name, or say nothing.
_READ: Final = frozenset({
    "backend", "dataset_name", "request_rate", "max_concurrency", "burstiness", "sharegpt_output_len",
    "random_input_len", "random_output_len", "random_range_ratio", "model_id", "duration", "completed",
    "request_throughput", "output_throughput", "total_throughput", "total_token_throughput", "request_goodput",
    "concurrency"})
_NO_FAILURES: Final = "failed requests are in the file only if it is written with --output-details"
_PROFILER: Final = ("a batch is there again: with --profile, later ones ran under the profiler, and are slow: leave "
                    "them out")
_NO_WARM_UP: Final = "warm-ups and server start are not in the file"


class Sglang:
    """A file of result lines, all of one benchmark."""

    def recognises(self, source: Source) -> bool:
        """Whether the first line is a result of one of the three benchmarks."""
        return bool(_kind(source.json))

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each line. Raises StudyError."""
        path, name = file_of(path, name, "sglang")
        data, digest = read_bytes(path)
        records = parse_json_stream(data, name)
        if not records:
            raise StudyError(f"{name}: holds no result; is it a file of SGLang's benchmark?")
        rows = [_row(record, Provenance(name, digest, "sglang", f"result {i + 1}"))
                for i, record in enumerate(records)]
        again = _again(records)
        return [replace(row, notes=(*row.notes, _PROFILER)) if i in again else row for i, row in enumerate(rows)]


def _kind(record: Any) -> str:
    keys = record.keys() if isinstance(record, dict) else set()
    kinds = {"serving": _SERVING, "one batch": _ONE_BATCH, "offline": _OFFLINE}
    return next((kind for kind, needed in kinds.items() if needed <= keys), "")


def _again(records: list[Any]) -> set[int]:
    """Places of batches that the file has before."""
    batches = [repr([record[key] for key in ("run_name", "batch_size", "input_len", "output_len")])
               if _kind(record) == "one batch" else "" for record in records]
    return {i for i, batch in enumerate(batches) if batch and batch in batches[:i]}


def _row(record: Any, place: Provenance) -> Row:
    kind = _kind(record)
    if not kind:
        raise StudyError(f"{place.where}: is not a result line of SGLang's bench_serving, bench_one_batch_server or "
                         "bench_offline_throughput; leave it out")
    place = replace(place, identity=content_identity(record))
    if kind == "serving":
        return _serving(record, place)
    return _one_batch(record, place) if kind == "one batch" else _offline(record, place)


# -------------------------------------------------------------------------------------------------------------- serving


def _serving(record: Mapping[str, Any], place: Provenance) -> Row:
    where, notes = place.where, [_NO_WARM_UP]
    seconds, completed = number(record["duration"], where, "duration"), number(record["completed"], where, "completed")
    inputs, outputs = (usable(record.get(f"total_{which}_tokens"), f"total_{which}_tokens", notes)
                       for which in ("input", "output"))
    counts = Counts(seconds or None, completed, inputs, outputs)
    server = server_settings(record.get("server_info"), notes)
    fields = {**_workload(record, counts, notes), **server.fields}
    others = {**plain_values(record, {*_READ, *filter(_STATISTIC.fullmatch, record)}), **server.others}
    if (mean := plain(record.get("concurrency"))) is not None:
        others["mean_concurrency"] = mean
    made = Row(fields, {}, seconds, replace(place, version=server.version), accelerators=server.accelerators,
               others=others, counts=counts)
    if failure := _failure(record, completed, notes):
        return replace(made, failure=failure, notes=tuple(notes))
    metrics = _latencies(record, counts, server.itl_per_chunk, notes) | _rates(record, counts, notes)
    if not metrics:
        raise StudyError(f"{where}: holds no figure that can be used ({'; '.join(notes[1:]) or 'all are 0'}); leave "
                         "the line out")
    return replace(made, metrics=metrics, notes=tuple(notes))


def _failure(record: Mapping[str, Any], completed: float, notes: list[str]) -> str:
    errors, asked = record.get("errors"), record.get("num_prompts")
    if isinstance(errors, list):
        lost = sum(1 for error in errors if error)
    elif isinstance(asked, int) and not isinstance(asked, bool):
        lost = max(0, asked - int(completed))
    else:
        lost = 0
        notes.append(_NO_FAILURES)
    if lost:
        return f"{lost} of {lost + int(completed)} requests failed"
    return "" if completed >= 1 else "no request completed"


def _workload(record: Mapping[str, Any], counts: Counts, notes: list[str]) -> dict[str, Value]:
    """What was asked of the benchmark: rate, concurrency, lengths, goals."""
    given = {key: plain(record.get(key)) for key in ("backend", "dataset_name", "max_concurrency", "burstiness")}
    given["model"] = plain(record.get("model_id"))
    rate = record.get("request_rate")
    given["request_rate"] = rate if rate == math.inf else plain(rate)
    dataset = str(given["dataset_name"] or "")
    if dataset in _RANDOM:
        given["random_range_ratio"] = plain(record.get("random_range_ratio"))
    for which, tokens in (("input", counts.input_tokens), ("output", counts.output_tokens)):
        longest = whole_number(record.get(f"random_{which}_len")) if dataset in _RANDOM else None
        if longest and (record.get("random_range_ratio") == 1 or tokens == longest * (counts.requests or 0)):
            given[f"{which}_len"] = longest
        elif longest:
            given[f"max_{which}_len"] = longest
            notes.append(f"{which}_len is not the same for all requests: at most {longest}, as max_{which}_len says")
        else:
            given[f"{which}_len"] = _listed(record.get(f"{which}_lens"))
    if dataset in _WITH_OUTPUT_LEN and (fixed := whole_number(record.get("sharegpt_output_len"))):
        given["output_len"] = fixed
    goals = record.get("goodput_slos_ms")
    for name, goal in goals.items() if isinstance(goals, dict) else ():
        given[f"goodput_{name}_ms"] = plain(goal)
    return {key: value for key, value in given.items() if value is not None}


def _listed(lengths: Any) -> int | None:
    """The length of all requests, if --output-details lists them and they are equal."""
    same = isinstance(lengths, list) and bool(lengths) and all(length == lengths[0] for length in lengths)
    return whole_number(lengths[0]) if same else None


def _latencies(record: Mapping[str, Any], counts: Counts, itl_per_chunk: bool, notes: list[str]
               ) -> dict[str, tuple[float, ...]]:
    several = (counts.output_tokens or 0) > (counts.requests or 0)
    gap = record.get("mean_itl_ms", record.get("median_itl_ms"))
    whole = several and gap == 0
    if whole:
        notes.append("answers were not streamed: ttft, tpot and itl are left out")
    metrics: dict[str, tuple[float, ...]] = {}
    for key, given in record.items():
        if not (found := _STATISTIC.fullmatch(key)):
            continue
        statistic, name = found[1], "e2el" if found[2].startswith("e2e") else found[2]
        if (whole and name != "e2el") or (name == "itl" and not itl_per_chunk):
            continue
        if (value := usable(given, key, notes)) is not None:
            metrics[f"{statistic}_{name}_ms"] = (value,)
            if statistic == "median":
                metrics[f"{name}_ms"] = (value,)
    return metrics


def _rates(record: Mapping[str, Any], counts: Counts, notes: list[str]) -> dict[str, tuple[float, ...]]:
    """Rates as the line says them, or else as the same version computes them to print them."""
    inputs, outputs, seconds = counts.input_tokens, counts.output_tokens, counts.duration_s
    said: dict[str, tuple[Any, float | None]] = {
        "request_throughput": (record.get("request_throughput"), counts.requests),
        "output_throughput": (record.get("output_throughput"), outputs)}
    if inputs and outputs:  # conversations of several turns count no input, and their total is that of the output
        said["total_token_throughput"] = record.get("total_throughput"), inputs + outputs
    metrics: dict[str, tuple[float, ...]] = {}
    for name, (given, count) in said.items():
        value = usable(given, name, notes)
        if given is None and count and seconds:
            value = count / seconds
        if value is not None and math.isfinite(value):
            metrics[name] = (value,)
    if (goodput := usable_from_zero(record.get("request_goodput"), "request_goodput", notes)) is not None:
        metrics["request_goodput"] = (goodput,)
    return metrics


# ----------------------------------------------------------------------------------------------- one batch, and offline


def _one_batch(record: Mapping[str, Any], place: Provenance) -> Row:
    where, notes = place.where, [_NO_WARM_UP]
    seconds = number(record["latency"], where, "latency")
    if not seconds:
        raise StudyError(f"{where}: latency is 0, which no batch takes; correct it or leave the line out")
    batch, asked = whole_number(record["batch_size"]), whole_number(record["output_len"])
    fields = {key: value for key in ("batch_size", "input_len", "output_len")
              if (value := plain(record[key])) is not None}
    early = bool(record.get("num_early_stopped"))
    if early:
        fields["max_output_len"] = fields.pop("output_len", 0)
        notes.append("requests stopped before output_len, which is read as max_output_len")
    counted = usable(record.get("total_output_tokens"), "total_output_tokens", notes)
    tokens = counted or (batch * asked if batch and asked else None)
    found = {"e2el_ms": 1000 * seconds, "request_throughput": batch / seconds if batch else None,
             "output_throughput": tokens / seconds if tokens else None,
             "total_token_throughput": usable(record["overall_throughput"], "overall_throughput", notes)}
    first = usable(record.get("last_ttft"), "last_ttft", notes)
    if first is not None and first <= seconds:
        found["batch_ttft_ms"] = 1000 * first
        if asked and asked > 1 and not early and first < seconds:
            found["tpot_ms"] = 1000 * (seconds - first) / (asked - 1)
    metrics = {name: (value,) for name, value in found.items() if value is not None and math.isfinite(value)}
    counts = Counts(seconds, batch, None, tokens)
    return Row(fields, metrics, seconds, place, notes=tuple(notes), counts=counts,
               others=plain_values(record, {*fields, "output_len", "output_throughput"}))


def _offline(record: Mapping[str, Any], place: Provenance) -> Row:
    notes = ["warm-ups and engine start are not in the file"]
    seconds = number(record["total_latency"], place.where, "total_latency")
    said = {"request_throughput": "request_throughput", "output_throughput": "output_throughput",
            "total_token_throughput": "total_throughput"}
    metrics: dict[str, tuple[float, ...]] = {
        ours: (value,) for ours, theirs in said.items()
        if (value := usable(record.get(theirs), theirs, notes)) is not None}
    if not metrics:
        raise StudyError(f"{place.where}: holds no rate that can be used; leave the line out")
    done, inputs, outputs = (usable(record.get(key), key, notes) for key in (
        "successful_requests", "total_input_tokens", "total_output_tokens"))
    counts = Counts(seconds or None, done, inputs, outputs)
    others = plain_values(record, {"backend", *said.values()})
    backend = plain(record.get("backend"))
    fields: dict[str, Value] = {} if backend is None else {"backend": backend}
    return Row(fields, metrics, seconds, place, notes=tuple(notes), others=others, counts=counts)
