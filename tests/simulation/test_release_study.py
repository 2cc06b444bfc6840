"""studies/compare/release.py on a recorded grid whose change is planted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.compare.release import Recording, Setting, play, table_of
from tests.conftest import Recorded

GRID: dict[str, Any] = {"models": ("small", "large"), "outputs": (64,), "inputs": (64, 128, 256, 512),
                        "batches": (1, 2, 4, 8), "repeats": 1, "noise": 0.0}
SETTING = Setting(change=0.3, noise=0.005)


@pytest.fixture
def study(recorded: Callable[..., Recorded]) -> Path:
    return recorded("new", **GRID).study


def test_the_corner_is_the_upper_half_of_the_sizes_of_one_engine(study: Path) -> None:
    made = Recording(study, SETTING, 0)
    inside = [made.grid.point(row) for row in range(len(made.grid)) if made.corner[row]]
    assert len(inside) == 4 and len({point["model"] for point in inside}) == 1
    assert {point["input_len"] for point in inside} == {256, 512}
    assert {point["batch_size"] for point in inside} == {4, 8}


def test_what_is_planted_is_found_and_counted(study: Path) -> None:
    found = play(study, "planted", 1, SETTING)
    assert found.planted == 4 and found.found == 1.0 and found.worse == 4 + found.wrong
    assert 0 < found.named <= found.cost < 1


def test_equal_versions_and_a_slower_machine(study: Path) -> None:
    same, slower = play(study, "same", 1, SETTING), play(study, "slower", 1, SETTING)
    assert same.worse == same.better == same.wrong == 0 and math.isnan(same.found)
    assert slower.worse > 20 and abs(slower.common[0] - 1.3) < 0.05
    shown = [len(column._cells) for column in table_of([same, slower]).columns]
    assert set(shown) == {2}
