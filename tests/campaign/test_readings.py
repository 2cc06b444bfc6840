"""What a run gave, held against the study's targets: a target that no run gives ends the study at its first run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import planner
from planner.space.types import Status, StudyError


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., planner.Study]:
    """A study of a command: 2 × 4 points. gives: an expression over output_len `o`, batch size `b` and run `n`."""

    def write(gives: str, targets: list[Any]) -> planner.Study:
        (tmp_path / "bench.py").write_text(
            "import json, sys\no, b = map(int, sys.argv[1:])\nopen('log', 'a').write('x')\n"
            f"n = len(open('log').read()) - 1\nprint(json.dumps({gives}))")
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({
            "study": {"name": "s", "storage": f"sqlite:///{tmp_path / 's.db'}"},
            "space": {"axes": {"output_len": {"values": [1, 8], "role": "output_tokens"},
                               "batch_size": {"values": [1, 2, 4, 8]}}},
            "runner": {"kind": "command", "command": [sys.executable, "-S", "-E", "bench.py", "{output_len}",
                                                      "{batch_size}"]},
            "targets": targets, "stop": {"trials": 8},
        }))
        return planner.open_study(path)

    return write


@pytest.mark.parametrize(("gives", "targets", "says"), [
    ("{'latency_ms': 3}", ["latency"], "run 0 gave no 'latency'; did you mean 'latency_ms'"),  # the only target
    ("{'latency_ms': 3, 'power': 2}", ["latency_ms", "powr"], "run 0 gave no 'powr'; did you mean 'power'"),
    ("{'latency_ms': 3}", ["latency_ms", "p99"], "run 0 gave no 'p99'"),
])
def test_the_first_run_without_a_target_ends_the_study(
    study: Callable[..., planner.Study], gives: str, targets: list[str], says: str
) -> None:
    opened = study(gives, targets)
    with pytest.raises(StudyError) as caught:
        opened.run()
    assert says in str(caught.value) and "its runs are kept" in str(caught.value)
    assert [run.measurement.status for run in opened.observations().runs] == [Status.OK]


def test_a_later_run_without_any_target_is_a_failed_run(study: Callable[..., planner.Study]) -> None:
    opened = study("{'latency_ms': 3 * o * b} if n < 5 else {'detail': 1}", ["latency_ms"])
    opened.run()
    measurements = [run.measurement for run in opened.observations().runs]
    assert [one.status for one in measurements] == [Status.OK] * 5 + [Status.FAILED] * 3
    assert {one.reason for one in measurements[5:]} == {"measured none of the targets latency_ms; it gave detail"}


def test_a_run_without_any_metric_is_a_failed_run(study: Callable[..., planner.Study]) -> None:
    opened = study("{'error': 'out of memory'} if b > 1 else {'latency_ms': 3 * o}", ["latency_ms"])
    opened.run()
    runs = opened.observations().runs
    assert len(runs) == 8
    assert all((run.measurement.status is Status.FAILED) == (run.point["batch_size"] > 1) for run in runs)


def test_a_target_that_a_point_does_not_define_is_not_missed(study: Callable[..., planner.Study]) -> None:
    """No time between tokens at one output token: neither the end of the study nor a failed run."""
    opened = study("{'e2el_ms': 5 * o} | ({'tpot_ms': 2 + b} if o > 1 else {})", ["tpot_ms"])
    opened.run()
    runs = opened.observations().runs
    assert len(runs) == 8 and all(run.measurement.status is Status.OK for run in runs)
