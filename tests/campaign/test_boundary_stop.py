"""A study of a boundary ends when every load is decided, and not before."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from planner.campaign.loop import Loop
from planner.campaign.observers import Observer
from planner.campaign.stopping import Limits, is_located
from planner.evaluation.attainment import Attainment
from planner.ledger.observations import Observations
from planner.simulation.simulate import Memory
from planner.space.grid import Grid, full_grid
from planner.space.slo import Boundary, parse_tier
from planner.space.types import Axis, Cost, Measurement, Proposal, Reading, Role, Scale, Scope, Status
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import Posterior, StrategyContext

LOADS = (1, 2, 4, 8, 16, 32, 64, 128)
BOUNDARY = Boundary((parse_tier("ttft_ms <= 500", ""),), 0.95)


def a_grid() -> Grid:
    return full_grid([
        Axis("tensor_parallel_size", (1, 2), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
        Axis("input_len", (256, 512, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("max_concurrency", LOADS, scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
    ])


def ttft(point: object) -> float:
    load, length = float(point["max_concurrency"]), float(point["input_len"])  # type: ignore[index]
    devices = float(point["tensor_parallel_size"])  # type: ignore[index]
    return (10 + length * load / (20 * devices)) * (1 + load / (100 * devices))


@dataclass
class Server:
    """Measures with a noise of 2 %, the same each time for the same run; loads above `largest` fail."""

    largest: int = 10_000
    trajectory_axis: None = None

    def measure(self, proposal: Proposal) -> Measurement:
        noise = float(np.exp(0.02 * np.random.default_rng(proposal.seed).standard_normal()))
        if int(proposal.point["max_concurrency"]) > self.largest:
            return Measurement(Status.FAILED, Cost(measure_s=1.0), reason="out of memory")
        reading = Reading(proposal.point, {"ttft_ms": (ttft(proposal.point) * noise,)}, 1.0)
        return Measurement(Status.OK, Cost(measure_s=1.0), (reading,))


@dataclass
class Checkpoints(Observer):
    found: list[Attainment] = field(default_factory=list)

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        assert posterior.attainment is not None
        self.found.append(posterior.attainment)


def play(name: str, limits: Limits, server: Server | None = None, seed: int = 0
         ) -> tuple[str, Observations, list[Attainment]]:
    grid, watch = a_grid(), Checkpoints()
    context = StrategyContext(grid, ("ttft_ms",), None, np.ones(len(grid)), seed, boundary=BOUNDARY)
    observations = Observations(grid, ("ttft_ms",))
    reason = Loop(server or Server(), make_strategy(name, context), Memory(), observations, limits, seed, watch,
                  clock=None).run()
    return reason, observations, watch.found


@pytest.mark.parametrize("seed", range(3))
def test_it_ends_at_the_first_checkpoint_without_an_undecided_load(seed: int) -> None:
    reason, observations, checkpoints = play("sweepwise", Limits(boundary=BOUNDARY), seed=seed)
    assert reason == "boundary"
    assert all(found.open_count > 0 for found in checkpoints[:-1]) and checkpoints[-1].open_count == 0
    assert len(observations.runs) < 0.7 * len(observations.grid)
    true = np.array([ttft(observations.grid.point(row)) <= 500 for row in range(len(observations.grid))])
    assert np.mean((checkpoints[-1].probability[0] >= 0.5) != true) <= 0.05


def test_any_strategy_ends_by_it() -> None:
    reason, observations, checkpoints = play("random", Limits(boundary=BOUNDARY))
    assert reason == "boundary" and checkpoints[-1].open_count == 0
    assert len(observations.runs) > len(play("sweepwise", Limits(boundary=BOUNDARY))[1].runs)


def test_without_the_limit_it_goes_on_until_nothing_is_undecided() -> None:
    """A strategy that is asked for a boundary has nothing to propose once it is found."""
    reason, observations, _ = play("sweepwise", Limits())
    assert reason == "grid" and not observations.known.all()


def test_loads_that_fail_are_decided() -> None:
    reason, observations, checkpoints = play("sweepwise", Limits(boundary=BOUNDARY), Server(largest=8))
    assert reason == "boundary" and observations.failures
    load = np.asarray(observations.grid.column("max_concurrency"), dtype=float)
    assert (checkpoints[-1].probability[0, load > 16] < 0.5).all()


def test_trials_come_first_if_they_are_few() -> None:
    reason, observations, _ = play("sweepwise", Limits(boundary=BOUNDARY, trials=9))
    assert reason == "trials" and len(observations.runs) == 9


def test_nothing_is_located_before_a_checkpoint() -> None:
    assert not is_located(None)
