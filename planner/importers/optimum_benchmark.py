"""Optimum-Benchmark's results (huggingface/optimum-benchmark 0.2 to 0.6, its scenario "inference"): static batches.

benchmark.json          {"config", "report"}
benchmark_report.json   the report alone; benchmark_config.json (or experiment_config.json) beside it has the settings

A report has prefill, decode, per_token, from 0.6 generate, and load or load_model; each with latency in seconds, of
which `values` are the repeats. Prefill is the time until each request of the batch has its first token: batch_ttft_ms.
Decode gives the other max_new_tokens - 1 tokens: tpot is decode by them. Both together are e2el, and rates are computed
from it: the file's throughputs are those of a phase, and that of 0.6's generate counts tokens as samples.

Backends without per-token times (vllm, tensorrt-llm, py-txi, llama_cpp) run prefill and generate apart; their decode is
generate less the mean of prefill, and e2el is generate. per_token is vLLM's itl, but 0.2 and 0.3 count the gap between
two runs, and 0.5 and 0.6 count all gaps before again with each run (trackers/latency.py): the gaps within runs are
picked by their number, or left out where it fits none of these. With torchrun each process has values of its own; the
slowest is the batch's.

max_new_tokens that is not set is 100. environment.gpu_count is that of the machine, and says nothing of the run.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.importers.importer import Source
from planner.importers.optimum_settings import CONFIGS, devices, other_values, part, settings, size_of
from planner.importers.rows import Provenance, Row, content_identity, numbers, parse_json, read_bytes, short
from planner.importers.values import distribution, json_beside
from planner.space.types import StudyError, Value

__all__ = ["OptimumBenchmark"]

_WHOLE: Final = "benchmark.json"
_REPORT: Final = "benchmark_report.json"
_MEASURED: Final = frozenset({"memory", "latency", "throughput", "energy", "efficiency"})
_TOKEN_RATES: Final = frozenset({"output_throughput", "total_token_throughput"})
_TRIED: Final = 20


class OptimumBenchmark:
    """A result, or a folder with any number of them."""

    def recognises(self, source: Source) -> bool:
        """Whether the source is a result, or holds one."""
        if source.is_folder:
            return any(_is_ours(json_beside(file)) for file in islice(_files(source.path), _TRIED))
        return _is_ours(source.json)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each result. Raises StudyError."""
        if not path.is_dir():
            return [_row(path, name, known)]
        files = [file for file in _files(path) if _is_ours(json_beside(file))]
        if not files:
            raise StudyError(f"{name}: holds no {_WHOLE} or {_REPORT} of Optimum-Benchmark; name its output folder")
        return [_row(file, f"{name}/{file.relative_to(path)}", known) for file in files]


def _files(path: Path) -> Iterator[Path]:
    """The whole results, and reports that have none beside them."""
    yield from sorted(path.rglob(_WHOLE))
    yield from (file for file in sorted(path.rglob(_REPORT)) if not file.with_name(_WHOLE).is_file())


def _is_ours(data: Any) -> bool:
    return _is_report(data) or (isinstance(data, dict) and isinstance(data.get("config"), dict)
                                and _is_report(data.get("report")))


def _is_report(data: Any) -> bool:
    return isinstance(data, dict) and bool(data) and all(
        isinstance(target, dict) and target.keys() == _MEASURED for target in data.values())


@dataclass(frozen=True, slots=True)
class _Shape:
    """A batch: sizes that are not known are None. processes: each has its own values."""

    batch: int | None
    inputs: int | None
    outputs: int | None
    processes: int


def _row(path: Path, name: str, known: Mapping[str, Value]) -> Row:
    data, digest = read_bytes(path)
    record = parse_json(data, name)
    if not _is_ours(record):
        raise StudyError(f"{name}: is not a {_WHOLE} or {_REPORT} of Optimum-Benchmark; name such a file")
    report, config = (record, _config_beside(path)) if _is_report(record) else (record["report"], record["config"])
    environment = part(config, "environment")
    version = str(environment.get("optimum_benchmark_version") or "")[:40]
    provenance = Provenance(name, digest, "optimum-benchmark", "result", version, content_identity(report))
    notes = ["warm-ups, and runs to measure memory or energy, are not in the file"]
    fields = settings(config, report, notes)
    others = {key: value for key, value in other_values(config, report).items() if key not in fields}
    batch, inputs, outputs = (size_of(fields.get(key, known.get(key)))
                              for key in ("batch_size", "input_len", "output_len"))
    shape = _Shape(batch, inputs, outputs, size_of(fields.get("nproc_per_node")) or 1)
    metrics, seconds = _measured(report, shape, provenance.where, notes)
    if "num_return_sequences" in fields:
        notes.append("each request has several answers: no output_throughput or total_token_throughput")
        metrics = {key: values for key, values in metrics.items() if key not in _TOKEN_RATES}
    return Row(fields, metrics, seconds, provenance, start_s=_total(report, ("load_model", "load")), others=others,
               accelerators=devices(config, notes), notes=tuple(notes))


def _config_beside(path: Path) -> Mapping[str, Any]:
    """The settings beside a report; empty if there are none. A file of another name may be a copy from elsewhere."""
    found = [json_beside(path.with_name(name)) for name in CONFIGS] if path.name == _REPORT else []
    return next((config for config in found if isinstance(config, dict)), {})


# ------------------------------------------------------------------------------------------------------------ metrics


def _measured(report: Mapping[str, Any], shape: _Shape, where: str,
              notes: list[str]) -> tuple[dict[str, tuple[float, ...]], float]:
    """The metrics, and the seconds of the runs that gave them."""
    if shape.processes > 1 and "per_token" not in report:
        raise StudyError(f"{where}: what {shape.processes} processes measured apart cannot be put together; leave the "
                         "file out")
    prefill, decode, whole = (_values(report, target, where) for target in ("prefill", "decode", "generate"))
    if prefill and decode:
        apart = "per_token" not in report
        if not apart and len(prefill) != len(decode):
            raise StudyError(f"{where}: prefill has {len(prefill)} values and decode {len(decode)}; is the file whole?")
        if apart:
            mean = statistics.fmean(prefill)
            whole = whole or tuple(mean + value for value in decode)
        else:
            prefill, decode, whole = _slowest(prefill, decode, shape.processes, where)
        seconds = sum(whole) + (sum(prefill) if apart else 0.0) + _total(report, ("first_generate",))
        metrics = {"batch_ttft_ms": _ms(prefill), **_whole(whole, shape, notes)}
        if shape.outputs and shape.outputs > 1:
            metrics["tpot_ms"] = _ms([value / (shape.outputs - 1) for value in decode])
        return _possible(metrics | _gaps(report, shape, len(prefill), where, notes), where, notes), seconds
    forward = _values(report, "forward", where)
    if not forward:
        raise StudyError(f"{where}: has no latency of generation or of a forward pass; run it with latency: true")
    single = _Shape(shape.batch, shape.inputs, None, 1)
    seconds = sum(forward) + _total(report, ("first_forward",))
    return _possible(_whole(forward, single, notes), where, notes), seconds


def _values(report: Mapping[str, Any], target: str, where: str) -> tuple[float, ...]:
    """Seconds of each repeat; empty if the report has none."""
    latency = part(report, target).get("latency")
    if latency is None:
        return ()
    if not isinstance(latency, dict) or latency.get("unit") != "s":
        raise StudyError(f"{where}: {target}.latency is {short(latency)}, not a latency in seconds; is the file whole?")
    return numbers(latency.get("values"), where, f"{target}.latency.values")


def _total(report: Mapping[str, Any], targets: Sequence[str]) -> float:
    """Seconds of the targets that are there and make sense."""
    seconds = 0.0
    for target in targets:
        try:
            seconds += sum(_values(report, target, ""))
        except StudyError:
            continue
    return seconds


def _slowest(prefill: tuple[float, ...], decode: tuple[float, ...], processes: int,
             where: str) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Prefill, decode and both: of the slowest process in each run. Values come process by process."""
    if len(prefill) % processes:
        raise StudyError(f"{where}: {len(prefill)} values are not those of {processes} processes; leave the file out")
    first = np.array(prefill).reshape(processes, -1)
    whole = (first + np.array(decode).reshape(processes, -1)).max(axis=0)
    first = first.max(axis=0)
    return tuple(first.tolist()), tuple((whole - first).tolist()), tuple(whole.tolist())


def _whole(whole: Sequence[float], shape: _Shape, notes: list[str]) -> dict[str, tuple[float, ...]]:
    """End to end, and the rates that follow from it."""
    metrics = {"e2el_ms": _ms(whole)}
    if not shape.batch:
        notes.append("no batch size is known: no rates; say it with --set batch_size=N")
        return metrics
    amounts = {"request_throughput": shape.batch}
    if shape.outputs:
        amounts["output_throughput"] = shape.batch * shape.outputs
    if shape.outputs and shape.inputs:
        amounts["total_token_throughput"] = shape.batch * (shape.inputs + shape.outputs)
    return metrics | {name: tuple(amount / value if value else 0.0 for value in whole)
                      for name, amount in amounts.items()}


def _gaps(report: Mapping[str, Any], shape: _Shape, runs: int, where: str,
          notes: list[str]) -> dict[str, tuple[float, ...]]:
    """vLLM's statistics of the gaps between tokens, without those between runs."""
    values, tokens = _values(report, "per_token", where), shape.outputs or 0
    if not values or tokens < 2:
        return {}
    kept: Sequence[float] = ()
    if shape.processes == 1 and len(values) in {runs * (tokens - 1), tokens - 2}:
        kept = values
    elif shape.processes == 1 and len(values) == runs * (tokens - 1) - 1:
        kept = _within(values, tokens - 1)
    elif shape.processes == 1 and len(values) == tokens * runs * (runs + 1) // 2 - runs:
        kept = _within(values[1 - runs * tokens:], tokens)
    if not kept:
        notes.append("per_token holds gaps between runs that cannot be told from the others: no itl")
        return {}
    return distribution("itl", _ms(kept))


def _within(values: Sequence[float], events: int) -> list[float]:
    """The gaps in runs of that many times each, out of one long row."""
    return [value for i, value in enumerate(values, 1) if i % events]


def _ms(seconds: Sequence[float]) -> tuple[float, ...]:
    return tuple(1000 * value for value in seconds)


def _possible(metrics: Mapping[str, tuple[float, ...]], where: str, notes: list[str]) -> dict[str, tuple[float, ...]]:
    """The metrics of which each value is above 0 and finite. Raises StudyError if there is none."""
    kept = {name: values for name, values in metrics.items()
            if all(0 < value < np.inf for value in values) or name == "std_itl_ms"}
    if not kept:
        raise StudyError(f"{where}: every latency is 0; leave the file out")
    notes.extend(f"{name} is 0 or too large, which is impossible: left out" for name in metrics if name not in kept)
    return kept
