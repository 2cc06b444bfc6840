"""Conditions on a comparison for continuous integration: 'output_throughput drops 5%', 'ttft_ms rises 10% anywhere'.

Three answers: it holds, with the requested confidence; it does not, with the same confidence; or the intervals are too
wide to tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from scipy.stats import false_discovery_control, norm

from planner.analysis.comparison.ratios import Ratios, tail
from planner.space.text import point_text
from planner.space.types import StudyError

__all__ = ["Answer", "Gate", "Judgement", "judge", "parse_gate"]

_GATE: Final = re.compile(r"\s*([A-Za-z_]\w*)\s+(drops|rises)\s+(\d+\.?\d*|\.\d+)\s*%(\s+anywhere)?\s*", re.ASCII)


class Answer(StrEnum):
    """Whether a condition holds."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Gate:
    """The metric drops (or rises) by more than a share from A to B: on the geometric mean, or at any single point."""

    text: str
    metric: str
    drops: bool
    share: float
    anywhere: bool

    @property
    def bound(self) -> float:
        """Logarithm of the ratio beyond which the condition holds."""
        return float(np.log1p(-self.share if self.drops else self.share))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer, and its reason as text."""

    gate: Gate
    answer: Answer
    why: str

    def to_json(self) -> dict[str, Any]:
        """One entry of `fail_if` in `compare --json`."""
        return {"condition": self.gate.text, "answer": self.answer.value, "why": self.why}


def parse_gate(text: str) -> Gate:
    """The condition in 'METRIC drops|rises N% [anywhere]'. Raises StudyError."""
    match = _GATE.fullmatch(text)
    if match is None:
        raise StudyError(f"--fail-if: cannot read '{text}'; write it like 'output_throughput drops 5%' or "
                         "'ttft_ms rises 10% anywhere'")
    drops, share = match[2] == "drops", float(match[3]) / 100
    if drops and share >= 1:
        raise StudyError(f"--fail-if: '{text}': nothing drops by 100 % or more; give less")
    return Gate(" ".join(text.split()), match[1], drops, share, match[4] is not None)


def judge(gate: Gate, ratios: Ratios) -> Judgement:
    """Whether the gate's condition holds for the ratios of its metric, with their confidence."""
    return _anywhere(gate, ratios) if gate.anywhere else _on_mean(gate, ratios)


def _on_mean(gate: Gate, ratios: Ratios) -> Judgement:
    mean = ratios.mean()
    sign = -1.0 if gate.drops else 1.0
    beyond, half = sign * (mean.log - gate.bound), float(norm.ppf(ratios.confidence)) * mean.std
    answer = Answer.HOLDS if beyond > half else Answer.FAILS if -beyond >= half else Answer.UNKNOWN
    ratio, low, high = mean.ratio
    return Judgement(gate, answer, f"geometric mean of B/A {ratio:.3f} ({low:.3f} … {high:.3f}) over "
                                   f"{mean.points:,} points; the bound is {np.exp(gate.bound):.3f}")


def _anywhere(gate: Gate, ratios: Ratios) -> Judgement:
    """Holds if some points are beyond the bound, with the false discovery rate of `Ratios.differs`. Does not hold if
    every single point is within the bound with the given confidence, which needs no such correction."""
    sign = -1.0 if gate.drops else 1.0
    z = sign * (ratios.log - gate.bound) / ratios.sigma
    alpha = 1 - ratios.confidence
    beyond = false_discovery_control(tail(z)) <= alpha
    open_to = tail(-z) > alpha
    worst = int(np.argmax(np.where(beyond, z, -np.inf) if beyond.any() else z))
    point = point_text(ratios.grid.point(int(ratios.rows[worst])))
    low, high = ratios.interval
    at = f"{np.exp(ratios.log[worst]):.3f} ({low[worst]:.3f} … {high[worst]:.3f}) at {point}, " + (
        "measured on both sides" if ratios.measured[worst] else "predicted on a side at least")
    if beyond.any():
        return Judgement(gate, Answer.HOLDS, f"{int(beyond.sum()):,} of {len(z):,} points are beyond "
                                             f"{np.exp(gate.bound):.3f}; the surest: {at}")
    if not open_to.any():
        return Judgement(gate, Answer.FAILS, f"every one of {len(z):,} points is within {np.exp(gate.bound):.3f}; "
                                             f"nearest to it: {at}")
    return Judgement(gate, Answer.UNKNOWN, f"no point is surely beyond {np.exp(gate.bound):.3f}, but the intervals of "
                                           f"{int(open_to.sum()):,} of {len(z):,} points allow it; nearest to it: {at}")
