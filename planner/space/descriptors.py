"""Numbers that describe the models and the devices of a study: typed by the user, from a model's config.json, from the
tables of public ones, or from a name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from planner.space.descriptor_tables import device_named, model_named
from planner.space.text import listed
from planner.space.types import Axis, Role, Scale, Value

__all__ = ["Known", "columns_of_axis", "config_numbers", "is_needed", "known_numbers", "numbers_missing",
           "parameters_of_config", "parameters_of_name"]

Known: TypeAlias = Mapping[str, tuple[float | None, ...]]
"""Descriptor → a number for each value of an axis, None where it is not known."""

# "7B", "8x7b", "1.5-b", "560m", and BLOOM's "1b7", which means 1.7 billion.
_NAME = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(\d?)(?![A-Za-z0-9])", re.IGNORECASE)

_TOO_LARGE: Final = 2**40  # for any size of a layer
_CACHE_BYTES: Final = 2  # of a number in the key-value cache, at 16 bits
# Of transformers' classes, each compared with the model that it builds. Output and embedding are one unless the config
# says otherwise; and a layer's second part has two matrices, not three.
_TIED: Final = {"cohere", "cohere2", "ernie4_5", "gemma", "gemma2", "gemma3_text", "smollm3", "starcoder2"}
_TWO_MATRICES: Final = {"apertus", "arcee", "gpt_neox", "persimmon", "phi", "starcoder2"}
_USED: Final = {Role.MODEL: ("params_b", "whole_b", "active_b", "layers", "width", "kv_bytes"),
                Role.DEVICE: ("tflops", "bandwidth_gb_s")}


def known_numbers(axis: Axis, directory: Path) -> Known:
    """What is known, and of use to a latency model, of the values of a category axis of models or devices; nothing of
    any other axis."""
    if axis.scale is not Scale.CATEGORY:
        return {}
    look_up: Callable[[str], Mapping[str, float]]
    if Role.MODEL in axis.roles:
        def look_up(name: str) -> Mapping[str, float]:
            return _model(name, directory)
    elif Role.DEVICE in axis.roles:
        look_up = device_named
    else:
        return {}
    found = [look_up(str(value)) for value in axis.values]
    known = {name: tuple(numbers.get(name) for numbers in found) for name in _used(axis)
             if any(name in numbers for numbers in found)}
    return _one_size(known) if "whole_b" in known else known


def _one_size(known: dict[str, tuple[float | None, ...]]) -> Known:
    """The same with one size of models: `params_b` where every config or name tells it, and else, with the table's
    help, `whole_b`."""
    listed = known.pop("whole_b")
    told = known.get("params_b", (None,) * len(listed))
    either = tuple(size or other for size, other in zip(told, listed, strict=True))
    if None in told:
        known.pop("params_b", None)
        known["params_b" if None in either else "whole_b"] = either
    return known


def numbers_missing(axis: Axis, known: Known) -> str:
    """One line that says which values of an axis lack numbers that others have, and what to type; else empty."""
    missing = {name: [value for value, number in zip(axis.values, known[name], strict=True) if number is None]
               for name in known if name not in axis.descriptors}
    if not missing:
        return ""
    values: list[Value] = list(dict.fromkeys(value for each in missing.values() for value in each))
    first = next(iter(missing))
    return (f"space.axes.{axis.name}: {', '.join(missing)} not known for {listed(values, 4)}, "
            f"so used for none; type the data sheet: descriptors: {{{first}: "
            f"{{{missing[first][0]}: …}}}}")


def columns_of_axis(axis: Axis) -> Mapping[str, tuple[float, ...]]:
    """The descriptors of an axis that surrogates see as numbers: the size of a model, and what the latency model does
    not use; none of devices, which are few: what three show of a number is carried to the next without limit."""
    if Role.DEVICE in axis.roles:
        return {}
    return {name: numbers for name, numbers in axis.descriptors.items()
            if name == "params_b" or not any(name in used for used in _USED.values())}


def is_needed(axis: Axis, name: str) -> bool:
    """Whether a value that is new on the axis must have this number; others are left out for all values, if need be."""
    return name in columns_of_axis(axis) or name in _USED[Role.DEVICE]


def _used(axis: Axis) -> dict[str, None]:
    return dict.fromkeys(name for role in axis.roles for name in _USED.get(role, ()))


def parameters_of_name(name: str) -> float | None:
    """Billions of parameters according to a model's name; None if the name does not say."""
    found = _NAME.findall(name.rsplit("/", maxsplit=1)[-1].replace("_", "-"))
    if not found:
        return None
    experts, number, unit, tenths = found[-1]
    size = float(number) + (float(tenths) / 10 if tenths else 0.0)
    return size * int(experts or 1) * (1.0 if unit.lower() == "b" else 1e-3)


def parameters_of_config(config: dict[str, Any]) -> float | None:
    """Billions of parameters of a decoder-only transformer, from a Hugging Face config; None if keys are missing."""
    return config_numbers(config).get("params_b")


def config_numbers(config: dict[str, Any]) -> Mapping[str, float]:
    """What a Hugging Face config says of a decoder-only transformer; nothing if keys are missing or make no sense."""
    try:
        kind = str(config.get("model_type"))
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        vocabulary = int(config["vocab_size"])
        inner = int(config.get("moe_intermediate_size") or config["intermediate_size"])
        experts = int(config.get("num_experts") or config.get("num_local_experts")
                      or config.get("n_routed_experts") or 1)
        used = int(config.get("num_experts_per_tok") or experts)
        shared = int(config.get("n_shared_experts") or 0)
        before = int(config.get("first_k_dense_replace") or 0)  # layers without experts
        wide = int(config["intermediate_size"]) if before else 0
        attention, cached = _attention(config, hidden)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return {}
    sizes = (hidden, layers, inner, vocabulary, experts, used, attention, cached, shared + 1, before + 1, wide + 1)
    if not all(0 < size < _TOO_LARGE for size in sizes) or before > layers:
        return {}
    matrices = 2 if kind in _TWO_MATRICES else 3
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings", kind in _TIED) else 2)
    router = experts if experts > 1 else 0
    common = layers * attention + before * matrices * hidden * wide + embeddings
    whole, active = ((common + (layers - before) * hidden * (router + matrices * inner * (count + shared))) / 1e9
                     for count in (experts, min(used, experts)))
    return {"params_b": whole, "active_b": active, "layers": float(layers), "width": float(hidden),
            "kv_bytes": float(layers * cached * _CACHE_BYTES), "experts": float(experts)}


def _attention(config: dict[str, Any], hidden: int) -> tuple[int, int]:
    """Weights of one layer's attention, and how many numbers of a token it caches: keys and values, or what both are
    made from (multi-head latent attention). Raises as `int` and a missing key do."""
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or hidden // heads)
    kv_heads = int(config.get("num_key_value_heads") or heads)
    if min(heads, head, kv_heads) <= 0:
        raise ValueError
    rank = int(config.get("kv_lora_rank") or 0)
    if not rank:
        return 2 * hidden * head * (heads + kv_heads), 2 * kv_heads * head
    rotary, query_rank = int(config["qk_rope_head_dim"]), int(config.get("q_lora_rank") or 0)
    plain, value = (int(config.get(name) or head) for name in ("qk_nope_head_dim", "v_head_dim"))
    query = heads * (plain + rotary) * (query_rank or hidden) + hidden * query_rank
    return query + hidden * (rank + rotary) + heads * (rank * (plain + value) + value * hidden), rank + rotary


def _model(name: str, directory: Path) -> Mapping[str, float]:
    file = directory / name / "config.json"
    try:
        found = config_numbers(json.loads(file.read_text())) if file.is_file() else {}
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        found = {}
    if found:
        return found
    size = parameters_of_name(name)
    listed = dict(model_named(name))
    # A size that only the table knows serves the latency model. As a column for the surrogates it made a study of 20
    # models 1 to 2 points worse (A100; results.md).
    if "params_b" in listed:
        listed["whole_b"] = listed.pop("params_b")
    return {**listed, **({"params_b": size} if size else {})}
