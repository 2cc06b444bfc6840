"""The study file as pydantic models: pure validation, no file is opened here but the study file itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from planner.space.expressions import parse, suggestion
from planner.space.types import Axis, Role, Scale, Scope, StudyError, Value

__all__ = ["AxisSpec", "CostLimit", "PriceSpec", "RunnerSpec", "SpaceSpec", "StopSpec", "StudySpec", "read_spec",
           "validate_model"]

_ROLES: Final[dict[str, Role]] = {
    "input_len": Role.INPUT_TOKENS, "random_input_len": Role.INPUT_TOKENS,
    "output_len": Role.OUTPUT_TOKENS, "random_output_len": Role.OUTPUT_TOKENS,
    "batch_size": Role.BATCH, "max_concurrency": Role.CONCURRENCY, "request_rate": Role.RATE,
    "tensor_parallel_size": Role.ACCELERATORS, "tensor_parallel": Role.ACCELERATORS, "n_gpus": Role.ACCELERATORS,
    "model": Role.MODEL,
}
_WHOLE_ROLES: Final = {Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.BATCH, Role.CONCURRENCY, Role.ACCELERATORS}
_MAX_AXIS: Final = 100_000
M = TypeVar("M", bound=BaseModel)

_COST = re.compile(r"^\s*(\$?)\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h|d|%)?\s*$")
_UNITS: Final = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class CostLimit(_Model):
    """A budget: accelerator-seconds, a share of the full grid's cost, or money (through `price`)."""

    kind: Literal["seconds", "share", "money"]
    amount: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read '2h', '90', '5%' or '$20'. Raises ValueError with the mend."""
        match = _COST.match(text)
        if match is None or (match[1] and match[3]):
            raise ValueError("cannot read the cost; write it like '2h', '45m', '90s', '5%' or '$20'")
        amount = float(match[2])
        if not 0 < amount < math.inf:
            raise ValueError("must be above 0")
        if match[1]:
            return cls(kind="money", amount=amount)
        if match[3] == "%":
            return cls(kind="share", amount=amount / 100)
        return cls(kind="seconds", amount=amount * _UNITS[match[3]])


class AxisSpec(_Model):
    """One swept parameter."""

    values: list[bool | int | float | str] | None = None
    """The values to sweep; a replay study may leave them out and takes the table's."""
    range: tuple[int, int] | None = None
    """Every integer from the first to the last."""
    scope: Scope = Scope.WORKLOAD
    """engine: a change restarts the engine. workload: cheap to change."""
    scale: Scale | None = None
    """How the axis is encoded; a category where values are text, else linear."""
    role: Role | list[Role] | None = None
    """What the axis is to the physics; vLLM's own names have theirs without saying so."""
    descriptors: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Numbers that go with the values of a category axis: {params_b: {llama-8b: 8.0}}."""

    @model_validator(mode="after")
    def _values_or_range(self) -> Self:
        if self.values is not None and self.range is not None:
            raise ValueError("give either values or range, not both")
        if self.values is not None and not self.values:
            raise ValueError("values is empty; list at least one")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError(f"range {list(self.range)} is empty; write the smaller number first")
        if self.range is not None and self.range[1] - self.range[0] >= _MAX_AXIS:
            raise ValueError(f"range holds more than {_MAX_AXIS} values; narrow it or list values")
        return self

    def resolve(self, name: str, table_values: list[Value] | None = None) -> Axis:
        """The axis, with `table_values` where the study file gives none. Raises StudyError."""
        key = f"space.axes.{name}"
        values = list(range(self.range[0], self.range[1] + 1)) if self.range else self.values or table_values
        if values is None:
            raise StudyError(f"{key}: has no values; add `values: [...]` or `range: [first, last]`")
        roles = _roles(name, self.role)
        scale = self.scale or (Scale.CATEGORY if _has_text(values) else Scale.LINEAR)
        _check_values(key, values, scale, roles)
        if scale is not Scale.CATEGORY:
            values = sorted(values)
        descriptors = {
            what: tuple(_described(key, what, given, value) for value in values)
            for what, given in self.descriptors.items()
        }
        if descriptors and scale is not Scale.CATEGORY:
            raise StudyError(f"{key}.descriptors: only a category axis takes descriptors; add `scale: category`")
        return Axis(name, tuple(values), self.scope, scale, roles, descriptors)


class SpaceSpec(_Model):
    """The grid: axes, and the conditions that a point must meet to be in it."""

    axes: dict[str, AxisSpec] = Field(min_length=1)
    constraints: list[str] = Field(default_factory=list)
    """Conditions over axis names, such as 'input_len + output_len <= 4096'."""

    @field_validator("axes")
    @classmethod
    def _names(cls, axes: dict[str, AxisSpec]) -> dict[str, AxisSpec]:
        for name in axes:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in {"and", "or", "not", "min", "max"}:
                raise ValueError(f"'{name}' cannot name an axis; use letters, digits and _")
        return axes


class StudySection(_Model):
    """Where the record is kept."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    """The study's name; the study file's own name where absent."""
    storage: str = Field(default="sqlite:///sweepwise.db", pattern=r"^[a-z0-9+]+://")
    """An Optuna RDB address; SQLite by default, relative to the working directory."""


class RunnerSpec(BaseModel):
    """What measures: `kind` names an entry point of the group sweepwise.runners, which checks the other keys."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @property
    def settings(self) -> dict[str, Any]:
        """The runner's own keys."""
        return dict(self.model_extra or {})


class StopSpec(_Model):
    """When to stop: whichever comes first."""

    accuracy: float | None = Field(default=None, gt=0, lt=1)
    """Estimated accuracy over the unmeasured points, for every target."""
    cost: str | float | None = None
    """Accelerator-seconds ('2h', '90s'), a share of the full grid ('5%'), or money ('$20')."""
    trials: int | None = Field(default=None, ge=1)
    """Finished runs, failed ones included."""

    @field_validator("cost")
    @classmethod
    def _cost(cls, cost: str | float | None) -> str | float | None:
        if cost is not None:
            CostLimit.parse(str(cost))
        return cost

    @property
    def cost_limit(self) -> CostLimit | None:
        """The parsed cost."""
        return None if self.cost is None else CostLimit.parse(str(self.cost))


class PriceSpec(_Model):
    """What an accelerator costs."""

    per_accelerator_hour: float = Field(gt=0, allow_inf_nan=False)


class StudySpec(_Model):
    """A whole study file."""

    study: StudySection = Field(default_factory=StudySection)
    space: SpaceSpec
    runner: RunnerSpec
    targets: list[str] = Field(min_length=1)
    """The metrics to predict, in vLLM's names."""
    stop: StopSpec = Field(default_factory=lambda: StopSpec(accuracy=0.95))
    price: PriceSpec | None = None
    slo: list[str] = Field(default_factory=list)
    """Conditions over metrics, such as 'p99_ttft_ms <= 500'."""

    @field_validator("targets")
    @classmethod
    def _targets(cls, targets: list[str]) -> list[str]:
        for name in targets:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise ValueError(f"'{name}' cannot name a metric; use vLLM's names, such as ttft_ms")
            if targets.count(name) > 1:
                raise ValueError(f"'{name}' stands twice; name each target once")
        return targets

    @model_validator(mode="after")
    def _conditions(self) -> Self:
        for i, text in enumerate(self.space.constraints):
            condition = parse(text, self.space.axes, f"space.constraints[{i}]")
            if not condition.names:
                raise StudyError(f"{condition.key}: '{text}' names no axis; name one or delete it")
            if not condition.is_condition:
                raise StudyError(f"{condition.key}: '{text}' is not a condition; compare something, as in 'a <= 8'")
        for i, text in enumerate(self.slo):
            if not re.fullmatch(r"\s*[A-Za-z_]\w*\s*(<=|>=|<|>)\s*[0-9.eE+-]+\s*", text):
                raise StudyError(f"slo[{i}]: cannot read '{text}'; write it like 'p99_ttft_ms <= 500'")
        if self.stop.cost_limit and self.stop.cost_limit.kind == "money" and self.price is None:
            raise StudyError("stop.cost: money needs a price; add `price: {per_accelerator_hour: ...}`")
        return self


def read_spec(path: Path) -> tuple[StudySpec, str]:
    """The validated study file and its text. Raises StudyError, one line that names the key and the mend."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such study file; `sweepwise init {path}` writes one to start from") from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as a text file; give a YAML study file") from error
    return parse_spec(text, str(path)), text


def parse_spec(text: str, source: str = "study file") -> StudySpec:
    """Validate the text of a study file. Raises StudyError."""
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "is not YAML"
        raise StudyError(f"{source}{where}: {_one_line(str(problem))}; mend the YAML there") from error
    if not isinstance(data, dict):
        raise StudyError(f"{source}: holds no keys; start from `sweepwise init`")
    return validate_model(StudySpec, data, "")


def validate_model(model: type[M], data: Any, prefix: str) -> M:
    """`data` as `model`, or a StudyError of one line about the first thing wrong, keys under `prefix`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise StudyError(_message(error, model, prefix)) from error
    except RecursionError as error:
        raise StudyError(f"{prefix or 'study file'}: is nested too deeply; write it flat") from error


def _message(error: ValidationError, model: type[BaseModel], prefix: str) -> str:
    # An error deep inside a union says more than the union's other members; unknown keys say most.
    first = min(error.errors(), key=lambda e: (e["type"] != "extra_forbidden", -len(e["loc"])))
    names = [str(part) for part in first["loc"] if part not in {"bool", "int", "float", "str"}]
    key = ".".join([prefix, *names] if prefix else names) or "study file"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, StudyError):
        return str(cause)
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key{suggestion(names[-1], _known_keys(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{key}: is missing; add it"
    given = f" (not {_one_line(repr(first['input']))})" if not isinstance(first["input"], dict | BaseModel) else ""
    return f"{key}: {_one_line(first['msg'].removeprefix('Value error, '))}{given}"


def _known_keys(model: Any, location: tuple[Any, ...]) -> list[str]:
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
            model = next((c for c in candidates if hasattr(c, "model_fields")), model)
    return list(getattr(model, "model_fields", {}))


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 120 else text[:117] + "..."


def _roles(name: str, given: Role | list[Role] | None) -> tuple[Role, ...]:
    if given is None:
        return (_ROLES[name],) if name in _ROLES else ()
    return tuple(given) if isinstance(given, list) else (given,)


def _has_text(values: list[Any]) -> bool:
    return any(isinstance(value, str | bool) for value in values)


def _check_values(key: str, values: list[Any], scale: Scale, roles: tuple[Role, ...]) -> None:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise StudyError(f"{key}.values: {value!r} stands twice; list each value once")
        seen.add(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(f"{key}.values: {value!r} is not a finite number; leave it out")
        if scale is Scale.CATEGORY:
            continue
        if isinstance(value, str | bool):
            raise StudyError(f"{key}.values: {value!r} is not a number; mend it or add `scale: category`")
        if scale is Scale.LOG and value < 0:
            raise StudyError(f"{key}.values: {value!r} is negative; a log scale takes 0 and above")
        if _WHOLE_ROLES & set(roles) and (value < 1 or value != int(value)):
            raise StudyError(f"{key}.values: {value!r} is no {roles[0].value.replace('_', ' ')} count; "
                             "use whole numbers from 1")
        if Role.RATE in roles and value <= 0:
            raise StudyError(f"{key}.values: {value!r} is no rate; use numbers above 0")


def _described(key: str, what: str, given: dict[str, float], value: Value) -> float:
    number = given.get(str(value))
    if number is None or not math.isfinite(number):
        raise StudyError(f"{key}.descriptors.{what}: has no number for {value!r}; add one for every value")
    return float(number)


class _UniqueKeys(yaml.SafeLoader):
    """YAML as it is, but a key that stands twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key in seen and key != "<<":
                problem = f"the key '{key}' stands twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
