"""What a study's time went into, and what its engine starts consist of: by hand."""

from __future__ import annotations

import pytest

from planner.analysis.plan import _starts
from planner.analysis.spending import StartPart, spending_of, start_parts
from planner.ledger.observations import Observations, Run
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Status


def observed() -> Observations:
    """Two starts, the first with the imports, on two devices; a run without a start; a failed start."""
    grid = full_grid([Axis("batch_size", (1, 2, 3, 4), roles=(Role.BATCH,))])
    observations = Observations(grid, ("e2el_ms",))
    starts = [(4.0, 8.0, (("import", 8.0), ("KV cache", 3.0), ("other", 1.0))), (0.0, 0.0, ()),
              (2.0, 0.0, (("KV cache", 1.5), ("other", 0.5)))]
    for number, (start_s, import_s, parts) in enumerate(starts):
        point = grid.point(number)
        observations.add(Run(number, point, Measurement(
            Status.OK, Cost(start_s, 0.5, 1.5, 2.0, import_s), (Reading(point, {"e2el_ms": (1.0,)}, 2.0),),
            start_parts=parts), planner_s=0.25))
    observations.add(Run(3, grid.point(3), Measurement(
        Status.FAILED, Cost(6.0, accelerators=2.0), reason="out of memory", start_parts=(("other", 6.0),))))
    return observations


def test_parts_of_starts_are_summed_the_longest_first() -> None:
    assert start_parts(observed()) == [
        StartPart("import", 8.0, 1, 0.4), StartPart("other", 7.5, 3, 0.375), StartPart("KV cache", 4.5, 2, 0.225)]


def test_imports_count_among_the_starts() -> None:
    spent = spending_of(observed())
    assert (spent.starts, spent.warmup, spent.measuring, spent.lost, spent.planning) == (
        2 * (4 + 8 + 2 + 6), 2 * 1.5, 2 * 4.5, 0.0, 2 * 0.75)
    assert spent.total == pytest.approx(observed().spent)


def test_a_plan_names_them() -> None:
    assert _starts(observed()) == "; engine starts: import 8.0 s, other 2.5 s, KV cache 2.2 s"
    unknown = Observations(observed().grid, ("e2el_ms",))
    assert _starts(unknown) == "" and start_parts(unknown) == []


def test_they_survive_json() -> None:
    measured = observed().runs[0].measurement
    assert Measurement.from_json(measured.to_json()) == measured
    old = measured.to_json()
    del old["cost"]["import_s"], old["start_parts"]
    assert Measurement.from_json(old).cost.import_s == 0.0, "studies from before they were kept go on"
