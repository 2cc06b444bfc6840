"""The aggregated results of InferenceX, formerly InferenceMAX: agg_*.json of August 2025 to August 2026.

A file holds one result (utils/process_result.py), or the list that utils/collect_results.py makes of a sweep. A result
is made of a file of vLLM's benchmark: each latency divided by 1000 (seconds, without a unit in the name), each rate by
a number of GPUs. We multiply both again. The number of GPUs by which a rate was divided:

  tput_per_gpu         all of them: tp × pp × pcp_size; with several nodes num_prefill_gpu + num_decode_gpu;
                       before December 2025 `tp`, which is the number of all GPUs where prefill is separated
  output_tput_per_gpu  the same, but num_decode_gpu where decoding has GPUs of its own
  input_tput_per_gpu   the same, but num_prefill_gpu

The three must agree: input and output make the total. Where they do not (some results of November 2025 do not say that
prefill and decoding were separated), the rates are left out. Data-parallel attention and expert parallelism use the
GPUs of tensor parallelism. `intvty` is 1000 / tpot_ms, and is left alone.

isl and osl are the nominal lengths of a scenario: requests have 0.8 of them to all of them. They are read as input_len
and output_len, and a note says so. Results do not say how long the benchmark took, nor how many requests it made.
Results of agents (scenario_type agentic-coding) have conversations in place of lengths, and are not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from planner.importers.importer import Source, file_of
from planner.importers.rows import Provenance, Row, content_identity, parse_json, read_bytes, short, usable
from planner.importers.values import plain, plain_values, whole_number
from planner.space.types import StudyError, Value

__all__ = ["InferenceX"]

_NEEDED: Final = frozenset({"hw", "conc", "model", "tput_per_gpu"})
_AGENTS: Final = frozenset({"hw", "conc", "model", "scenario_type"})
_STATISTIC: Final = re.compile(r"(mean|median|std|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)")
_FIELDS: Final = {
    "conc": "max_concurrency", "isl": "input_len", "osl": "output_len", "pp": "pipeline_parallel_size",
    "dcp_size": "decode_context_parallel_size", "pcp_size": "prefill_context_parallel_size",
    "ep": "expert_parallel_size", **{name: name for name in (
        "hw", "image", "model", "framework", "precision", "spec_decoding", "mtp", "disagg", "dp_attention",
        "kv_p2p_transfer", "num_prefill_gpu", "num_decode_gpu", *(f"{role}_{name}" for role in ("prefill", "decode") for
        name in ("hw", "tp", "pp", "dcp_size", "pcp_size", "ep", "dp_attention", "num_workers")))}}
_AGREE: Final = 1e-3
_NOTES: Final = ("duration, warm-ups and server start are not in the file; the cost counts as 0",)
_NOMINAL: Final = "input_len and output_len are nominal: InferenceX draws lengths from 0.8 of them to all of them"


@dataclass(frozen=True, slots=True)
class _Gpus:
    """The numbers of GPUs by which the rates of a result were divided."""

    total: float
    output: float
    input: float


class InferenceX:
    """One aggregated result, or the list of a sweep."""

    def recognises(self, source: Source) -> bool:
        """Whether the first result is an aggregated one."""
        data = source.json
        first = data[0] if isinstance(data, list) and data else data
        return _is_result(first) or _is_agents(first)

    def read(self, path: Path, name: str, known: Mapping[str, Value], renames: Mapping[str, str]) -> list[Row]:
        """A row for each result. Raises StudyError."""
        path, name = file_of(path, name, "inferencex")
        data, digest = read_bytes(path)
        value = parse_json(data, name)
        records = value if isinstance(value, list) else [value]
        if not records:
            raise StudyError(f"{name}: holds no result; name an agg_*.json of InferenceX")
        agents = any(map(_is_agents, records))
        rows = [_row(record, Provenance(name, digest, "inferencex", f"result {i + 1}"), agents)
                for i, record in enumerate(records) if not _is_agents(record)]
        if not rows:
            raise StudyError(f"{name}: holds only results of agents (agentic-coding), whose conversations are no point "
                             "of a grid; name another agg_*.json of InferenceX")
        return rows


def _is_result(record: Any) -> bool:
    return isinstance(record, dict) and record.keys() >= _NEEDED


def _is_agents(record: Any) -> bool:
    return isinstance(record, dict) and record.keys() >= _AGENTS and not record.keys() >= _NEEDED


def _row(record: Any, place: Provenance, agents: bool) -> Row:
    if not _is_result(record):
        raise StudyError(f"{place.where}: is not an aggregated result of InferenceX (hw, conc, model, tput_per_gpu); "
                         "leave it out")
    place = Provenance(place.file, place.sha256, place.format, place.row, identity=content_identity(record))
    notes = [*_NOTES, *(["results of agents (agentic-coding) are left out"] if agents else [])]
    gpus = _gpus(record)
    fields = _fields(record)
    if "input_len" in fields or "output_len" in fields:
        notes.append(_NOMINAL)
    metrics = _latencies(record, notes) | _rates(record, gpus, notes)
    if not metrics:
        raise StudyError(f"{place.where}: holds no figure that can be used ({'; '.join(notes)}); leave it out")
    used = {*_FIELDS, "tp", *(key for key in record if _STATISTIC.fullmatch(key))}
    return Row(fields, metrics, 0.0, place, accelerators=gpus.total if gpus else None, notes=tuple(notes),
               others=plain_values(record, used))


def _fields(record: Mapping[str, Any]) -> dict[str, Value]:
    fields = {ours: value for theirs, ours in _FIELDS.items() if (value := plain(record.get(theirs))) is not None}
    # Where prefill is separated, an older result has the number of all GPUs as tp.
    if "num_prefill_gpu" not in record and (size := plain(record.get("tp"))) is not None:
        fields["tensor_parallel_size"] = size
    router = record.get("router")
    if isinstance(router, dict):
        fields |= {f"router_{name}": text for name in ("name", "version")
                   if (text := plain(router.get(name))) is not None}
    return fields


def _gpus(record: Mapping[str, Any]) -> _Gpus | None:
    """None if the result does not say how many GPUs it ran on."""
    prefill, decode = (whole_number(record.get(f"num_{role}_gpu"), 0) for role in ("prefill", "decode"))
    if prefill is None or decode is None:
        sizes = [whole_number(record.get("tp")), *(whole_number(record.get(key, 1)) for key in ("pp", "pcp_size"))]
        if any(not size for size in sizes):
            return None
        total = math.prod(float(size) for size in sizes if size)
        return _Gpus(total, total, total)
    total = float(prefill + decode)
    if "is_multinode" not in record and (stated := whole_number(record.get("tp"))):
        total = float(stated)
    return _Gpus(total, float(decode or total), float(prefill)) if total else None


def _rates(record: Mapping[str, Any], gpus: _Gpus | None, notes: list[str]) -> dict[str, tuple[float, ...]]:
    """The rates of all GPUs together."""
    each = {name: usable(record.get(name), name, notes)
            for name in ("tput_per_gpu", "output_tput_per_gpu", "input_tput_per_gpu")}
    total, output, prompt = each.values()
    if gpus is None:
        notes.append(f"tp is {short(record.get('tp'))}, so how many GPUs is not known: rates per GPU are left alone")
        return {}
    whole = total * gpus.total if total else None
    out = output * gpus.output if output else None
    if whole and out and (out > whole or (prompt and abs(out + prompt * gpus.input - whole) > _AGREE * whole)):
        notes.append("input_tput_per_gpu and output_tput_per_gpu do not make tput_per_gpu: prefill had GPUs of its "
                     "own, how many is not in the file, and rates are left out")
        return {}
    found = {"total_token_throughput": whole, "output_throughput": out}
    return {name: (value,) for name, value in found.items() if value and math.isfinite(value)}


def _latencies(record: Mapping[str, Any], notes: list[str]) -> dict[str, tuple[float, ...]]:
    outputs = record.get("osl")
    whole = record.get("mean_itl") == 0 and isinstance(outputs, int) and outputs > 1
    if whole:
        notes.append("answers were not streamed: ttft, tpot and itl are left out")
    metrics: dict[str, tuple[float, ...]] = {}
    for key, given in record.items():
        found = _STATISTIC.fullmatch(key)
        if not found or (whole and found[2] != "e2el"):
            continue
        value = usable(given, key, notes)
        if value is not None and math.isfinite(1000 * value):
            metrics[f"{key}_ms"] = (1000 * value,)
            if found[1] == "median":
                metrics[f"{found[2]}_ms"] = (1000 * value,)
    return metrics
