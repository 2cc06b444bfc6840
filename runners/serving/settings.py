"""Constants of the measurement of servers, each with its reason."""

from __future__ import annotations

from typing import Final

__all__: list[str] = []

FULL: Final = 0.95
"""Share of a closed loop's places that are taken in its steady part, as in AIPerf. With fewer than 20 places: all."""

LONGEST_START_UP: Final = 1 / 3
"""Share of the arrivals after which the window of an open loop opens at the latest. A server above its capacity has
never ended its start-up's requests in time, and its backlog must be seen."""

SATURATION_GROWTH: Final = 0.1
"""Seconds that each second of arrivals must add to the time of a request for an open loop to be saturated. In 200
simulated runs each of M/M/1, M/M/8, M/D/1 and of batches of 16 and 64 with 100 requests, 90 to 100 % of those at 1.5
times the capacity were found and at most 3 % of those at 70 %; with 200 requests 100 % and 0 %. The queue at the end
over its mean (1.5 or more) found 34 to 87 % with 100 requests, and 48 % for batches of 64 with 200."""

SATURATION_DEVIATIONS: Final = 3.0
"""Standard errors by which that growth must be above 0: with requests of very different lengths on a server that is
far from full, 15 to 30 % of runs show a growth of 0.1 by chance, and under 1 % one of three errors."""

SATURATION_REQUESTS: Final = 80
"""Requests in the window of an open loop without which saturation cannot be told, which is 100 arrivals: see
SATURATION_GROWTH."""

LITTLES_LAW: Final = 0.1
"""Difference between N and X·R that is not due to the window's edges and is still no contradiction."""

EDGES: Final = 1.5
"""How many times the requests in flight may be counted wrongly at the window's edges: at both, but seldom all. Where
requests of equal length come in waves, whole waves fall just inside or just outside."""

LOOSEST: Final = 0.5
"""Most that N may differ from X·R, however few requests there are: a wrong clock makes N large, and the edges with it.
Of 300 simulated runs for each of 40 loads, with as few requests as a visit sends, it refuses no more than without but
for one: 10 for 7 %."""

PERCENTILE_CONFIDENCE: Final = 0.99
"""Probability with which a sample must hold two values beyond a percentile for it to be given: 662 requests for p99,
64 for p90. With fewer, the largest value of all stands for the percentile."""

BATCHES: Final = 10
"""Batches of consecutive requests for an interval from batch means; the textbook "Simulation Modeling and
Analysis" advises 10 to 20, each longer than the correlation."""

HELD_BACK: Final = 0.01
"""Share of the time to first token by which a client must hold requests back for their times to be given from both
moments. An event loop is late by some 0.1 ms anyway."""

LEAST_REQUESTS: Final = 20
"""Requests of a run's steady part: two for each batch of an interval."""

LEAST_MEMBERS: Final = 5
"""Requests that begin and end in the steady part, at least: of one or two, a median is what a single request happened
to take. On our own open-loop grid 2 of 261 windows had fewer (studies/README.md)."""

MORE_ARRIVALS: Final = 1.25
"""Arrivals of an open loop over those of its steady part: the start-up is about a fifth of them. By judgement."""

LEAST_STEP_S: Final = 1e-4
"""Seconds for each token below which no engine decodes one at a time: the fastest steps on today's devices take some
ten times as long. Where a front end has no core to run on, tokens come in one piece at 0.001 ms each."""

BUNDLED_SHARE: Final = 0.1
"""Share of requests whose tokens may come all at once. By judgement."""

TOKENS_TO_STREAM: Final = 3
"""Output tokens above which a request is asked whether they came one by one: a few may share a network packet."""
