"""The Python API: it does what the command line does, says the same, and prints nothing."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planner
from planner.campaign.observers import Observer
from planner.cli.app import app
from planner.space.text import as_json
from planner.views.comparison import comparison_json
from planner.views.decision import decision_json
from planner.views.isolated_latency import idealized_json
from tests.conftest import Bench, Ran, Recorded


class Told(Observer):
    """Records its notifications."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def begun(self, observations: Any) -> None:
        self.events.append("begun")

    def started(self, point: Any, observations: Any) -> None:
        self.events.append("started")

    def finished(self, run: Any, observations: Any) -> None:
        self.events.append("finished")

    def ended(self, reason: str, observations: Any) -> None:
        self.events.append(f"ended {reason}")


@pytest.fixture
def small(recorded: Callable[..., Recorded]) -> Recorded:
    """Metrics of every kind over 2 × 2 × 3 × 5 points."""
    return recorded(targets=("ttft_ms", "latency_s", "throughput"), inputs=(128, 512), batches=(1, 2, 4, 8, 16),
                    stop={"trials": 14})


@pytest.fixture
def study(small: Recorded, capfd: pytest.CaptureFixture[str]) -> Any:
    """That study, run once; nothing may have been printed."""
    opened = planner.open_study(small.study)
    opened.run()
    assert capfd.readouterr() == ("", "")
    return opened


def test_every_verb_has_its_method() -> None:
    """What a verb does, and where the API does it."""
    methods = {
        "init": planner.study_template, "validate": planner.open_study, "doctor": planner.installed,
        "plan": planner.Study.plan, "run": planner.Study.run, "status": planner.Study.status,
        "discard": planner.Study.discard, "predict": planner.Study.predict, "evaluate": planner.Study.evaluate,
        "recommend": planner.Study.recommend, "capacity": planner.Study.capacity,
        "idealize": planner.Study.idealize, "compare": planner.Study.compare,
        "report": planner.Study.report, "dashboard": planner.Study.dashboard, "import": planner.Study.import_files,
        "export": planner.Study.measurements, "simulate": planner.Study.simulate}
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands
             if command.callback is not None}
    assert set(methods) == verbs
    for method in methods.values():
        assert inspect.getdoc(method)


def test_the_api_says_what_the_command_line_says(
    small: Recorded, study: Any, answer: Callable[..., Any], tmp_path: Path
) -> None:
    """Each answer, as its verb writes it to --json."""

    def said(data: Any) -> Any:
        return json.loads(json.dumps(as_json(data)))

    asked = ["--slo", "latency_s <= 1", "--maximize", "throughput"]
    levels: dict[str, Any] = {"slo": ["latency_s <= 1"], "maximize": "throughput"}
    point = "model=small,input_len=128,output_len=64,batch_size=8"
    assert said(study.status().to_json()) == answer("status", small.study)
    assert said(study.plan().to_json()) == answer("plan", small.study)
    assert said(study.predict().to_dict(orient="records")) == answer("predict", small.study)
    assert said(study.predict([point]).to_dict(orient="records")) == answer("predict", small.study, "--point", point)
    assert said(study.evaluate(small.table).to_json()) == answer("evaluate", small.study, "--truth", small.table)
    assert said(decision_json(study.recommend(**levels), study.grid, 5)) == answer("recommend", small.study, *asked)
    assert said(idealized_json(study.idealize())) == answer("idealize", small.study)
    assert said(comparison_json(study.compare(study))) == answer("compare", small.study, small.study)
    made = study.report(baselines=False)
    assert said(made.to_json()) == answer("report", small.study, "--no-baselines", "-o", tmp_path / "r.html")
    found = study.next_points(3, names={"batch_size": "max_concurrency"})
    written = answer("export", small.study, "--format", "vllm-sweep", "--next", "3", "--map",
                     "batch_size=max_concurrency", "-o", tmp_path / "next")
    assert said(list(found.points)) == written["points"]
    shares = ["--strategies", "random", "--seeds", "1", "--at-cost", "0.2"]
    played = said(study.simulate(["random"], seeds=1, at_cost=[0.2]).to_json())
    shown = answer("simulate", small.study, *shares)
    for run in (*played["runs"], *shown["runs"]):
        run.pop("planner_s")
    assert played == shown


def test_points_are_text_or_mappings(study: Any) -> None:
    text = study.predict(["model=small,input_len=128,output_len=64,batch_size=8"])
    mapping = study.predict([{"model": "small", "input_len": 128, "output_len": 64, "batch_size": 8}])
    assert text.equals(mapping) and len(text) == 1
    with pytest.raises(planner.StudyError, match="'batch_size' is missing"):
        study.predict([{"model": "small", "input_len": 128, "output_len": 64}])


def test_a_run_tells_its_observer_and_returns_what_it_made(bench: Callable[..., Bench]) -> None:
    given, told = bench(stop={"trials": 5}), Told()
    study = planner.open_study(given.study)
    result = study.run(observer=told)
    assert result.reason == "trials" and result.succeeded and len(given.executions()) == 5
    assert told.events == ["begun", *["started", "finished"] * 5, "ended trials"]
    assert result.observations.finished == 5 and result.posterior is not None
    status = study.status(result)
    recorded = study.status()  # the record rounds the planner's seconds
    assert status.stopped == recorded.stopped == "trials" and status.accuracy == recorded.accuracy
    assert status.cost_s == pytest.approx(recorded.cost_s, abs=1e-4)


def test_a_run_stops_when_it_is_asked_to(bench: Callable[..., Bench]) -> None:
    given = bench(stop={"trials": 10})
    study = planner.open_study(given.study)
    assert study.run(stop_requested=lambda: len(given.executions()) >= 3).reason == "interrupted"
    assert len(given.executions()) == 3
    assert study.run(strategy="random").reason == "trials"  # and goes on
    assert len(given.executions()) == 10


def test_an_audit_measures_and_leaves_the_study_alone(bench: Callable[..., Bench]) -> None:
    given, told = bench(stop={"trials": 8}), Told()
    study = planner.open_study(given.study)
    study.run()
    found = study.audit(4, observer=told)
    assert found.kind == "audit" and found.scores["latency_ms"].points == 4
    assert told.events.count("finished") == len(given.executions()) - 8 > 4  # some of the study's own points too
    assert found.controls == len(given.executions()) - 12
    assert study.observations().finished == 8


def test_the_winner_is_measured_where_that_is_asked(bench: Callable[..., Bench]) -> None:
    given = bench(stop={"trials": 6})
    study = planner.open_study(given.study)
    study.run()
    before = study.recommend(minimize="latency_ms")
    assert before.verified is None
    answer = study.recommend(minimize="latency_ms", verify=True)
    assert answer.verified is not None and not answer.verified.interrupted
    assert all(case.measured[case.winner] for case in answer.cases)
    assert study.observations().finished == 6 + answer.verified.runs == len(given.executions())
    assert answer.verified.cost_s == pytest.approx(abs=1e-5, expected=sum(
        run.measurement.cost.accelerator_seconds + run.planner_s for run in study.observations().runs[6:]))


def test_measurements_go_from_study_to_study(study: Any, small: Recorded, tmp_path: Path) -> None:
    table = study.measurements()
    table.to_csv(tmp_path / "old.csv", index=False)
    other = planner.open_study(small.study, name="other")
    planned = other.import_table(tmp_path / "old.csv", dry_run=True)
    assert planned.dry_run and planned.runs == study.observations().finished
    with pytest.raises(planner.StudyError, match="no study 'other'"):
        other.status()
    added = other.import_files([tmp_path / "old.csv"])
    assert added.runs == planned.runs and added.points == int(study.observations().measured.sum())
    assert other.import_table(tmp_path / "old.csv").runs == 0  # each once
    for target in study.targets:
        np.testing.assert_allclose(other.observations().column(target), study.observations().column(target))
    other.discard(0, "bad")
    assert other.discarded() == {0: "bad"} and other.observations().finished == added.runs - 1
    assert list(study.measurements(["ttft_ms"]).columns)[-1] == "ttft_ms"


def test_a_value_that_files_do_not_say_may_be_a_number_or_its_text(study: Any, small: Recorded, tmp_path: Path) -> None:
    table = study.measurements()
    one = table[table["output_len"] == 16].drop(columns=["output_len", "run"])
    one.to_csv(tmp_path / "one.csv", index=False)
    for name, value in (("number", 16), ("text", "16")):
        other = planner.open_study(small.study, name=name)
        assert other.import_table(tmp_path / "one.csv", given={"output_len": value}).points > 0


def test_an_answer_follows_the_record(study: Any, small: Recorded, sweepwise: Callable[..., Ran]) -> None:
    """The posterior is computed once for the same runs, and again after another process has added or discarded some."""
    first = study.posterior()[1]
    assert study.posterior()[1] is first
    number = study.observations().runs[-1].number
    assert sweepwise("discard", small.study, number).code == 0
    assert study.posterior()[1] is not first
    assert study.status().runs == 13


def test_what_is_returned_is_frozen(study: Any) -> None:
    answers = [study.status(), study.plan(), study.recommend(maximize="throughput"), study.idealize(),
               study.compare(study), study.report(curves=False), study.overview(taken=()), study.next_points(
                   1, names={"batch_size": "max_concurrency"})]
    for answer in answers:
        field = dataclasses.fields(answer)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(answer, field, None)


def test_errors_are_one_line_and_say_what_to_do(small: Recorded, tmp_path: Path) -> None:
    with pytest.raises(planner.StudyError, match=r"nowhere\.yaml"):
        planner.open_study(tmp_path / "nowhere.yaml")
    study = planner.open_study(small.study)
    for ask in (study.status, study.predict, study.report, study.observations, lambda: study.audit(1)):
        with pytest.raises(planner.StudyError) as raised:
            ask()
        assert "`sweepwise run` creates it" in str(raised.value) and "\n" not in str(raised.value)
    assert study.plan().grid_points == len(study.grid)  # needs no record
    with pytest.raises(planner.StudyError, match=r"unknown strategy 'sweepwse'.*sweepwise"):
        study.run(strategy="sweepwse")


def test_numbers_that_make_no_sense_are_refused(study: Any) -> None:
    with pytest.raises(planner.StudyError, match=r"^audit: the number of points must be 1 or more \(not 0\)$"):
        study.audit(0)
    with pytest.raises(planner.StudyError, match=r"^plan: run_s must be a number of seconds"):
        study.plan(run_s=-1)


def test_a_comparison_answers_its_conditions(study: Any) -> None:
    found = study.compare(study, fail_if=["latency_s rises 500%", "throughput drops 99%"])
    assert [judgement.answer.value for judgement in found.judgements] == ["does not hold", "does not hold"]
    assert not found.held and found.changed == []


def test_an_outlook_tells_what_is_left(study: Any) -> None:
    outlook = study.outlook()
    observations = study.observations().prefix(7)
    assert outlook.left(observations) == pytest.approx(observations.spent)  # half of the runs are made
    assert outlook.limits.trials == 14 and outlook.grid_points == len(study.grid)
