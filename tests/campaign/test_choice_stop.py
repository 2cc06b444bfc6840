"""A study of a decision ends when the best configuration is known, and names it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from planner.campaign.loop import Loop
from planner.campaign.observers import Observer
from planner.campaign.stopping import Limits
from planner.evaluation.choice import Choice, ChoiceQuestion
from planner.evaluation.mix import mixes
from planner.ledger.observations import Observations
from planner.simulation.simulate import Memory
from planner.space.grid import Grid, full_grid
from planner.space.question import Question
from planner.space.slo import parse_condition
from planner.space.types import Axis, Cost, Measurement, Point, Proposal, Reading, Role, Scale, Scope, Status
from planner.strategies.registry import make_strategy
from planner.strategies.strategy import Posterior, StrategyContext

LOADS = (1, 2, 4, 8, 16, 32, 64, 128)
TARGETS = ("output_throughput", "ttft_ms")


def a_grid() -> Grid:
    return full_grid([
        Axis("tensor_parallel_size", (1, 2, 4), Scope.ENGINE, Scale.LOG, (Role.ACCELERATORS,)),
        Axis("input_len", (256, 1024), scale=Scale.LOG, roles=(Role.INPUT_TOKENS,)),
        Axis("max_concurrency", LOADS, scale=Scale.LOG, roles=(Role.CONCURRENCY,)),
    ])


def metrics(point: Point) -> tuple[float, float]:
    """Throughput and ttft: both grow with the load, so that the bound on ttft decides."""
    load, length = float(point["max_concurrency"]), float(point["input_len"])
    devices = float(point["tensor_parallel_size"])
    ttft = (10 + length * load / (20 * devices)) * (1 + load / (100 * devices))
    return 1000 * load / (5 / devices**0.5 + 0.2 * load + ttft / 200), ttft


@dataclass
class Server:
    """Measures with a noise, the same each time for the same run, three times a run."""

    noise: float = 0.01
    trajectory_axis: None = None

    def measure(self, proposal: Proposal) -> Measurement:
        noise = np.exp(self.noise * np.random.default_rng(proposal.seed).standard_normal((2, 3)))
        readings = {name: tuple(value * one) for name, value, one in zip(
            TARGETS, metrics(proposal.point), noise, strict=True)}
        return Measurement(Status.OK, Cost(measure_s=1.0), (Reading(proposal.point, readings, 1.0),))


@dataclass
class Checkpoints(Observer):
    found: list[Choice] = field(default_factory=list)

    def checkpoint(self, posterior: Posterior, observations: Observations) -> None:
        assert posterior.choice is not None
        self.found.append(posterior.choice)


def play(name: str, seed: int = 0, noise: float = 0.01, trials: int | None = None
         ) -> tuple[str, Observations, list[Choice]]:
    grid, watch = a_grid(), Checkpoints()
    question = Question(TARGETS[0], True, (parse_condition("ttft_ms <= 500", ""),))
    asked = ChoiceQuestion(question, mixes(grid, None), np.ones(len(grid)), 0.95)
    context = StrategyContext(grid, TARGETS, None, np.ones(len(grid)), seed, choice=asked)
    observations = Observations(grid, TARGETS)
    reason = Loop(Server(noise), make_strategy(name, context), Memory(), observations,
                  Limits(choice=asked, trials=trials), seed, watch, clock=None).run()
    return reason, observations, watch.found


def regrets(choice: Choice) -> list[float]:
    found = []
    for case in choice.cases:
        true = [metrics({**case.mix.given[0], **case.mix.grid.point(row)}) for row in range(len(case.mix.grid))]
        best = max(value for value, ttft in true if ttft <= 500)
        assert case.chosen is not None
        value, ttft = true[case.chosen]
        found.append(1 - value / best if ttft <= 500 else 1.0)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_ends_at_the_first_checkpoint_that_decides_every_case_and_names_the_best(seed: int) -> None:
    reason, observations, checkpoints = play("sweepwise", seed)
    assert reason == "decision"
    assert all(found.conclusion is None for found in checkpoints[:-1])
    assert [case.state for case in checkpoints[-1].cases] == ["decided"] * 2
    assert len(observations.runs) < 0.7 * len(observations.grid)
    assert max(regrets(checkpoints[-1])) <= 0.02


def test_any_strategy_ends_by_it() -> None:
    reason, _, checkpoints = play("random")
    assert reason == "decision" and checkpoints[-1].conclusion == "decision"
    assert max(regrets(checkpoints[-1])) <= 0.02


def test_a_noisy_machine_ends_with_what_cannot_be_told_apart() -> None:
    reason, observations, checkpoints = play("sweepwise", noise=0.3)
    tied = [case for case in checkpoints[-1].cases if case.state == "tied"]
    assert reason == "tie" and tied
    assert all(case.runner_up is not None and case.probability < 0.95 for case in tied)
    assert observations.run_counts.max() <= 4


def test_trials_come_first_if_they_are_few() -> None:
    reason, observations, _ = play("sweepwise", trials=9)
    assert reason == "trials" and len(observations.runs) == 9
