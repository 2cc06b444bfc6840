"""What a person sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from planner.analysis.outlook import Outlook
from planner.analysis.status import never_run as missing
from planner.campaign.stopping import Limits
from planner.evaluation.estimate import Estimate
from planner.evaluation.gains import Gain, Gains
from planner.ledger.observations import Observations, Run
from planner.models.grid_model import Prediction
from planner.space.grid import full_grid
from planner.space.text import about_percent, as_json, duration, percent
from planner.space.types import Axis, Cost, Measurement, Reading, Scale, Scope, Status
from planner.strategies.strategy import Posterior
from planner.tables.recorded_grid import Sweep
from planner.views.progress import Progress
from planner.views.terminal import accuracy_table, gains_table, never_run


@pytest.mark.parametrize(("seconds", "text"), [
    (0.04, "0.0 s"), (8.26, "8.3 s"), (42.0, "42 s"), (250.0, "4 min 10 s"), (7500.0, "2 h 05 min"),
    (float("nan"), "unknown"),
])
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_that_json_lacks_become_null() -> None:
    assert as_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": (2,)}) == {"a": None, "b": [None, 1.5], "c": [2]}
    assert percent(float("nan")) == "–"
    assert (about_percent(-0.2), about_percent(0.5)) == ("below 0 %", "about 50.0 %")


def _text(renderable: object, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(renderable)
    return out.getvalue()


def test_estimates_are_called_estimated() -> None:
    estimates = {"ttft_ms": Estimate(0.951, 0.92, 0.97), "tpot_ms": None}
    text = _text(accuracy_table(estimates, {"ttft_ms": 12, "tpot_ms": 1}, {}))
    assert "Estimated accuracy" in text and "95.1 %" in text and "92.0 % … 97.0 %" in text and "too few runs" in text
    assert "judged by" in text and "12 runs" in text and "1 run " in text
    savings = Gains(12.0, Gain(30.0, 25.0, 36.0), Gain(31.0, 26.0, 37.0), None, True)
    assert "estimated" in _text(gains_table(savings, 100.0, 3000.0))
    known = Gains(1.0, Gain(1.0, 1.0, 1.0), Gain(1.0, 1.0, 1.0), None, False)
    assert "estimated" not in _text(gains_table(known, 100.0, 100.0))


def _scene() -> tuple[Observations, Posterior, Run, Run]:
    grid = full_grid([Axis("batch_size", (1, 2, 4, 8), scale=Scale.LOG)])
    observations = Observations(grid, ("ttft_ms",))
    point = {"batch_size": 2}
    good = Run(0, point, Measurement(Status.OK, Cost(2.0, 1.0, 3.0), (Reading(point, {"ttft_ms": (1.0,)}, 4.0),)))
    bad = Run(1, {"batch_size": 8}, Measurement(Status.FAILED, Cost(measure_s=1.0), reason="CUDA out of memory"))
    nothing = {"ttft_ms": np.ones(4)}
    posterior = Posterior(Prediction(nothing, nothing, nothing, nothing), {"ttft_ms": Estimate(0.93, 0.9, 0.95)},
                          np.ones(4),
                    Sweep((40.0, 30.0, 50.0), (40.0, 30.0, 50.0)))
    return observations, posterior, good, bad


def test_plain_lines_where_there_is_no_terminal() -> None:
    observations, posterior, good, bad = _scene()
    out = io.StringIO()
    with Progress(Console(file=out, width=80), Outlook(Limits(accuracy=0.95), 4)) as progress:
        progress.started(good.point, observations)
        observations.add(good)
        progress.finished(good, observations)
        progress.checkpoint(posterior, observations)
        observations.add(bad)
        progress.finished(bad, observations)
    lines = out.getvalue().splitlines()
    assert lines[0] == "run 0: batch_size=2 · 6.0 s (engine start 2.0 s) · 1 of 4 points · 6.0 s spent"
    assert lines[1] == "estimated accuracy: ttft_ms 93.0 %"
    assert lines[2] == "run 1 failed (out of memory): CUDA out of memory"
    assert "\x1b" not in out.getvalue()


def test_the_live_view_says_everything_that_is_asked() -> None:
    observations, posterior, good, bad = _scene()
    out = io.StringIO()
    console = Console(file=out, width=110, force_terminal=True)
    with Progress(console, Outlook(Limits(accuracy=0.95, cost=20.0), 4)) as progress:
        progress.begun(observations)
        progress.started(good.point, observations)
        observations.add(good)
        progress.finished(good, observations)
        progress.checkpoint(posterior, observations)
        observations.add(bad)
        progress.finished(bad, observations)
        progress.started({"batch_size": 4}, observations)
        text = _text(progress._view(), 110)
    for part in ("2 runs (1 failed)", "1 of 4 points measured", "time left", "7.0 s of 20 s", "estimated 93.0 %",
                 "asked for 95.0 %", "measuring  batch_size=4", "CUDA out of memory", "Ctrl-C"):
        assert part in text, (part, text)


def test_quiet_says_nothing() -> None:
    observations, _, good, bad = _scene()
    out = io.StringIO()
    with Progress(Console(file=out), Outlook(Limits(), 4), quiet=True) as progress:
        observations.add(good)
        progress.finished(good, observations)
        observations.add(bad)
        progress.finished(bad, observations)
    assert out.getvalue() == ""


def test_categories_without_a_run_are_named() -> None:
    grid = full_grid([Axis("model", ("a", "b", "c"), Scope.ENGINE, Scale.CATEGORY), Axis("batch_size", (1, 2))])
    observations = Observations(grid, ("s",))
    for number, row in enumerate((0, 4)):
        assert never_run(missing(observations)).startswith(
            f"no run has succeeded yet at {3 - number} of 3 values of model, such as ")
        point = grid.point(row)
        reading = Reading(point, {"s": (1.0,)}, 1.0)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=1.0), (reading,))))
    assert "1 of 3 values of model, such as b" in never_run(missing(observations))
    assert observations.never_run() == {"model": ["b"]}
    point = grid.point(2)
    observations.add(Run(2, point, Measurement(Status.OK, Cost(), (Reading(point, {"s": (1.0,)}, 1.0),))))
    assert never_run(missing(observations)) == "" and observations.never_run() == {}
