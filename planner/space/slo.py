"""A condition on a metric, as a study file's `slo` and the option --slo write it: 'p99_ttft_ms <= 500'."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from planner.space.types import StudyError

__all__ = ["Condition", "parse_condition"]

_NUMBER: Final = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_CONDITION: Final = re.compile(rf"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*({_NUMBER})\s*", re.ASCII)


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
