"""What a metric's name tells of it."""

from __future__ import annotations

__all__ = ["is_first", "is_gain", "is_step"]


def is_gain(metric: str) -> bool:
    """Whether more of the metric is better."""
    return "throughput" in metric or "goodput" in metric or metric.endswith(("_tok_s", "_per_s"))


def is_first(metric: str) -> bool:
    """Whether the metric is about an output's first token."""
    return "first" in (words := metric.split("_")) or "ttft" in words


def is_step(metric: str) -> bool:
    """Whether the metric is about a token after the first, or the mean over them."""
    return bool({"step", "tpot", "itl"} & set(metric.split("_")))
