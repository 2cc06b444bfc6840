"""The configuration of Optimum-Benchmark's results: benchmark_config.json, or "config" in benchmark.json.

backend                 of the engine; vLLM's own arguments are in its engine_args
scenario                of the workload; called benchmark in experiment_config.json
launcher, environment   how and where it ran
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from planner.importers.values import flattened, settings_of
from planner.space.types import Value

__all__ = ["CONFIGS", "devices", "other_values", "part", "settings", "size_of"]

CONFIGS: Final = ("benchmark_config.json", "experiment_config.json")
"""Names of the file beside a report."""
_BACKEND: Final = {"name": "backend", "torch_dtype": "dtype", "tp": "tensor_parallel_size",
                   "pp": "pipeline_parallel_size"}
_ENGINE: Final = "engine_args_"
# Of the backend's configuration: what follows from the model, and where or when it ran.
_ASIDE: Final = frozenset({"version", "_target_", "processor", "task", "library", "model_type", "device_ids", "seed",
                           "processor_kwargs", "hub_kwargs", "token", "cache_dir", "volumes", "environment"})
_DEFAULTS: Final[Mapping[str, Value]] = {"num_return_sequences": 1, "num_beams": 1, "do_sample": False,
                                         "use_cache": True, "temperature": 1.0}
_DEFAULT_TOKENS: Final = 100


def part(data: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The object under the first of the keys; empty if there is none."""
    return next((data[key] for key in keys if isinstance(data.get(key), dict)), {})


def size_of(value: Any) -> int | None:
    """A count from 1, also as text; else None."""
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if 1 <= number < 2**53 and number == int(number) else None


def settings(config: Mapping[str, Any], report: Mapping[str, Any], notes: list[str]) -> dict[str, Value]:
    """A switch that is off is left out, so that results of versions without it can be compared."""
    if not config:
        notes.append(f"no {CONFIGS[0]} is beside the report: no settings; name benchmark.json, or say them with --set")
        return {}
    fields = {key: value for key, value in settings_of(_backend(config, _ASIDE)).items() if value is not False}
    scenario, launcher = part(config, "scenario", "benchmark"), part(config, "launcher")
    shapes, asked = (settings_of(flattened(part(scenario, key))) for key in ("input_shapes", "generate_kwargs"))
    for theirs, ours in (("batch_size", "batch_size"), ("sequence_length", "input_len")):
        if theirs in shapes:
            fields[ours] = shapes[theirs]
    fields |= {key: value for key, value in asked.items()
               if key not in {"max_new_tokens", "min_new_tokens"} and _DEFAULTS.get(key) != value}
    if "decode" in report:
        fields["output_len"] = asked.get("max_new_tokens", _DEFAULT_TOKENS)
        if "max_new_tokens" not in asked:
            notes.append(f"max_new_tokens is not set: Optimum-Benchmark's default, {_DEFAULT_TOKENS}")
    if launcher.get("name") == "torchrun" and size_of(launcher.get("nproc_per_node")):
        fields["nproc_per_node"] = launcher["nproc_per_node"]
    return fields


def _backend(config: Mapping[str, Any], aside: frozenset[str]) -> dict[str, Value]:
    """The backend's configuration in vLLM's names."""
    found = flattened(part(config, "backend"), aside=aside)
    return {_BACKEND.get(key, key.removeprefix(_ENGINE)): value for key, value in found.items()}


def other_values(config: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Value]:
    """Memory, energy, the machine and whatever else has a single value."""
    found = flattened(report, aside=("values",))
    found |= flattened(part(config, "environment"), "environment")
    names = part(config, "environment").get("gpu")
    if isinstance(names, list) and names and all(name == names[0] and isinstance(name, str) for name in names):
        found["gpu"] = names[0]
    found |= flattened(part(config, "launcher"), "launcher")
    found |= flattened(part(config, "scenario", "benchmark"), aside=("_target_", "name"))
    return found | _backend(config, frozenset({"token", "environment"}))


def devices(config: Mapping[str, Any], notes: list[str]) -> float | None:
    """The number of GPUs that the model was on, where the configuration settles it."""
    backend = part(config, "backend")
    ids = backend.get("device_ids")
    if backend.get("device") != "cuda" or not isinstance(ids, str | int) or isinstance(ids, bool):
        return None
    count = len([device for device in str(ids).split(",") if device.strip()])
    if count > 1 and backend.get("name") == "pytorch":
        spread = backend.get("device_map") or backend.get("tp_plan") or backend.get("deepspeed_inference")
        return float(count) if spread or part(config, "launcher").get("name") == "torchrun" else 1.0
    if count > 1:
        notes.append(f"device_ids names {count} devices, which may not all have been used: not counted")
    return 1.0 if count == 1 else None
