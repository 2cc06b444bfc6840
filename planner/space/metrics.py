"""What a metric's name tells of it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["higher_is_better", "is_first", "is_step"]

_RATES: Final = re.compile(
    r"throughput|goodput|(^|_)(qps|rps|tps)($|_)|(tok|token|tokens|req|requests|samples)_s($|_)"
    r"|_per_(s|sec|second|joule|wh|kwh|dollar|gpu_hour)($|_)")


def higher_is_better(metric: str) -> bool:
    """Whether more of the metric is better: a rate of work, by vLLM's names or as people name their own."""
    return bool(_RATES.search(metric.lower()))


def is_first(metric: str) -> bool:
    """Whether the metric is about an output's first token."""
    return "first" in (words := metric.split("_")) or "ttft" in words


def is_step(metric: str) -> bool:
    """Whether the metric is about a token after the first, or the mean over them."""
    return bool({"step", "tpot", "itl"} & set(metric.split("_")))
