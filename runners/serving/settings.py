"""Constants of the measurement of servers, each with its reason."""

from __future__ import annotations

from typing import Final

__all__: list[str] = []

FULL: Final = 0.95
"""Share of a closed loop's places that are taken in its steady part, as in AIPerf. With fewer than 20 places: all."""

LONGEST_START_UP: Final = 1 / 3
"""Share of the arrivals after which the window of an open loop opens at the latest. A server above its capacity has
never ended its start-up's requests in time, and its backlog must be seen."""

SATURATION_INDEX: Final = 1.5
"""Queue at the end over its mean: 1 in a steady state, 2 for a queue that grows steadily from nothing; half way."""

SATURATION_DEVIATIONS: Final = 3.0
"""Standard deviations of the number in flight by which a queue must have grown. At low loads 1 in flight may well
become 4 by chance: with Poisson arrivals and no queue, the variance of that number is its mean."""

LITTLES_LAW: Final = 0.1
"""Difference between N and X·R that is not due to the window's edges and is still no contradiction."""

EDGES: Final = 1.5
"""How many times the requests in flight may be counted wrongly at the window's edges: at both, but seldom all. Where
requests of equal length come in waves, whole waves fall just inside or just outside."""

PERCENTILE_CONFIDENCE: Final = 0.99
"""Probability with which a sample must hold two values beyond a percentile for it to be given: 662 requests for p99,
64 for p90. With fewer, the largest value of all stands for the percentile."""

BATCHES: Final = 10
"""Batches of consecutive requests for an interval from batch means; the textbook "Simulation Modeling and
Analysis" advises 10 to 20, each longer than the correlation."""

HELD_BACK: Final = 0.01
"""Share of the time to first token by which a client must hold requests back for their times to be given from both
moments. An event loop is late by some 0.1 ms anyway."""
