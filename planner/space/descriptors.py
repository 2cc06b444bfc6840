"""Numbers that describe a model: from its config.json, or else from its name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from planner.space.types import Axis, Role, Scale, Value

__all__ = ["describe_models", "parameters_of_config", "parameters_of_name"]

# "7B", "8x7b", "1.5-b", "560m", and BLOOM's "1b7", which means 1.7 billion.
_NAME = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(\d?)(?![A-Za-z0-9])", re.IGNORECASE)

_TOO_LARGE: Final = 2**40  # for any size of a layer


def describe_models(axis: Axis, directory: Path) -> Axis:
    """The model axis with `params_b` (billions of parameters) if it is known for every value; else the same axis."""
    if Role.MODEL not in axis.roles or axis.scale is not Scale.CATEGORY or axis.descriptors:
        return axis
    sizes = [_size(value, directory) for value in axis.values]
    known = tuple(size for size in sizes if size)
    if len(known) < len(sizes):
        return axis
    return Axis(axis.name, axis.values, axis.scope, axis.scale, axis.roles, {"params_b": known})


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
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads = int(config["num_attention_heads"])
        inner = int(config.get("moe_intermediate_size") or config["intermediate_size"])
        vocabulary = int(config["vocab_size"])
        head = int(config.get("head_dim") or hidden // heads)
        kv_heads = int(config.get("num_key_value_heads") or heads)
        experts = int(config.get("num_experts") or config.get("num_local_experts") or 1)
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not all(0 < size < _TOO_LARGE for size in (hidden, layers, heads, inner, vocabulary, head, kv_heads, experts)):
        return None
    attention = hidden * head * (2 * heads + 2 * kv_heads)
    embeddings = vocabulary * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return (layers * (attention + 3 * hidden * inner * experts) + embeddings) / 1e9


def _size(value: Value, directory: Path) -> float | None:
    file = directory / str(value) / "config.json"
    try:
        size = parameters_of_config(json.loads(file.read_text())) if file.is_file() else None
    except (OSError, ValueError, RecursionError):
        size = None
    return size or parameters_of_name(str(value))
