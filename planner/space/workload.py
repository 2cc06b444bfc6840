"""A workload: what traffic asks of a server, as shares of requests at given values of the axes.

An axis is *given* where traffic sets it (lengths, rates, datasets); the others are *chosen* (engine settings, batch
sizes, concurrency limits). A workload is written down in a study file or on the command line, or read off a trace
(planner/tables/workload.py, which also finds its place in a grid).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from planner.space.axis_spec import plain
from planner.space.meaning import named_values
from planner.space.types import Axis, Role, StudyError, Value
from planner.space.validation import Number, StrictModel

__all__ = ["Part", "Workload", "WorkloadEntry", "as_entries", "is_given", "workload_of_options"]

_GIVEN: Final = frozenset({Role.INPUT_TOKENS, Role.OUTPUT_TOKENS, Role.RATE})
_TRAFFIC: Final = frozenset({
    "dataset", "dataset_name", "burstiness", "range_ratio", "random_range_ratio", "prefix_len", "random_prefix_len",
    "input_scale", "output_scale"})
"""Axes without a role that traffic sets, by vLLM's and our own names."""


def is_given(axis: Axis) -> bool:
    """Whether traffic sets the axis, so that nobody chooses its value."""
    if axis.given is not None:
        return axis.given
    return bool(_GIVEN & set(axis.roles)) or axis.name in _TRAFFIC


@dataclass(frozen=True, slots=True)
class Part:
    """Requests at some values of given axes. weight: their share of all requests, in any unit."""

    given: Mapping[str, Value]
    weight: float = 1.0


class WorkloadEntry(StrictModel):
    """One entry of `workload:`: values of given axes with a weight, or a trace.

    Its other keys are names of axes."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[bool | int | float | str, BeforeValidator(plain)]]

    weight: Number = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Share of the requests, in any unit."""
    trace: str | None = None
    """A file of real traffic, relative to the study file; its lengths are counted."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.trace is None and not self.__pydantic_extra__:
            raise ValueError("names no axis; write {input_len: 1024, output_len: 128, weight: 0.7}, or {trace: FILE}")
        if self.trace is not None and (self.__pydantic_extra__ or "weight" in self.model_fields_set):
            raise ValueError("a trace stands alone; delete the other keys")
        return self

    @property
    def given(self) -> dict[str, Value]:
        """The values of given axes."""
        return dict(self.__pydantic_extra__)


@dataclass(frozen=True, slots=True)
class Workload:
    """Parts as written, or a trace to be read. key: where it was written, for messages."""

    parts: tuple[Part, ...] = ()
    trace: str | None = None
    key: str = "workload"

    @classmethod
    def of_entries(cls, entries: Iterable[WorkloadEntry]) -> Workload | None:
        """The workload of a study file; None without entries. Raises StudyError."""
        entries = list(entries)
        traces = [entry.trace for entry in entries if entry.trace is not None]
        if traces and len(entries) > 1:
            raise StudyError("workload: a trace stands alone; keep one entry")
        if traces:
            return cls(trace=traces[0])
        return cls(tuple(Part(entry.given, entry.weight) for entry in entries)) if entries else None


def workload_of_options(texts: Iterable[str]) -> Workload | None:
    """The workload in options such as 'input_len=1024,output_len=128:0.7', or the file of a trace; None without any.
    Raises StudyError."""
    texts = list(texts)
    traces = [text for text in texts if "=" not in text]
    if traces and len(texts) > 1:
        raise StudyError(f"--workload: the trace {traces[0]} stands alone; give one option")
    if traces:
        return Workload(trace=traces[0], key="--workload")
    return Workload(tuple(map(_part, texts)), key="--workload") if texts else None


def _part(text: str) -> Part:
    """The part in 'axis=value,axis=value:weight'; without a weight it is 1."""
    body, weight = text, 1.0
    if found := re.fullmatch(r"(.*):\s*([0-9.eE+-]+)\s*(%?)\s*", text, re.DOTALL):
        body = found[1]
        try:
            weight = float(found[2]) / (100 if found[3] else 1)
        except ValueError:
            weight = math.nan
        if not 0 < weight < math.inf:
            raise StudyError(f"--workload: the weight in '{text}' is no number above 0; write it like :0.7")
    given = named_values(body)
    if given is None:
        raise StudyError(f"--workload: cannot read '{text}'; write it like input_len=1024,output_len=128:0.7, or name "
                         "the file of a trace")
    return Part(given, weight)


def as_entries(written: Any) -> Any:
    """The entries of `workload:`; one entry needs no list."""
    return [written] if isinstance(written, dict) else written
