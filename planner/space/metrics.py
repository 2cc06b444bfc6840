"""What a metric's name tells of it."""

from __future__ import annotations

__all__ = ["is_gain", "is_per_token"]


def is_gain(metric: str) -> bool:
    """Whether more of the metric is better."""
    return "throughput" in metric or "goodput" in metric or metric.endswith(("_tok_s", "_per_s"))


def is_per_token(metric: str) -> bool:
    """Whether the metric is about one token, the first or one after it, and not about the whole output."""
    return bool({"ttft", "tpot", "itl"} & set(metric.split("_")))
