"""Isolated latencies of a study's engine configurations: runtime of one request, runtime of a batch, and
their cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.analysis.isolated_latency.blackbox import Ratio, ratios, read_timings
from planner.analysis.isolated_latency.idealize import (
    Idealized,
    Prompt,
    Triple,
    idealize,
    latency_metrics,
    reference_prompts,
)
from planner.campaign.setup import StudySetup
from planner.ledger.observations import Observations
from planner.models.latency_model import batch_of
from planner.space.grid import Grid
from planner.strategies.strategy import Posterior

__all__ = ["IsolatedLatencies", "isolated_latencies"]


@dataclass(frozen=True, eq=False)
class IsolatedLatencies:
    """The answer of `idealize`.

    prompts: the reference prompts. engines: one entry for each engine configuration whose latency model is known;
    silent: a grid row of each other one. blackbox: ratios of a black box's timings, None if not given.
    price: of an accelerator-hour, None if the study names none.
    """

    grid: Grid
    prompts: Sequence[Prompt]
    engines: Sequence[Idealized]
    silent: Sequence[int]
    blackbox: Sequence[Ratio] | None
    price: float | None

    @property
    def batches(self) -> list[float]:
        """The smallest, a medium and the largest batch of the grid."""
        values = sorted(set(batch_of(self.grid).tolist()))
        return sorted({values[0], values[len(values) // 2], values[-1]})

    def cost(self, seconds: Triple, engine: Idealized, batch: float, requests: float) -> Triple | None:
        """Money for `requests` requests, `batch` of which take `seconds` at once; None without a price."""
        if self.price is None:
            return None
        factor = requests * engine.accelerators * self.price / 3600 / batch
        return seconds[0] * factor, seconds[1] * factor, seconds[2] * factor

    def to_fastest(self, prompt: Prompt) -> list[float]:
        """Each engine's idealized runtime over the fastest one's; NaN if unknown."""
        own = [engine.seconds(prompt)[0] for engine in self.engines]
        fastest = min((value for value in own if math.isfinite(value)), default=math.nan)
        return [value / fastest for value in own]


def isolated_latencies(
    study: StudySetup, learn: Callable[[Iterable[str]], tuple[Observations, Posterior]], measured: Sequence[str],
    prompts: Sequence[tuple[int, int]] | None, blackbox: str | Path | None, price: float | None,
) -> IsolatedLatencies:
    """The answer for a study. learn: the posterior of metrics. measured: metrics that some run gave. prompts: tokens in
    and out; sizes of the grid by default. blackbox: a file of timings. Raises StudyError."""
    chosen = [Prompt(*pair) for pair in prompts] if prompts else reference_prompts(study.grid)
    timings = None if blackbox is None else read_timings(Path(blackbox), study.grid)
    engines, silent = idealize(*learn(latency_metrics(measured)), study.accelerators, study.seed)
    found = None if timings is None else ratios(timings, engines, study.grid)
    return IsolatedLatencies(study.grid, chosen, engines, silent, found, price)
