"""The conformance suite of planner.space.types.Runner, and of its optional protocols (runner_hints).

    def test_my_runner_keeps_the_contract():
        check_runner(lambda: MyRunner(config, context), good=Proposal({"batch_size": 1}, ({"batch_size": 1},)))
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from planner.space.runner_hints import CountsAccelerators, EstimatesCost, NamesMetrics
from planner.space.types import Measurement, Point, Proposal, Runner, Status, StudyError

__all__ = ["check_runner"]

_CHEAP_S: Final = 5.0
"""Most seconds that a fingerprint may take; starting an engine takes longer."""


def check_runner(
    make: Callable[[], Runner], good: Proposal, bad: Proposal | None = None,
    unknown: Callable[[], Runner] | None = None,
) -> None:
    """Assert the contract of `planner.space.types.Runner`.

    make: builds a new runner, each time under the same settings. good: a proposal that can be measured and is
    wholly measurable. bad: one whose benchmark fails. unknown: builds the runner with an unknown setting; for runners
    whose Config cannot know all settings, and which refuse it when they are built. Raises AssertionError that says
    what is broken.
    """
    runner = make()
    try:
        _check_class(runner, unknown)
        _check_fingerprint(runner, make)
        _check_accelerators(runner, good.point)
        _check_good(runner, good)
        if bad is not None:
            _check_bad(runner, bad, good)
        _check_good(runner, good)
        before = dict(runner.fingerprint())
    finally:
        runner.close()
    runner.close()
    assert dict(runner.fingerprint()) == before, "fingerprint changes when the runner is closed"
    unused = make()
    unused.close()
    unused.close()


def _check_class(runner: Runner, unknown: Callable[[], Runner] | None) -> None:
    assert isinstance(runner, Runner), f"{type(runner).__name__} lacks a member of the Runner protocol"
    config: Any = getattr(type(runner), "Config", None)
    assert hasattr(config, "model_validate"), "Config must be a pydantic model"
    if unknown is None:
        assert config.model_config.get("extra") == "forbid", "Config must refuse unknown keys: extra='forbid'"
    else:
        _check_refused(unknown)
    assert "kind" not in config.model_fields, "Config must not hold `kind`: it chose the runner"
    axis = runner.trajectory_axis
    assert axis is None or isinstance(axis, str), f"trajectory_axis must be a name or None, not {axis!r}"


def _check_refused(unknown: Callable[[], Runner]) -> None:
    try:
        built = unknown()
    except StudyError:
        return
    built.close()
    raise AssertionError("an unknown setting must be refused with StudyError when the runner is built")


def _check_fingerprint(runner: Runner, make: Callable[[], Runner]) -> None:
    begin = time.monotonic()
    fingerprint = runner.fingerprint()
    seconds = time.monotonic() - begin
    assert seconds < _CHEAP_S, f"fingerprint took {seconds:.1f} s: it must be cheap and start no engine"
    assert isinstance(fingerprint, Mapping) and fingerprint, "fingerprint must be a mapping that says something"
    for key, value in fingerprint.items():
        assert isinstance(key, str) and isinstance(value, str), f"fingerprint must be text: {key!r}: {value!r}"
    assert dict(runner.fingerprint()) == dict(fingerprint), "fingerprint differs between two calls"
    other = make()
    try:
        assert dict(other.fingerprint()) == dict(fingerprint), "fingerprint differs between equal runners"
    finally:
        other.close()


def _check_accelerators(runner: Runner, point: Point) -> None:
    devices = runner.accelerators(point)
    assert isinstance(devices, int | float), f"accelerators must be a number, not {devices!r}"
    assert 0 < devices < math.inf, f"accelerators must be above 0 and finite, not {devices!r}"
    assert runner.accelerators(point) == devices, "accelerators differs between two calls"


def _check_good(runner: Runner, proposal: Proposal) -> None:
    measurement = runner.measure(proposal)
    assert measurement.status is Status.OK, f"the good proposal ended {measurement.status}: {measurement.reason}"
    _check_measurement(measurement, runner, proposal)
    read = [_key(reading.point) for reading in measurement.readings]
    assert len(set(read)) == len(read), "a point has two readings"
    missing = {_key(point) for point in proposal.covers} - set(read)
    assert not missing, f"no reading for covered points: {sorted(missing)}"
    extra = set(read) - {_key(point) for point in proposal.covers}
    assert not extra, f"readings for points that the proposal does not cover: {sorted(extra)}"
    for reading in measurement.readings:
        assert reading.metrics, f"the reading of {dict(reading.point)} has no metrics"
        for name, values in reading.metrics.items():
            _check_metric(name, values)
        assert 0 <= reading.seconds < math.inf, f"seconds of a reading must be finite, from 0: {reading.seconds!r}"
        if _key(reading.point) == _key(proposal.point):
            spent = measurement.cost.warmup_s + measurement.cost.measure_s
            assert reading.seconds <= spent * 1.001 + 1e-3, (
                f"the executed point says {reading.seconds} s, more than the {spent} s that were spent without start")
    _check_json(measurement)
    _check_hints(runner, measurement)


def _check_hints(runner: Runner, measurement: Measurement) -> None:
    """The optional protocols agree with the measured points."""
    points = [reading.point for reading in measurement.readings]
    columns = {name: np.array([point[name] for point in points]) for name in points[0]}
    if isinstance(runner, CountsAccelerators):
        counted, one_by_one = runner.accelerators_at(columns), [runner.accelerators(point) for point in points]
        assert np.array_equal(counted, one_by_one), f"accelerators_at gives {counted}, accelerators {one_by_one}"
    if isinstance(runner, NamesMetrics) and (named := runner.metrics()) is not None:
        given = {name for reading in measurement.readings for name in reading.metrics}
        assert given <= named, f"metrics() does not name what a run gives: {sorted(given - named)}"
    if isinstance(runner, EstimatesCost) and (seconds := runner.estimate_cost(columns)) is not None:
        assert np.shape(seconds) == (len(points),), f"estimate_cost must have the shape ({len(points)},)"
        sound = np.isfinite(seconds).all() and (np.asarray(seconds) > 0).all()
        assert sound, f"estimate_cost must be finite and above 0, not {seconds}"


def _check_metric(name: Any, values: Any) -> None:
    assert isinstance(name, str) and name, f"a metric's name must be text: {name!r}"
    assert isinstance(values, tuple) and values, f"{name} must be a tuple of repeats, not {values!r}"
    for value in values:
        assert isinstance(value, float) and math.isfinite(value), f"{name} holds {value!r}, not a finite float"


def _check_measurement(measurement: Measurement, runner: Runner, proposal: Proposal) -> None:
    assert isinstance(measurement, Measurement), f"measure must return a Measurement, not {measurement!r}"
    cost = measurement.cost
    for name in ("import_s", "start_s", "warmup_s", "measure_s", "evaluation_s"):
        seconds = getattr(cost, name)
        assert 0 <= seconds < math.inf, f"cost.{name} must be finite and from 0, not {seconds!r}"
    expected = runner.accelerators(proposal.point)
    assert cost.accelerators == expected, f"a run on {cost.accelerators} accelerators was announced as {expected}"
    for times in measurement.trajectory_s:
        assert all(a <= b for a, b in itertools.pairwise(times)), "trajectory_s must not go back in time"


def _check_json(measurement: Measurement) -> None:
    broken = "a measurement must survive JSON: plain finite numbers, text and tuples only"
    try:
        text = json.dumps(measurement.to_json(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{broken} ({error})") from error
    assert Measurement.from_json(json.loads(text)) == measurement, broken


def _check_bad(runner: Runner, bad: Proposal, good: Proposal) -> None:
    measurement = runner.measure(bad)
    assert measurement.status is Status.FAILED, f"the bad proposal ended {measurement.status}"
    _check_measurement(measurement, runner, bad)
    assert measurement.reason.strip(), "a failed run must give its reason"
    assert not measurement.readings, "a failed run must have no readings: no number stands for a failure"
    assert not measurement.trajectory_s, "a failed run must have no trajectory"
    _check_json(measurement)
    _check_good(runner, good)
    again = runner.measure(bad)
    assert again.status is Status.FAILED and again.reason.strip(), "the second failure differs from the first"


def _key(point: Point) -> str:
    return json.dumps(dict(point), sort_keys=True)
