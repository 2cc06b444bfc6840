"""Validation of data against a pydantic model, and strict YAML: any error becomes one line with its key."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.space.expressions import suggestion
from planner.space.types import StudyError

__all__ = ["Number", "StrictModel", "Whole", "load_yaml", "validate_model"]

M = TypeVar("M", bound=BaseModel)
Whole = Annotated[int, Field(strict=True)]
"""A whole number; true is refused."""
Number = Annotated[float, Field(strict=True)]
"""A number; true and '3' are refused."""

_STUMBLES = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
"""What PyYAML's constructors of explicit types (`!!int ''`) raise."""


class StrictModel(BaseModel):
    """A section of a study file: unknown keys are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def load_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping in `text`. Raises StudyError that starts with `source` and, if known, the line."""
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, RecursionError, *_STUMBLES) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not YAML"
        raise StudyError(f"{source}{where}: {_shortly(str(problem))}; correct the YAML there") from error
    if not isinstance(data, dict):
        raise StudyError(f"{source}: holds no keys; start from `sweepwise init`")
    return data


def validate_model(model: type[M], data: Any, prefix: str) -> M:
    """`data` as an instance of `model`. Raises StudyError, one line on the first error, keys under `prefix`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise StudyError(_message(error, model, data, prefix)) from error
    except RecursionError as error:
        raise StudyError(f"{prefix or 'study file'}: is nested too deeply; write it flat") from error


def _message(error: ValidationError, model: type[BaseModel], data: Any, prefix: str) -> str:
    # The deepest error inside a union is the most specific; an unknown key is more specific still.
    first = min(error.errors(), key=lambda e: (
        e["type"] != "extra_forbidden", e["type"] == "string_type" and isinstance(e["input"], dict),
        -len(_keys(e["loc"], data))))
    names = [str(part) for part in _keys(first["loc"], data)]
    if first["type"] == "missing":
        names.append(str(first["loc"][-1]))
    key = ".".join([prefix, *names] if prefix else names) or "study file"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, StudyError):
        return str(cause)
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key{suggestion(names[-1], _known_keys(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{key}: is missing; add it"
    given = f" (not {_shortly(repr(first['input']))})" if not isinstance(first["input"], dict | BaseModel) else ""
    return f"{key}: {_shortly(first['msg'].removeprefix('Value error, '))}{given}"


def _keys(location: tuple[int | str, ...], data: Any) -> list[int | str]:
    """The keys of pydantic's location that are in the data: the location also names members of unions."""
    keys: list[int | str] = []
    for part in location:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            continue
        keys.append(part)
    return keys


def _known_keys(model: Any, location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
            model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return list(getattr(model, "model_fields", {}))


def _shortly(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "..."


class _UniqueKeys(yaml.SafeLoader):
    """YAML, but a repeated key is an error instead of a silent loss."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue
            if key_node.value in seen:
                problem = f"the key '{key_node.value}' stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return node
