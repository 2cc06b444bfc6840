"""One axis of a study file: its keys, and the `Axis` that they describe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from planner.space.descriptors import Known
from planner.space.types import Axis, Role, Scale, Scope, StudyError, Value
from planner.space.validation import Number, StrictModel, Whole

__all__ = ["ANY_VALUE", "AxisSpec", "plain"]

_ROLES: Final[dict[str, Role]] = {
    "input_len": Role.INPUT_TOKENS, "random_input_len": Role.INPUT_TOKENS,
    "output_len": Role.OUTPUT_TOKENS, "random_output_len": Role.OUTPUT_TOKENS,
    "batch_size": Role.BATCH, "max_concurrency": Role.CONCURRENCY, "request_rate": Role.RATE,
    "tensor_parallel_size": Role.ACCELERATORS, "tensor_parallel": Role.ACCELERATORS, "n_gpus": Role.ACCELERATORS,
    "model": Role.MODEL,
    "gpu": Role.DEVICE, "hardware": Role.DEVICE, "device": Role.DEVICE, "accelerator": Role.DEVICE,
}
_WHOLE_ROLES: Final = {Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.BATCH, Role.CONCURRENCY, Role.ACCELERATORS}
_MAX_AXIS: Final = 100_000
_LARGEST: Final = 2**53  # above it, floating point cannot represent every whole number

ANY_VALUE: Final = {"type": ["boolean", "integer", "number", "string", "null"]}
"""JSON Schema of a value of an axis."""


def plain(value: Any) -> Any:
    """A value of an axis as YAML gives it, null as text. Raises ValueError."""
    if value is None:
        return "None"  # YAML's null: no value is a value too, as of num_speculative_tokens
    if not isinstance(value, bool | int | float | str):
        raise ValueError("use a number, text, true or false")
    return value


class AxisSpec(StrictModel):
    """One swept parameter."""

    values: list[Annotated[bool | int | float | str, BeforeValidator(plain), WithJsonSchema(ANY_VALUE)]] | None = None
    """The values to sweep; null is the text None. A replay study may leave them out and uses those of its table."""
    range: tuple[Whole, Whole] | None = None
    """First and last value; the axis has every integer between them."""
    scope: Scope = Scope.WORKLOAD
    """engine: changing it restarts the engine. workload: cheap to change."""
    scale: Scale | None = None
    """How the axis is encoded. Default: category if values are text, else linear."""
    role: Role | list[Role] | None = None
    """What the axis is in the latency model. Axes with vLLM's own names have a default."""
    given: bool | None = None
    """Whether traffic sets it: true for lengths, rates and datasets unless said otherwise. The others are chosen."""
    descriptors: dict[str, dict[str, Number]] = Field(default_factory=dict)
    """Numbers for the values of a category axis: {params_b: {llama-8b: 8.0}}. They come before what is known of public
    models and devices."""

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

    @property
    def size(self) -> int:
        """How many values the study file gives; 1 if it gives none."""
        return self.range[1] - self.range[0] + 1 if self.range else len(self.values or [None])

    def roles(self, name: str) -> tuple[Role, ...]:
        """What the axis is in the latency model, as the study file or its name says."""
        return _roles(name, self.role)

    def unresolved(self, name: str) -> Axis:
        """The axis as far as the study file alone tells: without values where it gives none. Raises StudyError."""
        if self.values or self.range:
            return self.resolve(name)
        return Axis(name, (), self.scope, self.scale or Scale.LINEAR, _roles(name, self.role),
                    given=self.given)

    def resolve(
        self, name: str, table_values: list[Value] | None = None, known: Callable[[Axis], Known] = lambda _: {},
    ) -> Axis:
        """The axis, with `table_values` where the study file gives none. known: what is known of the values of an axis
        besides; a descriptor that the study file does not give is there if every value has it. Raises StudyError."""
        key = f"space.axes.{name}"
        values = list(range(self.range[0], self.range[1] + 1)) if self.range else self.values or table_values
        if values is None:
            raise StudyError(f"{key}: has no values; add `values: [...]` or `range: [first, last]`")
        roles = _roles(name, self.role)
        if Role.RATE in roles:  # vLLM's own value for all requests at once
            values = [math.inf if value == "inf" else value for value in values]
        scale = self.scale or (Scale.CATEGORY if _has_text(values) else Scale.LINEAR)
        _check_values(key, values, scale, roles)
        if scale is not Scale.CATEGORY:
            values = sorted(values)
        if self.descriptors and scale is not Scale.CATEGORY:
            raise StudyError(f"{key}.descriptors: only a category axis takes descriptors; add `scale: category`")
        axis = Axis(name, tuple(values), self.scope, scale, roles, given=self.given)
        return replace(axis, descriptors=self._described(axis, key, known(axis)))

    def _described(self, axis: Axis, key: str, known: Known) -> dict[str, tuple[float, ...]]:
        """The descriptors: typed or, where nothing is typed, known for every value."""
        nothing = (None,) * len(axis.values)
        typed = {what: tuple(_number(key, what, given, value, own)
                             for value, own in zip(axis.values, known.get(what, nothing), strict=True))
                 for what, given in self.descriptors.items()}
        every = {what: tuple(number for number in numbers if number is not None) for what, numbers in known.items()}
        return typed | {what: numbers for what, numbers in every.items()
                        if what not in typed and len(numbers) == len(axis.values)}


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
            if value == math.inf and Role.RATE in roles:
                continue
            raise StudyError(f"{key}.values: {value!r} is not a finite number; leave it out (only a rate may be "
                             "inf)")
        if isinstance(value, str | bool):
            if scale is not Scale.CATEGORY:
                raise StudyError(f"{key}.values: {value!r} is not a number; correct it or add `scale: category`")
            continue
        if abs(value) > _LARGEST:
            raise StudyError(f"{key}.values: {str(value)[:40]} is too large; use numbers up to 2**53, or text")
        whole = next((role for role in roles if role in _WHOLE_ROLES), None)
        if whole and (value < 1 or value != int(value)):
            raise StudyError(f"{key}.values: {value!r} is invalid for the role {whole.value}; use whole "
                             "numbers from 1")
        if Role.RATE in roles and value <= 0:
            raise StudyError(f"{key}.values: {value!r} is not a rate; use numbers above 0")
        if scale is Scale.LOG and value < 0:
            raise StudyError(f"{key}.values: {value!r} is negative; a log scale takes 0 and above")


def _number(key: str, what: str, given: dict[str, float], value: Value, known: float | None) -> float:
    number = given.get(str(value), known)
    if number is None or not abs(number) <= _LARGEST:
        raise StudyError(f"{key}.descriptors.{what}: has no number for {value!r}; add one for every value")
    return float(number)
