"""What the engine's process answers to a run, checked: a reply that no engine gives ends the run, not the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from runners.vllm_process import EngineError

__all__ = ["RunReply", "run_reply", "start_parts_of"]

_Seconds = Annotated[NonNegativeFloat, Field(allow_inf_nan=False)]
_Times = Annotated[list[_Seconds], Field(min_length=1)]
_PARTS: Final = TypeAdapter(dict[str, _Seconds])


class RunReply(BaseModel):
    """warmup_s, measure_s: of all batches. warmups, repeats: seconds of each token of each batch. metrics: of each
    repeat, by output length."""

    model_config = ConfigDict(frozen=True)

    warmup_s: _Seconds
    measure_s: _Seconds
    warmups: list[_Times]
    repeats: Annotated[list[_Times], Field(min_length=1)]
    metrics: list[dict[str, dict[str, FiniteFloat]]]

    @model_validator(mode="after")
    def _of_each_repeat(self) -> Self:
        if len(self.metrics) != len(self.repeats):
            raise ValueError(f"metrics of {len(self.metrics)} repeats, times of {len(self.repeats)}")
        return self


def run_reply(reply: Mapping[str, Any], output_len: int) -> RunReply:
    """The reply to a run of so many output tokens. Raises EngineError."""
    try:
        found = RunReply.model_validate(reply)
    except ValidationError as error:
        raise _unreadable(error) from error
    if wrong := [len(times) for times in (*found.warmups, *found.repeats) if len(times) != output_len]:
        raise EngineError(f"the engine's process answered {wrong[0]} times of {output_len} tokens")
    return found


def start_parts_of(reply: Mapping[str, Any]) -> dict[str, float]:
    """The seconds of the parts of a start, as the engine's process answers. Raises EngineError."""
    try:
        return _PARTS.validate_python(reply.get("parts"))
    except ValidationError as error:
        raise _unreadable(error) from error


def _unreadable(error: ValidationError) -> EngineError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))[:100] or "all of it"
    return EngineError(f"the engine's process answered what no engine does: {where}: {first['msg'][:200]}")
