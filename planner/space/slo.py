"""Conditions on metrics, as a study file's `slo` and the option --slo write them: 'p99_ttft_ms <= 500'. Several that
must hold together make a tier: 'p99_ttft_ms <= 500 and tpot_ms <= 40'."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from planner.space.types import StudyError

__all__ = ["Boundary", "Condition", "Tier", "parse_condition", "parse_tier"]

_NUMBER: Final = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CONDITION: Final = re.compile(rf"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*({_NUMBER})\s*", re.ASCII)
_AND: Final = re.compile(r"\s+and\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """metric ≤ bound if `is_upper`, else metric ≥ bound. `<` and `<=` mean the same: no metric is measured so exactly
    that the difference matters."""

    metric: str
    bound: float
    is_upper: bool

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.is_upper else '>='} {self.bound:.12g}"


def parse_condition(text: str, key: str) -> Condition:
    """The condition in 'metric <= number', with <=, <, >= or >. Raises StudyError that starts with `key`."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise StudyError(f"{key}: cannot read '{text}'; write it like 'p99_ttft_ms <= 500'")
    bound = float(match[3])
    if not math.isfinite(bound):
        raise StudyError(f"{key}: '{text}' has no finite bound; give one")
    return Condition(match[1], bound, match[2].startswith("<"))


@dataclass(frozen=True, slots=True)
class Tier:
    """Conditions that must hold together: one level of service."""

    conditions: tuple[Condition, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the conditions, each once."""
        return tuple(dict.fromkeys(condition.metric for condition in self.conditions))

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions))


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where along the load each tier is met no longer: it is to be known at every grid load with this confidence."""

    tiers: tuple[Tier, ...]
    confidence: float

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all tiers, each once."""
        return tuple(dict.fromkeys(metric for tier in self.tiers for metric in tier.metrics))


def parse_tier(text: str, key: str) -> Tier:
    """The tier in 'metric <= number and metric <= number'. Raises StudyError that starts with `key`."""
    return Tier(tuple(dict.fromkeys(parse_condition(part, key) for part in _AND.split(text))))
