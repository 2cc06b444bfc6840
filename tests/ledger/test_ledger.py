"""The record: what goes into SQLite comes out of it, and a study goes on only where it may."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from planner.ledger.fingerprint import differences
from planner.ledger.ledger import Ledger
from planner.ledger.worker import this_worker
from planner.space.grid import full_grid
from planner.space.types import Axis, Cost, Measurement, Reading, Role, Scale, Scope, Status, StudyError

MODEL = Axis("model", ("a", "b"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,))
OUTPUT = Axis("output_len", (1, 4, 16), scale=Scale.LOG, roles=(Role.OUTPUT_TOKENS,))
BATCH = Axis("batch_size", (1, 2, 4), scale=Scale.LOG, roles=(Role.BATCH,))
AXES = (MODEL, OUTPUT, BATCH)
FINGERPRINT = {"engine": "1.0", "model:a": "aaa"}
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def storage(directory: Path) -> str:
    return f"sqlite:///{directory / 'study.db'}"


def open_ledger(
    directory: Path, axes: tuple[Axis, ...] = AXES, targets: tuple[str, ...] = ("latency_ms",),
    fingerprint: Mapping[str, str] = FINGERPRINT, text: str = "the study file",
) -> Ledger:
    return Ledger.create_or_resume(storage(directory), "study", axes, targets, text, fingerprint)


def load(directory: Path, name: str = "study") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage(directory))


def snapshot(directory: Path, name: str = "study") -> list[tuple[Any, ...]]:
    """Everything that a finished trial says, apart from Optuna's own numbers and the distributions."""
    return [
        (t.number, t.state, t.params, t.values, t.user_attrs, t.intermediate_values, t.datetime_start,
         t.datetime_complete)
        for t in load(directory, name).get_trials() if t.state.is_finished()
    ]


def point(model: str = "a", output_len: int = 4, batch_size: int = 2) -> dict[str, Any]:
    return {"model": model, "output_len": output_len, "batch_size": batch_size}


def measured(at: Mapping[str, Any], value: float = 7.5, **metrics: tuple[float, ...]) -> Measurement:
    reading = Reading(dict(at), {"latency_ms": (value, value + 1, value + 3), **metrics}, 1.25)
    return Measurement(Status.OK, Cost(2.0, 0.5, 0.75, 2.0), (reading,), environment="here")


def record(ledger: Ledger, at: Mapping[str, Any], measurement: Measurement | None = None) -> int:
    trial, given_point = ledger.begin(at, 0)
    assert given_point == at
    return ledger.finish(trial, measurement or measured(at)).number


def dead_worker() -> str:
    """A process that was here a moment ago."""
    script = "from planner.ledger.worker import this_worker; print(this_worker())"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


finite = st.floats(allow_nan=False, allow_infinity=False)
amounts = st.floats(min_value=0, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
repeats = st.lists(finite, min_size=1, max_size=4).map(tuple)
readings = st.builds(
    Reading, st.fixed_dictionaries({"model": st.sampled_from("ab"), "output_len": st.integers(1, 2**40),
                                    "x": finite, "on": st.booleans()}),
    st.dictionaries(texts, repeats, max_size=3), amounts)
measurements = st.builds(
    Measurement, st.sampled_from(Status), st.builds(Cost, amounts, amounts, amounts, amounts),
    st.lists(readings, max_size=3).map(tuple), texts, st.lists(repeats, max_size=2).map(tuple), texts)


@FEW
@given(measurements)
def test_a_measurement_comes_back_bit_for_bit(tmp_path: Path, measurement: Measurement) -> None:
    ledger = open_ledger(tmp_path)  # one study for all examples
    trial, _ = ledger.begin(point(), 0)
    trial.set_user_attr("measurement", measurement.to_json())
    stored = load(tmp_path).get_trials()[trial.number].user_attrs["measurement"]
    back = Measurement.from_json(stored)
    # repr tells -0.0 from 0.0, 1 from 1.0 and True, and every float from its neighbours.
    assert back == measurement and repr(back) == repr(measurement)


def test_everything_is_there_for_optuna_alone(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, targets=("latency_ms", "output_throughput"))
    record(ledger, point(), measured(point(), output_throughput=(30.0, 10.0, 20.0)))
    study = load(tmp_path)
    assert study.metric_names == ["latency_ms", "output_throughput"]
    assert [d.name for d in study.directions] == ["MINIMIZE", "MAXIMIZE"]
    assert study.user_attrs["fingerprint"] == FINGERPRINT and study.user_attrs["study_file"] == "the study file"
    (trial,) = study.get_trials()
    assert trial.state is TrialState.COMPLETE and trial.params == point()
    assert trial.values == [8.5, 20.0]  # medians
    assert trial.user_attrs["measurement"]["cost"] == {
        "start_s": 2.0, "warmup_s": 0.5, "measure_s": 0.75, "accelerators": 2.0, "import_s": 0.0}
    assert trial.user_attrs["measurement"]["environment"] == "here"
    assert not trial.intermediate_values  # Optuna has none with two targets


def test_a_failed_run_is_a_reason_and_never_a_number(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    record(ledger, point(), Measurement(Status.FAILED, Cost(measure_s=3.0), reason="out of memory"))
    (trial,) = load(tmp_path).get_trials()
    assert trial.state is TrialState.FAIL and trial.values is None and not trial.intermediate_values
    assert trial.user_attrs["reason"] == "out of memory"
    observations = ledger.observations(full_grid(AXES))
    assert (observations.finished, observations.failures, observations.spent) == (1, 1, 3.0)


def test_a_target_that_is_undefined_at_the_point_prunes_the_trial_and_keeps_the_rest(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, targets=("latency_ms", "tpot_ms"))
    at = point(output_len=1)
    record(ledger, at)
    (trial,) = load(tmp_path).get_trials()
    assert trial.state is TrialState.PRUNED and trial.values is None
    observations = ledger.observations(full_grid(AXES))
    row = observations.grid.find(at)
    assert observations.measured[row] and not observations.failed[row] and observations.failures == 0
    assert observations.column("latency_ms")[row] == 8.5 and not observations.repeats("tpot_ms")


def test_one_target_gets_its_trajectory_as_intermediate_values(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    shorter = [Reading(point(output_len=n), {"latency_ms": (float(n), 3.0 * n, 2.0 * n)}, n / 10) for n in (1, 4)]
    longest = measured(point(output_len=16))
    record(ledger, point(output_len=16), Measurement(Status.OK, longest.cost, (*longest.readings, *shorter)))
    (trial,) = load(tmp_path).get_trials()
    assert trial.intermediate_values == {1: 2.0, 4: 8.0, 16: 8.5} and trial.value == 8.5


@pytest.mark.parametrize(("recorded", "present", "said"), [
    ({"engine": "1"}, {"engine": "1"}, []),
    ({"engine": "1"}, {"engine": "2"}, ["engine was 1, is 2"]),
    ({"engine": "1"}, {}, ["engine was 1, is absent"]),
    ({}, {"device": "x"}, ["device was absent, is x"]),
    ({"model:a": "1"}, {"model:b": "2"}, []),
    ({"model:a": "1"}, {"model:a": "2"}, ["model:a was 1, is 2"]),
])
def test_what_differs(recorded: dict[str, str], present: dict[str, str], said: list[str]) -> None:
    assert differences(recorded, present) == said


def test_another_fingerprint_or_other_targets_are_refused_and_change_nothing(tmp_path: Path) -> None:
    record(open_ledger(tmp_path), point())
    before = snapshot(tmp_path), dict(load(tmp_path).user_attrs)
    for changed, said in (
        ({"fingerprint": {**FINGERPRINT, "engine": "2.0"}}, "engine was 1.0, is 2.0"),
        ({"fingerprint": {**FINGERPRINT, "model:a": "other"}}, "model:a was aaa, is other"),
        ({"targets": ("latency_ms", "throughput")}, "begun for latency_ms"),
        ({"targets": ("throughput",)}, "targets:"),
    ):
        with pytest.raises(StudyError, match=said) as refusal:
            open_ledger(tmp_path, **changed, text="another file")
        assert "\n" not in str(refusal.value) and "study.name" in str(refusal.value)
    assert (snapshot(tmp_path), dict(load(tmp_path).user_attrs)) == before


def test_models_that_join_the_axis_join_the_fingerprint(tmp_path: Path) -> None:
    open_ledger(tmp_path)
    assert open_ledger(tmp_path, fingerprint={"engine": "1.0", "model:b": "bbb"}).fingerprint == {
        **FINGERPRINT, "model:b": "bbb"}
    with pytest.raises(StudyError, match="model:a was aaa, is changed"):
        open_ledger(tmp_path, fingerprint={"engine": "1.0", "model:a": "changed"})


WIDER = {
    "numbers": (MODEL, Axis("output_len", (1, 2, 4, 16, 64), scale=Scale.LOG, roles=OUTPUT.roles), BATCH),
    "categories": (Axis("model", ("c", "a", "b"), Scope.ENGINE, Scale.CATEGORY, MODEL.roles), OUTPUT, BATCH),
    "both": (Axis("model", ("b", "c", "a"), Scope.ENGINE, Scale.CATEGORY, MODEL.roles), OUTPUT,
             Axis("batch_size", (1, 2, 3, 4, 8), scale=Scale.LOG, roles=BATCH.roles)),
    "another scale": (MODEL, OUTPUT, Axis("batch_size", (0, 1, 2, 4), scale=Scale.LINEAR, roles=BATCH.roles)),
}


def filled(directory: Path) -> list[tuple[Any, ...]]:
    """A study with a run of every kind."""
    ledger = open_ledger(directory)
    record(ledger, point("a"))
    record(ledger, point("b", batch_size=4), Measurement(Status.FAILED, Cost(measure_s=1.0), reason="too large"))
    shorter = Reading(point("b", 1), {"latency_ms": (1.0,)}, 0.1)
    longer = measured(point("b", 16))
    record(ledger, point("b", 16), Measurement(Status.OK, longer.cost, (*longer.readings, shorter)))
    trial, _ = ledger.begin(point("a", 1), 0)
    ledger.abandon(trial, "cut short")
    ledger.discard(0, "a fan stood still")
    return snapshot(directory)


@pytest.mark.parametrize("axes", WIDER.values(), ids=WIDER.keys())
def test_more_values_on_an_axis_continue_the_study(tmp_path: Path, axes: tuple[Axis, ...]) -> None:
    before = filled(tmp_path)
    attributes = dict(load(tmp_path).user_attrs)
    ledger = open_ledger(tmp_path, axes)
    assert snapshot(tmp_path) == before
    assert dict(load(tmp_path).user_attrs) == attributes and load(tmp_path).metric_names == ["latency_ms"]
    assert optuna.get_all_study_names(storage(tmp_path)) == ["study"]
    grid = full_grid(axes)
    observations = ledger.observations(grid)
    assert [run.number for run in observations.runs] == [1, 2, 3]
    assert set(map(int, observations.measured.nonzero()[0])) == {grid.find(point("b", 16)), grid.find(point("b", 1))}
    new = {axis.name: axis.values[-1] for axis in axes} | {"model": axes[0].values[0]}
    number = record(ledger, new, measured(new))
    assert load(tmp_path).get_trials()[number].params == new
    # And back: a narrower study file goes on too, and what lies outside its grid stays in the record.
    narrow = open_ledger(tmp_path).observations(full_grid(AXES))
    assert [run.number for run in narrow.runs] == [1, 2, 3, 4]


def test_other_axes_are_another_study(tmp_path: Path) -> None:
    record(open_ledger(tmp_path), point())
    with pytest.raises(StudyError, match=r"space\.axes: the study has the axes batch_size, model, output_len"):
        open_ledger(tmp_path, (MODEL, OUTPUT))


@pytest.mark.parametrize("runs_here", [None, 0, 2])
def test_the_copy_that_an_older_version_left_is_named_and_nothing_begun_beside_it(
    tmp_path: Path, runs_here: int | None
) -> None:
    """It copied a study when an axis grew, and could be killed before it had copied everything back."""
    before = filled(tmp_path)
    opened = optuna.storages.RDBStorage(storage(tmp_path))
    study = load(tmp_path)
    copy = optuna.create_study(storage=opened, study_name="study (being rebuilt)", directions=study.directions)
    for key, value in {**study.user_attrs, "rebuilt": True}.items():
        copy.set_user_attr(key, value)
    copy.add_trials(study.get_trials())
    optuna.delete_study(study_name="study", storage=opened)
    if runs_here is not None:
        optuna.create_study(storage=opened, study_name="study", directions=copy.directions).add_trials(
            copy.get_trials()[:runs_here])
    names = sorted(optuna.get_all_study_names(opened))
    for open_ in (open_ledger, lambda path: Ledger.existing(storage(path), "study", AXES, ("latency_ms",))):
        with pytest.raises(StudyError, match=r'all 4 runs .* go on with --name "study \(being rebuilt\)"') as refusal:
            open_(tmp_path)
        assert "\n" not in str(refusal.value)
    assert sorted(optuna.get_all_study_names(opened)) == names
    # The fix that the message names.
    fixed = Ledger.create_or_resume(
        storage(tmp_path), "study (being rebuilt)", WIDER["categories"], ("latency_ms",), "the study file", FINGERPRINT)
    assert snapshot(tmp_path, "study (being rebuilt)") == before
    assert record(fixed, point("c")) == 4


@pytest.mark.parametrize("flagged", [False, True])
def test_a_copy_beside_the_whole_study_is_let_be(tmp_path: Path, flagged: bool) -> None:
    """An older version was killed before it touched the study itself."""
    before = filled(tmp_path)
    copy = optuna.create_study(storage=storage(tmp_path), study_name="study (being rebuilt)")
    copy.add_trials(load(tmp_path).get_trials()[:2 + 2 * flagged])
    if flagged:
        copy.set_user_attr("rebuilt", True)
    open_ledger(tmp_path, WIDER["categories"])
    assert snapshot(tmp_path) == before


def choices(directory: Path) -> set[tuple[Any, ...]]:
    return {t.distributions["model"].choices for t in load(directory).get_trials() if "model" in t.distributions}


def test_a_process_that_is_measuring_goes_on_while_categories_grow(tmp_path: Path) -> None:
    """Its run ends as it would have, its next begins with the wider choices, and those of both stand in the record."""
    ledger = open_ledger(tmp_path)
    trial, at = ledger.begin(point(), 0)
    wider = open_ledger(tmp_path, WIDER["categories"])
    other, there = wider.begin(point("c"), 0)
    ledger.finish(trial, measured(at))
    assert record(ledger, point("b")) == 2
    assert ledger.add(point("a", 1), measured(point("a", 1)), {}) == 3
    wider.finish(other, measured(there))
    assert choices(tmp_path) == {("a", "b", "c")}
    assert [t.params for t in load(tmp_path).get_trials()] == [at, there, point("b"), point("a", 1)]
    assert [run.number for run in ledger.observations(full_grid(AXES)).runs] == [0, 1, 2, 3]
    # What Optuna keeps in memory is read anew with it: its own plots and samplers take trials of one search space.
    assert {t.distributions["model"].choices for t in ledger.study.get_trials()} == {("a", "b", "c")}


def test_a_point_that_a_person_enqueued_is_taken_with_choices_that_came_later(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    record(ledger, point())
    open_ledger(tmp_path, WIDER["categories"])
    load(tmp_path).enqueue_trial(point("c", 16, 4))
    trial, at = ledger.begin(point(), 0)
    assert at == point("c", 16, 4) and trial.params == at
    assert choices(tmp_path) == {("a", "b", "c")}


KINDS = {
    "integers to floats": ((1, 2, 4), (0.5, 1, 2), Scale.LINEAR, (FloatDistribution, False)),
    "floats to integers": ((0.5, 1.0, 2.0), (1, 2), Scale.LINEAR, (FloatDistribution, False)),
    "logarithmic to linear": ((1, 2, 4), (0, 1, 2), Scale.LINEAR, (IntDistribution, False)),
    "numbers to categories": ((1, 2, 4), (2, 8), Scale.CATEGORY, (CategoricalDistribution, (1, 2, 4, 8))),
}


def kind(distribution: BaseDistribution) -> tuple[Any, ...]:
    """What Optuna compares: the class, and the choices or whether it is logarithmic."""
    return type(distribution), getattr(distribution, "choices", getattr(distribution, "log", None))


@pytest.mark.parametrize(("before", "after", "scale", "expected"), KINDS.values(), ids=KINDS.keys())
def test_an_axis_of_another_kind_keeps_every_recorded_value(
    tmp_path: Path, before: tuple[Any, ...], after: tuple[Any, ...], scale: Scale, expected: tuple[Any, ...]
) -> None:
    """And back again: what the narrower kind cannot hold stays as it is recorded."""
    first = Scale.LINEAR if 0.5 in before else Scale.LOG
    forth, back = Axis("size", after, scale=scale), Axis("size", before, scale=first)
    ledger = open_ledger(tmp_path, (back,))
    for value in before:
        record(ledger, {"size": value}, measured({"size": value}))
    for axis in (forth, back):
        ledger = open_ledger(tmp_path, (axis,))
        trials = load(tmp_path).get_trials()
        assert [t.params["size"] for t in trials][:len(before)] == list(before)
        assert {kind(t.distributions["size"]) for t in trials} == {expected}
        run = ledger.observations(full_grid((axis,))).runs[0]
        assert run.point == {"size": before[0]}
        trial, at = ledger.begin({"size": axis.values[-1]}, 0)
        assert at == {"size": axis.values[-1]} and type(at["size"]) is type(axis.values[-1])
        ledger.abandon(trial, "only a try")


def test_a_discarded_run_stays_and_its_points_are_free(tmp_path: Path) -> None:
    ledger, grid = open_ledger(tmp_path), full_grid(AXES)
    shorter = Reading(point(output_len=1), {"latency_ms": (1.0,)}, 0.1)
    longer = measured(point(output_len=16))
    number = record(ledger, point(output_len=16), Measurement(Status.OK, longer.cost, (*longer.readings, shorter)))
    kept = record(ledger, point("b"))
    before = snapshot(tmp_path)
    assert ledger.observations(grid).measured.sum() == 3
    ledger.discard(number, "the fan stood still")
    assert snapshot(tmp_path) == before
    again = open_ledger(tmp_path)
    observations = again.observations(grid)
    assert again.discarded == {number: "the fan stood still"}
    assert [run.number for run in observations.runs] == [kept] and observations.known.sum() == 1
    assert observations.spent == measured(point()).cost.accelerator_seconds
    with pytest.raises(StudyError, match="discarded already"):
        again.discard(number, "again")
    for wrong in (-1, 2):
        with pytest.raises(StudyError, match=f"run {wrong}: is not a finished run"):
            again.discard(wrong, "")
    running, _ = again.begin(point(), 0)
    with pytest.raises(StudyError, match="is not a finished run"):
        again.discard(running.number, "")


def test_a_run_that_is_discarded_elsewhere_is_gone_at_the_next_refresh(tmp_path: Path) -> None:
    """From every array and sum, as if it had never been; the others stay, and so does the engine that runs here."""
    ledger, grid = open_ledger(tmp_path), full_grid(AXES)
    observations = ledger.observations(grid)
    for at in (point("b"), point("a", 1), point("b")):
        trial, _ = ledger.begin(at, 0)
        observations.add(ledger.finish(trial, measured(at, 1.0 + len(observations.runs))))
    version, engine, before = observations.version, observations.current_engine, observations.column("latency_ms")
    Ledger.existing(storage(tmp_path), "study", AXES, ("latency_ms",)).discard(1, "the fan stood still")
    ledger.refresh(observations)
    assert [run.number for run in observations.runs] == [0, 2] and observations.finished == 2
    assert not observations.known[grid.find(point("a", 1))] and observations.known.sum() == 1
    assert observations.spent == 2 * measured(point()).cost.accelerator_seconds
    assert observations.version != version and observations.current_engine == engine is not None
    assert np.isfinite(before[grid.find(point("a", 1))]), "a column read earlier has changed"
    assert len(observations.repeats("latency_ms")[grid.find(point("b"))]) == 6
    ledger.refresh(observations)
    assert [run.number for run in observations.runs] == [0, 2]


def test_a_running_trial_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    trial, at = open_ledger(tmp_path).begin(point(), 0)
    other = open_ledger(tmp_path)
    observations = other.observations(full_grid(AXES))
    assert load(tmp_path).get_trials()[trial.number].state is TrialState.RUNNING
    assert observations.pending == {observations.grid.find(at)}
    assert not observations.known.any() and not observations.runs


@pytest.mark.parametrize("worker", ["", "{host}|{pid}|1", "{host}|{pid}|1|{rest}", "dead"])
def test_a_running_trial_of_a_dead_process_is_closed_as_interrupted(tmp_path: Path, worker: str) -> None:
    """Dead: nobody's, that of a process number given to another since, that of one that ended."""
    host, pid, _, rest = this_worker().split("|", 3)
    trial, at = open_ledger(tmp_path).begin(point(), 0)
    trial.set_user_attr("worker", dead_worker() if worker == "dead" else worker.format(
        host=host, pid=pid, rest=rest))
    observations = open_ledger(tmp_path).observations(full_grid(AXES))
    (closed,) = load(tmp_path).get_trials()
    assert closed.state is TrialState.FAIL and closed.user_attrs["measurement"]["status"] == "interrupted"
    assert (observations.finished, observations.failures, len(observations.runs)) == (0, 0, 1)
    assert not observations.pending and not observations.known[observations.grid.find(at)]


@pytest.mark.parametrize("targets", [("latency_ms",), ("latency_ms", "throughput"), ("latency_ms", "tpot_ms")])
def test_a_measurement_stored_before_its_trial_ended_is_completed(tmp_path: Path, targets: tuple[str, ...]) -> None:
    ledger = open_ledger(tmp_path, targets=targets)
    at = point(output_len=16)
    shorter = Reading(point(output_len=4), {"latency_ms": (1.0,)}, 0.1)
    whole = measured(at, throughput=(3.0,))
    measurement = Measurement(Status.OK, whole.cost, (*whole.readings, shorter))
    trial, _ = ledger.begin(at, 0)
    trial.set_user_attr("measurement", measurement.to_json())
    trial.set_user_attr("worker", dead_worker())
    observations = open_ledger(tmp_path, targets=targets).observations(full_grid(AXES))
    (completed,) = load(tmp_path).get_trials()
    assert [run.measurement for run in observations.runs] == [measurement] and observations.measured.sum() == 2
    # As it would have been without the kill.
    (tmp_path / "straight").mkdir()
    straight = open_ledger(tmp_path / "straight", targets=targets)
    record(straight, at, measurement)
    (expected,) = load(tmp_path / "straight").get_trials()
    assert (completed.state, completed.values, completed.intermediate_values) == (
        expected.state, expected.values, expected.intermediate_values)


def test_a_process_that_goes_on_has_no_engine_until_it_runs_one(tmp_path: Path) -> None:
    """Whether the runs of the record are its own of yesterday, or another's of this moment."""
    grid, ledger = full_grid(AXES), open_ledger(tmp_path)
    record(ledger, point("a"))
    observations = ledger.observations(grid)
    assert observations.finished == 1 and observations.current_engine is None
    trial, at = ledger.begin(point("b"), 0)
    observations.add(ledger.finish(trial, measured(at)))
    own = grid.engine[grid.find(point("b"))]
    assert observations.current_engine == own
    record(open_ledger(tmp_path), point("a", batch_size=4))
    ledger.refresh(observations)
    assert observations.finished == 3 and observations.current_engine == own


def test_an_enqueued_point_comes_first(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    load(tmp_path).enqueue_trial(point("b", 16, 4))
    load(tmp_path).enqueue_trial({"model": "b"})  # the planner's own choice fills in the rest
    trial, at = ledger.begin(point("a", 1, 1), 0)
    assert at == point("b", 16, 4)
    ledger.finish(trial, measured(at))
    trial, at = ledger.begin(point("a", 1, 1), 0)
    assert at == point("b", 1, 1)
    ledger.finish(trial, measured(at))
    assert ledger.begin(point("a", 1, 1), 0)[1] == point("a", 1, 1)
    assert [t.state.name for t in load(tmp_path).get_trials()] == ["COMPLETE", "COMPLETE", "RUNNING"]


def test_an_enqueued_category_off_the_axis_fails_and_stops_no_worker(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    load(tmp_path).enqueue_trial(point("no such model"))
    _, at = ledger.begin(point("a"), 0)
    assert at == point("a")
    bad, good = load(tmp_path).get_trials()
    assert (bad.state, good.state) == (TrialState.FAIL, TrialState.RUNNING)
    assert "no such model" in bad.user_attrs["reason"]


def test_two_processes_at_one_point_know_who_was_first(tmp_path: Path) -> None:
    first, second, grid = open_ledger(tmp_path), open_ledger(tmp_path), full_grid(AXES)
    row = grid.find(point())
    (a, _), (b, _) = first.begin(point(), 0), second.begin(point(), 0)
    of_first, of_second = first.observations(grid), second.observations(grid)
    first.refresh(of_first, before=a)
    second.refresh(of_second, before=b)
    assert row not in of_first.pending and of_second.pending == {row}
    second.abandon(b, "not first")
    first.finish(a, measured(point()))
    second.refresh(of_second)
    assert of_second.measured[row] and not of_second.pending
    assert (of_second.finished, of_second.failures) == (1, 0)
    second.refresh(of_second)
    assert [run.number for run in of_second.runs] == [a.number, b.number]  # each once


def test_missing_things_are_reported_in_one_line(tmp_path: Path) -> None:
    for url, said in ((storage(tmp_path), "does not exist"), ("sqlite:///" + str(tmp_path), "cannot open")):
        with pytest.raises(StudyError, match=said) as refusal:
            Ledger.existing(url, "study", AXES, ("latency_ms",))
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "study.db").exists()
    open_ledger(tmp_path)
    with pytest.raises(StudyError, match="no study 'other'"):
        Ledger.existing(storage(tmp_path), "other", AXES, ("latency_ms",))


def test_a_text_file_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("not a database, though it is long enough to be taken for one" * 20)
    with pytest.raises(StudyError, match=r"study\.storage: cannot open") as refusal:
        open_ledger(tmp_path)
    assert "\n" not in str(refusal.value)
