"""Known metrics: vLLM's names, and those of a whole request's latency that other tools use; times in ms or in s.

Only whole names are known; no meaning is read from a word within a name. Statistics of a distribution (`p99_ttft_ms`)
have the properties of the distribution, except its standard deviation: that may be zero, so its transform is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from planner.space.expressions import quoted, suggestion
from planner.space.types import Direction, Kind, Metric, Transform
from planner.space.units import unit_in

__all__ = ["KNOWN", "check_given", "described", "impossible", "metric_named", "quantile_of", "refusal", "said",
           "time_power", "unit_wanted"]

_TIMES: Final = frozenset({Kind.FIRST, Kind.STEP, Kind.WHOLE})
_STATISTIC: Final = re.compile(r"(mean|median|std|p[0-9]+(?:\.[0-9]+)?)_(\w+)")


def _latency(name: str, kind: Kind, unit: str = "ms") -> Metric:
    return Metric(name, unit, Direction.MINIMIZE, kind)


def _rate(name: str, of: str) -> Metric:
    return Metric(name, f"{of}/s", Direction.MAXIMIZE, Kind.THROUGHPUT)


_DISTRIBUTIONS: Final = tuple(
    _latency(f"{name}_{unit}", kind, unit) for unit in ("ms", "s")
    for name, kind in (("ttft", Kind.FIRST), ("tpot", Kind.STEP), ("itl", Kind.STEP), ("e2el", Kind.WHOLE)))
KNOWN: Final[Mapping[str, Metric]] = {metric.name: metric for metric in (
    *_DISTRIBUTIONS, _latency("batch_ttft_ms", Kind.FIRST),
    _rate("request_throughput", "requests"), _rate("request_goodput", "requests"),
    _rate("output_throughput", "tokens"), _rate("total_token_throughput", "tokens"),
    *(_latency(f"{name}_{unit}", Kind.WHOLE, unit) for unit in ("ms", "s") for name in ("latency", "request_latency")))}
"""By name; statistics of distributions are known besides (`metric_named`)."""


def metric_named(name: str) -> Metric:
    """The metric called `name`. An unknown name gives kind `other` without unit and direction."""
    if name in KNOWN:
        return KNOWN[name]
    parts = _STATISTIC.fullmatch(name)
    of = next((metric for metric in _DISTRIBUTIONS if parts and metric.name == parts[2]), None)
    if parts is None or of is None:
        return Metric(name)
    return replace(of, name=name, transform=Transform.LINEAR if parts[1] == "std" else of.transform)


def quantile_of(name: str) -> float | None:
    """The quantile over requests that a metric is: the median without any word; None for a mean."""
    parts = _STATISTIC.fullmatch(name)
    if parts is None or parts[1] == "median":
        return 0.5
    return float(parts[1][1:]) / 100 if parts[1].startswith("p") else None


def described(name: str, metrics: Iterable[Metric]) -> Metric:
    """The metric called `name` from `metrics`, or else from `metric_named`."""
    return next((metric for metric in metrics if metric.name == name), None) or metric_named(name)


def said(metric: Metric) -> str:
    """What is assumed about a metric, as text: unit, direction, kind, transform, the axes that alone change it."""
    better = {None: "direction unknown", Direction.MAXIMIZE: "more is better", Direction.MINIMIZE: "less is better"}
    kinds = {Kind.FIRST: "first token", Kind.STEP: "each later token", Kind.WHOLE: "whole request or batch",
             Kind.THROUGHPUT: "throughput", Kind.SHARE: "share", Kind.OTHER: "no special kind"}
    learned = {Transform.LOG: "learned as a logarithm", Transform.LINEAR: "learned as it is",
               Transform.LOGIT: "learned as a logit"}
    alone = None if metric.depends_on is None else ", ".join(metric.depends_on) or "no axis"
    parts = [metric.unit, better[metric.direction], kinds[metric.kind], learned[metric.transform],
             "" if alone is None else f"changed by {alone} alone"]
    return ", ".join(part for part in parts if part)


def impossible(metric: Metric, value: float) -> str:
    """Message: why no run gives this value of a metric, or why it cannot be learned; empty if it can be."""
    no_time = value < 0 or (value == 0 and metric.transform is Transform.LOG)
    if (metric.kind in _TIMES and no_time) or (metric.kind is Kind.THROUGHPUT and value < 0):
        what = "time" if metric.kind in _TIMES else "rate"
        return (f"{metric.name} is {value:g}, which no {what} is; correct the row, leave it out by `where`, or say "
                f"which rows succeeded by `ok`, as in \"{quoted(metric.name)} > 0\"")
    return "" if metric.takes(value) else refusal(metric, value)


def time_power(metric: Metric) -> int:
    """What a machine that takes f times as long does to a metric: its values are multiplied by f to this power. 1 for
    times, -1 for rates, 0 for everything else."""
    return 1 if metric.kind in _TIMES else -1 if metric.kind is Kind.THROUGHPUT else 0


def unit_wanted(metric: Metric) -> str:
    """The unit of a metric: the known one, or that in its own name; empty if there is none."""
    unit = unit_in(metric.name)
    return metric.unit or (unit.name if unit else "")


def refusal(metric: Metric, value: float) -> str:
    """Message: why a value of a metric cannot be learned, and what to do."""
    if metric.transform is Transform.LOGIT:
        return (f"{metric.name} is {value:g}, and a share lies between 0 and 1; rescale it, or write {{metric: "
                f"{metric.name}, kind: other}} in a new study")
    return (f"{metric.name} is {value:g}, which has no logarithm; if the value is right, write {{metric: "
            f"{metric.name}, transform: linear}} in a new study")


def check_given(names: Sequence[str], given: Iterable[str], source: str) -> str | None:
    """Message about the first of `names` that `source` does not give; None if `given` contains them all."""
    given = set(given)
    for name in names:
        if name not in given:
            return f"{source} gives no '{name}'{suggestion(name, given)}"
    return None
