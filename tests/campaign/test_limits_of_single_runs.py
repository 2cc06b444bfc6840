"""Runs of an audit, and those that verify a recommendation, are ended where they hang, as those of a study are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import planner
from planner.campaign.observers import Observer
from planner.ledger.observations import Observations, Run
from planner.models import settings
from planner.space.failure import TRIES, FailureKind

FOREVER = 1e6


class Ended(Observer):
    """What each run said."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def finished(self, run: Run, observations: Observations) -> None:
        self.runs.append(run)


@pytest.fixture
def study(recorded: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> planner.Study:
    """A study of 20 runs on a machine on which every further run hangs."""
    machine = {"hang": 1e-9, "hang_s": FOREVER}
    given = recorded(models=("small",), targets=("latency_s", "throughput"), runner={"machine": machine})
    found = planner.open_study(given.study)
    found.run()
    monkeypatch.setattr("runners.replay_machine.ReplayMachine.fault", lambda *_: "hang")
    return found


def ways() -> dict[str, Callable[[planner.Study, Observer], Any]]:
    return {"audit": lambda study, observer: study.audit(6, observer=observer),
            "verify": lambda study, observer: study.recommend(
                verify=True, observer=observer, workload=["input_len=512,output_len=64"])}


@pytest.mark.parametrize("way", ways())
def test_a_run_that_hangs_is_ended(study: planner.Study, way: str) -> None:
    seen, before = Ended(), study.observations()
    ways()[way](study, seen)
    assert seen.runs and {run.measurement.failure_kind for run in seen.runs} == {FailureKind.HANG}
    limit_s = settings.HANG_FLOOR_S + 10 * settings.HANG_FACTOR * float(np.nanmax(before.seconds))
    tries = Counter(str(run.point) for run in seen.runs)
    assert limit_s < FOREVER / 100
    for number, run in enumerate(seen.runs):
        again = str(run.point) in {str(one.point) for one in seen.runs[:number]}
        assert run.measurement.cost.run_s < limit_s * (settings.HANG_FACTOR if again else 1)
    assert max(tries.values()) <= TRIES
