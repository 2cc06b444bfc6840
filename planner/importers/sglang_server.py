"""The settings of an SGLang server, as its /server_info says them and bench_serving copies them into a result line.

The answer is the server's arguments by their own names, with `version`. A router for prefill and decode workers
answers with two lists of such objects. Settings that a user chooses are read under vLLM's names. What the server
computes itself where it is not set (the share of memory, the largest CUDA graph) follows from other settings, and is no
setting here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from planner.importers.values import plain, whole_number
from planner.space.types import Value

__all__ = ["ServerSettings", "server_settings"]

_PARALLEL: Final = {"tp_size": "tensor_parallel_size", "pp_size": "pipeline_parallel_size",
                    "dp_size": "data_parallel_size", "ep_size": "expert_parallel_size",
                    "enable_dp_attention": "enable_dp_attention"}
_SETTINGS: Final = {
    "model_path": "model", **_PARALLEL, "dtype": "dtype", "quantization": "quantization",
    "kv_cache_dtype": "kv_cache_dtype", "context_length": "max_model_len", "max_running_requests": "max_num_seqs",
    "load_format": "load_format", "device": "device", **{name: name for name in (
        "chunked_prefill_size", "attention_backend", "schedule_policy", "disable_radix_cache", "disable_cuda_graph",
        "enable_mixed_chunk", "enable_torch_compile", "moe_a2a_backend", "moe_runner_backend", "nnodes",
        "num_continuous_decode_steps", "speculative_algorithm", "speculative_num_steps", "speculative_eagle_topk",
        "speculative_num_draft_tokens", "stream_interval")}}
_COMPUTED: Final = ("mem_fraction_static", "cuda_graph_max_bs", "page_size", "max_prefill_tokens",
                    "max_total_num_tokens", "served_model_name")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What a line says of the server. itl_per_chunk: whether a chunk may be taken to hold one token."""

    fields: Mapping[str, Value] = field(default_factory=dict)
    others: Mapping[str, Value] = field(default_factory=dict)
    accelerators: float | None = None
    version: str = ""
    itl_per_chunk: bool = True


def server_settings(info: Any, notes: list[str]) -> ServerSettings:
    """The settings in `server_info`; none if the line has none. What is not read is said in `notes`."""
    if not isinstance(info, dict):
        return ServerSettings()
    roles = {role: workers for role in ("prefill", "decode") if (workers := _workers(info.get(role)))}
    if roles:
        return _separated(roles, notes)
    fields = _named(info, _SETTINGS)
    chunks = _one_token_a_chunk(info, notes)
    return ServerSettings(fields, _named(info, {name: name for name in _COMPUTED}), _devices(info),
                          str(info.get("version", "")), chunks)


def _named(info: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Value]:
    return {ours: value for theirs, ours in names.items() if (value := plain(info.get(theirs))) is not None}


def _workers(listed: Any) -> list[Mapping[str, Any]]:
    return [worker for worker in listed if isinstance(worker, dict)] if isinstance(listed, list) else []


def _separated(roles: Mapping[str, list[Mapping[str, Any]]], notes: list[str]) -> ServerSettings:
    """Prefill and decode workers: each has its parallel sizes; the other settings are those of the decode workers."""
    first = {role: workers[0] for role, workers in roles.items()}
    main = first.get("decode", first.get("prefill", {}))
    fields = {name: value for name, value in _named(main, _SETTINGS).items() if name not in _PARALLEL.values()}
    for role, workers in roles.items():
        fields[f"{role}_num_workers"] = len(workers)
        fields |= {f"{role}_{name}": value for name, value in _named(first[role], _PARALLEL).items()}
    counted = [_devices(worker) for workers in roles.values() for worker in workers]
    known = [count for count in counted if count is not None]
    return ServerSettings(fields, {}, sum(known) if len(known) == len(counted) and len(roles) == 2 else None,
                          str(main.get("version", "")), _one_token_a_chunk(main, notes))


def _devices(info: Mapping[str, Any]) -> float | None:
    """GPUs of one server: data-parallel replicas have their own, ranks of data-parallel attention share them."""
    names = ("tp_size", "pp_size") if info.get("enable_dp_attention") is True else ("tp_size", "pp_size", "dp_size")
    if "tp_size" not in info:
        return None
    sizes = [whole_number(info.get(name, 1)) for name in names]
    return None if None in sizes else math.prod(float(size) for size in sizes if size)


def _one_token_a_chunk(info: Mapping[str, Any], notes: list[str]) -> bool:
    interval, drafts = info.get("stream_interval"), info.get("speculative_algorithm")
    if drafts or (isinstance(interval, int) and interval > 1):
        notes.append("itl is left out: a chunk may hold several tokens, and SGLang divides its gap among them")
        return False
    return True
