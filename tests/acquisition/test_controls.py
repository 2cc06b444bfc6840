"""Which point is measured again, and when: by hand."""

from __future__ import annotations

from planner.acquisition.controls import control_row
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Scope, Status

AXES = (Axis("tp", (1, 2), Scope.ENGINE), Axis("x", tuple(range(100))))


def study(*rows: int, engine: int | None = 0, expensive: tuple[int, ...] = ()) -> Observations:
    """Runs of these rows, each of 10 s, or of 100 s if it is expensive; rows 0 to 99 are of the first engine."""
    observations = Observations(full_grid(AXES), ("y_ms",))
    for number, row in enumerate(rows):
        point = observations.grid.point(row)
        took = 100.0 if row in expensive else 10.0
        readings = (Reading(point, {"y_ms": (1.0 + row,)}, took),)
        observations.add(Run(number, point, Measurement(Status.OK, Cost(measure_s=took), readings)))
    observations.current_engine = engine
    return observations


def row(observations: Observations, *, drift: float = 1.0, error: float = 0.1) -> int | None:
    return control_row(observations, drift, error)


def test_the_drift_sets_the_interval() -> None:
    """The last control was a tenth of the study's time ago: s √0.1 > g / 2 from s = 0.16 on, with g of 0.1."""
    observations = study(*range(89), 0, *range(89, 99))
    assert row(observations, drift=0.15) is None
    assert row(observations, drift=0.17) == 1
    assert row(observations, drift=0.17, error=0.2) is None  # other errors are larger
    assert row(study(*range(99)), drift=0.06) == 0  # none before: all of the time counts
    assert row(study(*range(99)), drift=0.04) is None
    assert row(study(*range(99)), drift=0.029, error=0.0) is None  # too little to look for
    assert row(study(*range(99)), drift=0.0, error=0.0) is None


def test_the_cheaper_half_is_measured_again_the_least_measured_first() -> None:
    assert row(study(*range(50, 90), expensive=(50, 51))) == 52
    assert row(study(*range(50, 90), 52, *range(90, 99), expensive=(50, 51))) == 53


def test_controls_follow_neither_each_other_nor_the_first_runs() -> None:
    assert row(study(*range(5))) is None
    assert row(study(*range(60), 0, 60, 61)) is None


def test_controls_take_a_twentieth_of_the_cost_at_most() -> None:
    assert row(study(*range(20))) == 0  # 10 s of 200 s
    assert row(study(*range(19))) is None  # of 190 s
    assert row(study(*range(20), 0, *range(20, 39))) == 1  # two of 400 s
    assert row(study(*range(20), 0, *range(20, 37))) is None


def test_only_the_engine_that_runs_measures_again() -> None:
    observations = study(*range(100, 120), *range(20))
    assert row(observations) == 0
    observations.current_engine = 1
    assert row(observations) == 100
    observations.current_engine = None
    assert row(observations) is None


def test_a_whole_grid_is_measured_once() -> None:
    assert row(study(*range(199))) is not None
    assert row(study(*range(200))) is None


def test_a_point_that_another_worker_measures_is_left_to_it() -> None:
    observations = study(*range(40))
    observations.pending = {0, 1}
    assert row(observations) == 2
