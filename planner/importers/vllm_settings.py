"""What is a setting in a flat result of vLLM's benchmark.

A result has the benchmark's own keys, what the user attached by --metadata KEY=VALUE (text) and the parameters of a
sweep, all on one level. A setting is

- an argument of vLLM's engine, server or benchmark, also of an inner configuration (`compilation_config.mode`)
- a parameter of a sweep, whatever its name: a sweep writes them behind `run_number`
- any other text or truth value, since only users add these; but no identifier, such as a date or a run's number

Everything else has no meaning here: a number under an unknown name may be anything. So has a setting at the value that
a file means without saying it: bursts of 1 (a Poisson process), one sequence for a prompt, a client that sends plain
completions. Files of versions that do not write these are the same as files that do.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from planner.importers.rows import positive_count
from planner.importers.vllm_arguments import ARGUMENTS, ASIDE
from planner.space.types import StudyError, Value

__all__ = ["accelerators", "plain", "split", "unknown", "whole"]

_IDENTIFIER: Final = re.compile(
    r"((\w+_)?(date|time|datetime|timestamp|uuid|host|hostname|url|comment|notes?)"
    r"|((slurm_)?(run|job|request|experiment|exp|session|trace|build|task|wandb|mlflow)_?)?id"
    r"|run|trial|repeat|repetition|iteration|attempt)", re.IGNORECASE)
_SAID_BY_SILENCE: Final[Mapping[str, frozenset[Value]]] = {
    "backend": frozenset({"vllm", "openai"}), "burstiness": frozenset({1, "1", "1.0"}), "best_of": frozenset({1}),
    "use_beam_search": frozenset({False}), "version": frozenset({"N/A"}),
}
_OTHER_NAMES: Final = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size", "dp": "data_parallel_size",
                       "multi_turn_concurrency": "max_concurrency"}
"""Short names that `vllm bench sweep plot_pareto` reads (vllm/benchmarks/sweep/plot_pareto.py), and the Rust client's
name for its limit."""
_DEVICES: Final = ("num_gpus", "gpu_count", "num-gpus", "gpu-count")
_PREFIX: Final = "random_prefix_len"
_REPETITION: Final = ("prefix_repetition_prefix_len", "prefix_repetition_suffix_len")
_LENGTHS: Final = {
    "input_len": ("random_input_len", "sonnet_input_len"),
    "output_len": ("random_output_len", "sonnet_output_len", "sharegpt_output_len", "custom_output_len",
                   "hf_output_len", "prefix_repetition_output_len", "spec_bench_output_len", "speed_bench_output_len")}
_FIGURES: Final = frozenset({
    "total_input_tokens", "total_output_tokens", "total_num_tokens", "max_output_tokens_per_s",
    "max_concurrent_requests", "rtfx", "errors", "avg_latency", "elapsed_time", "total_input", "total_output"})
"""Figures that the benchmark writes and that are no metric of ours."""
_LARGEST: Final = 2**53


def split(record: Mapping[str, Any], parameters: Collection[str], metrics: Collection[str]
          ) -> tuple[dict[str, Value], dict[str, Value]]:
    """Settings, and everything else that is one value. parameters: keys of a sweep's parameters. metrics: keys that
    are read as metrics, and are in neither."""
    fields: dict[str, Value] = {}
    others: dict[str, Value] = {}
    for key, given in record.items():
        name, parameter = key.replace("-", "_"), key in parameters
        value = plain(given, parameter)
        if value is None or key in metrics:
            continue
        setting = _is_setting(name, value, parameter)
        (fields if setting else others).setdefault(name if setting else key, value)
    for short, name in _OTHER_NAMES.items():
        if short in fields or short in others:
            others[short] = size = fields.pop(short) if short in fields else others[short]
            fields.setdefault(name, size)
    if isinstance(model := record.get("model_id"), str) and model:
        fields.setdefault("model", model)
    _add_lengths(fields, others)
    return fields, others


def unknown(others: Collection[str]) -> frozenset[str]:
    """The names among `others` that no version of the benchmark writes."""
    lengths = {name for names in _LENGTHS.values() for name in names} | {_PREFIX, *_REPETITION}
    known = {*ASIDE, *_FIGURES, *_SAID_BY_SILENCE, *_OTHER_NAMES, *_DEVICES, *lengths}
    return frozenset(name for name in others if name.replace("-", "_") not in known)


def plain(value: Any, parameter: bool = False) -> Value | None:
    """One number, text or truth value as it is written; None for anything else. A list or object among a sweep's
    parameters becomes text."""
    if isinstance(value, dict | list) and parameter:
        return json.dumps(value, sort_keys=True)
    if isinstance(value, bool | str | float):
        return value
    return value if isinstance(value, int) and abs(value) < _LARGEST else None


def accelerators(record: Mapping[str, Any], notes: list[str]) -> float | None:
    """The number of devices, if the record has it, under the names that vLLM's plot documents."""
    for key in _DEVICES:
        if (value := record.get(key)) is not None:
            if found := whole(value):
                return float(found)
            notes.append(f"{key} is no number of devices: left out")
    return None


def whole(value: Any) -> int | None:
    """The whole number from 1 that is meant, also by text; None for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 16 and int(value) else None
    try:
        return positive_count(value, "", "")
    except StudyError:
        return None


def _is_setting(name: str, value: Value, parameter: bool) -> bool:
    if name in ASIDE or value in _SAID_BY_SILENCE.get(name, ()):
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if parameter or name.partition(".")[0] in ARGUMENTS:
        return True
    return isinstance(value, bool | str) and not _IDENTIFIER.fullmatch(name)


def _add_lengths(fields: dict[str, Value], others: dict[str, Value]) -> None:
    """input_len and output_len in place of the names that a data set has for them. A prompt of the random data set is
    the prefix and then random_input_len tokens (vllm/benchmarks/datasets)."""
    prefix = whole(fields.get(_PREFIX)) or 0
    start, rest = (whole(fields.get(name)) for name in _REPETITION)
    if start and rest:
        fields.setdefault("input_len", start + rest)
    for length, names in _LENGTHS.items():
        for name in names:
            if size := whole(fields.get(name)):
                others[name] = said = fields.pop(name)
                fields.setdefault(length, size + prefix if prefix and name == "random_input_len" else said)
