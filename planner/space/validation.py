"""Validation of data against a pydantic model, and strict YAML: any error becomes one line with its key."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.space.address import without_passwords
from planner.space.expressions import suggestion
from planner.space.types import StudyError
from planner.space.yaml_text import LARGEST_TEXT, YAML_ERRORS, UniqueKeysLoader

__all__ = ["Number", "StrictModel", "Whole", "load_yaml", "validate_model"]

M = TypeVar("M", bound=BaseModel)
Whole = Annotated[int, Field(strict=True)]
"""A whole number; true is refused."""
Number = Annotated[float, Field(strict=True)]
"""A number; true and '3' are refused."""

class StrictModel(BaseModel):
    """A section of a study file: unknown keys are refused; instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True)


def load_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping in `text`. Raises StudyError that starts with `source` and, if known, the line."""
    if len(text) > LARGEST_TEXT:
        raise StudyError(f"{source}: is longer than {LARGEST_TEXT:,} characters; give a YAML study file")
    try:
        data = yaml.load(text, Loader=UniqueKeysLoader)
    except YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not YAML"
        # Not from the error, which quotes the line.
        raise StudyError(f"{source}{where}: {_shortly(str(problem))}; correct the YAML there") from None
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
    text = without_passwords(" ".join(text.split()))  # before it is cut: a part of an address does not look like one
    return text if len(text) <= 120 else text[:117] + "..."
