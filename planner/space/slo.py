"""Conditions on metrics, as a study file's `slo` and the option --slo write them: 'p99_ttft_ms <= 500'. Several that
must hold together make a tier: 'p99_ttft_ms <= 500 and tpot_ms <= 40'."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from planner.space.types import StudyError

__all__ = ["Boundary", "Condition", "Tier", "parse_absolute_tier", "parse_condition",
           "parse_tier"]

_NUMBER: Final = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CONDITION: Final = re.compile(
    rf"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*(?:({_NUMBER})\s*(\*\s*baseline)?|(baseline))\s*", re.ASCII)
_AND: Final = re.compile(r"\s+and\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """metric ≤ bound if `is_upper`, else metric ≥ bound. `<` and `<=` mean the same: no metric is measured so exactly
    that the difference matters. of_baseline: the bound is a factor of what the baseline has."""

    metric: str
    bound: float
    is_upper: bool
    of_baseline: bool = False

    def __str__(self) -> str:
        times = " * baseline" if self.of_baseline else ""
        return f"{self.metric} {'<=' if self.is_upper else '>='} {self.bound:.12g}{times}"


def parse_condition(text: str, key: str) -> Condition:
    """The condition in 'metric <= number', with <=, <, >= or >, or in 'metric >= 0.99 * baseline'. Raises StudyError
    that starts with `key`."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise StudyError(f"{key}: cannot read '{text}'; write it like 'p99_ttft_ms <= 500'")
    bound = 1.0 if match[5] else float(match[3])
    if not math.isfinite(bound):
        raise StudyError(f"{key}: '{text}' has no finite bound; give one")
    of_baseline = bool(match[4] or match[5])
    if of_baseline and bound <= 0:
        raise StudyError(f"{key}: '{text}' has a factor that is not above 0; write it like 0.99 * baseline")
    return Condition(match[1], bound, match[2].startswith("<"), of_baseline)


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


def parse_absolute_tier(text: str, key: str) -> Tier:
    """The same, of bounds that are numbers. Raises StudyError also for a bound relative to the baseline."""
    tier = parse_tier(text, key)
    if any(condition.of_baseline for condition in tier.conditions):
        raise StudyError(f"{key}: '{text}' is relative to the baseline, which only `slo` can be; write a number")
    return tier
