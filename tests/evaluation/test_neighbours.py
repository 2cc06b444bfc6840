"""Who ran beside whom, and what that changed."""

from __future__ import annotations

from typing import Any

import pytest

from planner.analysis.export import measurement_table
from planner.analysis.placements import placements
from planner.evaluation.neighbours import beside, disturbance
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Status

GRID = full_grid((Axis("batch_size", (1, 2, 3, 4)),))


def run(number: int, began: float, ended: float, machine: str = "m", values: tuple[float, ...] = (10.0,),
        batch_size: int = 1, **placement: Any) -> Run:
    place = {"machine": machine, "host": f"host of {machine}", "devices": [str(number)], "began": began,
             "ended": ended, **placement}
    point = {"batch_size": batch_size}
    return Run(number, point, Measurement(Status.OK, Cost(), (Reading(point, {"tpot_ms": values}, 1.0),),
                                          placement=place))


def test_runs_whose_times_overlap_on_one_machine_were_beside_each_other() -> None:
    runs = [run(0, 0, 10), run(1, 10, 20), run(2, 15, 40), run(3, 16, 17), run(4, 18, 19, "other"), run(5, 39, 50)]
    assert beside(runs) == {0: (), 1: (2, 3), 2: (1, 3, 5), 3: (1, 2), 4: (), 5: (2,)}
    assert beside(reversed(runs)) == beside(runs)


def test_a_run_without_a_placement_says_nothing() -> None:
    plain = Run(1, {"batch_size": 1}, Measurement(Status.OK, Cost()))
    assert beside([plain, run(2, 0, 1)]) == {2: ()}
    assert placements(Observations(GRID, ["tpot_ms"], [plain])) == {}


@pytest.mark.parametrize(("after", "ratio", "is_large"), [
    ((10.2, 10.4, 99.0), 1.04, False), ((10.6,), 1.06, True), ((9.4,), 0.94, True)])
def test_what_a_neighbour_changed_is_the_ratio_of_medians(
    after: tuple[float, ...], ratio: float, is_large: bool
) -> None:
    alone, again = run(0, 0, 1, values=(9.0, 10.0, 30.0)), run(4, 5, 6, values=after)
    found = disturbance(alone, again, (3,), ["ttft_ms", "tpot_ms"])
    assert found is not None and (found.alone, found.beside, found.neighbours) == (0, 4, (3,))
    assert found.largest == ("tpot_ms", pytest.approx(ratio)) and found.is_large is is_large


def test_nothing_is_said_of_a_metric_that_one_of_the_runs_lacks() -> None:
    assert disturbance(run(0, 0, 1), run(1, 0, 1), (), ["ttft_ms"]) is None


def test_an_export_says_where_each_run_was_made() -> None:
    runs = [run(0, 0, 10), run(1, 5, 20, batch_size=2), run(2, 6, 7, "other", batch_size=3)]
    table = measurement_table(Observations(GRID, ["tpot_ms"], runs))
    assert table[["run", "host", "devices", "beside"]].values.tolist() == [
        [0, "host of m", "0", "1"], [1, "host of m", "1", "0"], [2, "host of other", "2", ""]]
    plain = Run(1, {"batch_size": 1}, Measurement(Status.OK, Cost(), runs[0].measurement.readings))
    assert "beside" not in measurement_table(Observations(GRID, ["tpot_ms"], [plain]))
