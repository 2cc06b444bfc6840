"""Old studies and tables as priors: placed, learned, used, named; never measured, and refused in one line."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import planner
from planner.cli.app import app
from planner.space.types import StudyError

LENGTHS, BATCHES, MODELS = (128, 256, 512, 1024, 2048), (1, 2, 4, 8, 16, 32), ("a", "b")
AXES: dict[str, Any] = {
    "model": {"scale": "category", "scope": "engine"}, "input_len": {"scale": "log"}, "batch_size": {"scale": "log"}}


def latency(model: str, length: int, batch: int, factor: float = 1.0) -> float:
    bump = 1.6 if 4 <= batch <= 8 and length >= 512 else 1.0  # what few runs do not show
    return factor * bump * (2.0 if model == "b" else 1.0) * (0.2 + 0.004 * length * math.sqrt(batch))


def write_table(
    path: Path, factor: float, models: Sequence[str] = MODELS, lengths: Sequence[int] = LENGTHS,
    names: tuple[str, ...] = ("model", "input_len", "batch_size", "latency_s"), more: str = "",
    value: Callable[..., float] = latency,
) -> Path:
    """A recorded table of all combinations; `more` is a column of one value, as in gpu=A100."""
    column, _, said = more.partition("=")
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([*names, *([column] if more else [])])
        for model, length, batch in itertools.product(models, lengths, BATCHES):
            row = [model, length, batch, value(model, length, batch, factor)]
            out.writerow([*row, *([said] if more else [])])
    return path


def study_file(
    path: Path, table: str, prior: list[dict[str, Any]] | dict[str, str], trials: int = 8, **axes: Any
) -> Path:
    path.write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{path.with_suffix('.db')}"},
        "space": {"axes": {**AXES, **axes}},
        "runner": {"kind": "replay", "table": table, "cost_s": "latency_s"},
        "targets": [{"metric": "latency_s", "direction": "minimize", "kind": "whole"}],
        "stop": {"trials": trials}, **({"prior": prior} if prior else {})}))
    return path


def errors(study: planner.Study) -> float:
    """Mean absolute percentage error of the points not measured, against the table of factor 1.3."""
    observations, posterior = study.posterior()
    truth = np.array([latency(str(point["model"]), int(point["input_len"]), int(point["batch_size"]), 1.3)
                      for point in map(study.grid.point, range(len(study.grid)))])
    rest = ~observations.known
    return float(np.mean(np.abs(posterior.prediction.value["latency_s"] / truth - 1)[rest]))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    write_table(tmp_path / "old.csv", 1.0)
    write_table(tmp_path / "new.csv", 1.3)
    return tmp_path


def test_last_releases_study_is_worth_many_runs(tables: Path) -> None:
    """The old study has measured part of its grid; the new one has a few runs of its own."""
    planner.open_study(study_file(tables / "old.yaml", "old.csv", [], trials=40)).run()
    alone = planner.open_study(study_file(tables / "alone.yaml", "new.csv", []))
    alone.run()
    helped = planner.open_study(study_file(tables / "helped.yaml", "new.csv", [{"study": "old.yaml"}]))
    helped.run()
    assert errors(helped) < 0.5 * errors(alone) and errors(helped) < 0.08

    status = helped.status()
    assert status.runs == 8 and status.points_measured == 8  # nothing of the prior is measured, or costs
    assert status.cost_s == pytest.approx(sum(run.measurement.cost.run_s for run in helped.observations().runs))
    told = status.to_json()
    assert told["priors"][0]["name"] == "old.yaml" and told["priors"][0]["points"] == 40
    assert told["priors"][0]["weights"]["latency_s"] > 0.5 and 0 < told["judges"]["latency_s"] <= 8


def test_a_table_of_another_device_is_named_by_set_and_map(tables: Path) -> None:
    """The table has other names for an axis and the metric, and was measured on one value of an axis of the study."""
    write_table(tables / "a100.csv", 1.0, names=("model", "isl", "batch_size", "seconds_it_took"))
    prior = [{"table": "a100.csv", "set": {"gpu": "A100"},
              "map": {"input_len": "isl", "latency_s": "seconds_it_took", "seconds": "seconds_it_took"}}]
    write_table(tables / "new.csv", 1.3, more="gpu=H100")
    study = planner.open_study(study_file(tables / "s.yaml", "new.csv", prior,
                                          gpu={"scale": "category", "scope": "engine"}))
    study.run()
    assert errors(study) < 0.08
    assert study.status().to_json()["priors"][0]["name"] == "a100.csv (gpu=A100)"


def test_values_that_only_one_side_has(tables: Path) -> None:
    """Lengths that the old table lacks are predicted by its surface; a model that it lacks is left to the runs."""
    write_table(tables / "part.csv", 1.0, models=("a", "c"), lengths=(128, 512, 2048, 4096))
    study = planner.open_study(study_file(tables / "s.yaml", "new.csv", [{"table": "part.csv"}]))
    (prior,) = study._setup.priors
    column = prior.quantities["latency_s"]
    model, length = study.grid.column("model"), study.grid.column("input_len")
    assert np.isnan(column.mean[model == "b"]).all() and np.isfinite(column.mean[model == "a"]).all()
    assert column.std[(model == "a") & (length == 256)].mean() > 2 * column.std[(model == "a") & (length == 512)].mean()
    study.run()
    assert study.status().runs == 8


def test_an_axis_that_only_the_new_study_has_is_said(tables: Path) -> None:
    study = planner.open_study(study_file(
        tables / "s.yaml", "twice.csv" if write_twice(tables / "twice.csv") else "", [{"table": "old.csv"}],
        eager={"scale": "category", "scope": "engine"}))
    assert any("says the same for every eager" in note for note in study.notes)
    study.run()


def write_twice(path: Path) -> bool:
    """A table with one more axis."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["model", "input_len", "batch_size", "eager", "latency_s"])
        for model, length, batch, eager in itertools.product(MODELS, LENGTHS, BATCHES, ("yes", "no")):
            out.writerow([model, length, batch, eager, latency(model, length, batch, 1.3 if eager == "no" else 1.5)])
    return True


@pytest.mark.parametrize(("entry", "said"), [
    ({}, "name one source"),
    ({"table": "old.csv", "study": "old.yaml"}, "name one source"),
    ({"table": "nowhere.csv"}, "there is no such file"),
    ({"study": "nowhere.yaml"}, "no such study file"),
    ({"table": "other.csv"}, "measured none of latency_s; name its metric by `map`"),
    ({"table": "old.csv", "storage": "sqlite:///x.db"}, "belong to `study`"),
    ({"study": "old.yaml", "storage": "postgresql://me:secret@host/db"}, "has a password"),
    ({"study": "old.yaml"}, "prior[0]: study.storage"),
    ({"table": "old.csv", "where": "colour == 1"}, "where"),
    ({"table": "strange.csv"}, "ran none of this study's categories; leave an axis out by `set`"),
])
def test_what_cannot_be_used_is_refused_in_one_line(tables: Path, entry: dict[str, Any], said: str) -> None:
    write_table(tables / "other.csv", 1.0, names=("model", "input_len", "batch_size", "watts"))
    write_table(tables / "strange.csv", 1.0, models=("c", "d"))
    study_file(tables / "old.yaml", "old.csv", [])
    path = study_file(tables / "s.yaml", "new.csv", [entry])
    found = CliRunner().invoke(app, ["validate", str(path)])
    message = str(found.exception) if found.exception is not None else found.output
    assert isinstance(found.exception, StudyError | SystemExit) and said in message and "secret" not in message
    assert message.strip().count("\n") == 0


@pytest.mark.parametrize("measured", [("ttft_ms",), ("tpot_ms",), ("output_throughput",), ("score",)])
def test_a_prior_may_lack_some_of_the_targets(tmp_path: Path, measured: tuple[str, ...]) -> None:
    """It ended in a traceback."""
    targets = ("ttft_ms", "tpot_ms", "output_throughput", "score")
    rows = [{"input_len": length, "output_len": 64, "batch_size": batch, "ttft_ms": length * 0.1 + batch,
             "tpot_ms": 5.0 + 0.1 * batch, "score": 0.5 + 0.01 * batch,
             "output_throughput": 6.4e4 * batch / (0.1 * length + batch + 63 * (5 + 0.1 * batch))}
            for length in (64, 128, 256) for batch in (1, 4, 16)]
    for name, kept in (("new.csv", targets), ("old.csv", measured)):
        with (tmp_path / name).open("w", newline="") as file:
            out = csv.DictWriter(file, ["input_len", "output_len", "batch_size", *kept], extrasaction="ignore")
            out.writeheader()
            out.writerows(rows)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({
        "study": {"storage": f"sqlite:///{tmp_path / 's.db'}"},
        "space": {"axes": {"input_len": {"scale": "log"}, "output_len": {}, "batch_size": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "new.csv", "cost_s": 1.0},
        "targets": [*targets[:3], {"metric": "score", "kind": "share", "direction": "maximize"}],
        "stop": {"trials": 5}, "prior": [{"table": "old.csv"}]}))
    study = planner.open_study(tmp_path / "s.yaml")
    study.run()
    (told,) = study.status().to_json()["priors"]
    assert told["points"] == 9 and measured[0] in told["weights"]


def test_a_study_is_no_prior_of_itself(tables: Path) -> None:
    """Its runs would count twice. A prior of the command line would be kept with it, too."""
    path = study_file(tables / "s.yaml", "new.csv", [], trials=3)
    assert CliRunner().invoke(app, ["run", str(path)]).exit_code == 0
    refused = CliRunner().invoke(app, ["run", str(path), "--prior", str(path)])
    assert isinstance(refused.exception, StudyError) and "is this study itself" in str(refused.exception)
    assert not planner.open_study(path).status().priors
    again = CliRunner().invoke(app, ["run", str(path), "--prior", str(path), "--name", "next"])
    assert again.exit_code == 0, again.output


def test_an_axis_that_varied_there_and_is_none_here_needs_a_choice(tables: Path) -> None:
    write_twice(tables / "twice.csv")
    old = study_file(tables / "old.yaml", "twice.csv", [], eager={"scale": "category", "scope": "engine"}, trials=30)
    planner.open_study(old).run()
    refused = planner.open_study(study_file(tables / "s.yaml", "new.csv", [{"study": "old.yaml"}]))
    with pytest.raises(StudyError, match="its axis 'eager' is none of this study's"):
        refused.run()
    chosen = planner.open_study(study_file(
        tables / "t.yaml", "new.csv", [{"study": "old.yaml", "where": "eager == 'no'"}]))
    chosen.run()
    assert chosen.status().priors[0].points < 30


def test_a_prior_of_the_command_line_stays_with_the_study(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study_file(tables / "s.yaml", "new.csv", [])
    monkeypatch.chdir(tables)
    first = CliRunner().invoke(app, ["run", str(path), "--prior", "old.csv", "--json", "status.json"])
    assert first.exit_code == 0, first.output
    assert "prior old.csv: 60 points measured there" in first.output and "judged by" in first.output
    told = json.loads((tables / "status.json").read_text())
    assert [prior["name"] for prior in told["priors"]] == ["old.csv"]
    later = planner.open_study(path)  # nothing is said of the prior here
    assert [prior.name for prior in later.status().priors] == ["old.csv"] and errors(later) < 0.08
    missing = CliRunner().invoke(app, ["run", str(path), "--prior", "nowhere.csv"])
    assert "--prior: there is no nowhere.csv" in str(missing.exception or missing.output)


def test_a_prior_that_contradicts_is_said_to_be_left_out(tables: Path) -> None:
    rng = np.random.default_rng(0)
    write_table(tables / "wrong.csv", 1.0, value=lambda *_: float(np.exp(3 * rng.standard_normal())))
    study = planner.open_study(study_file(tables / "s.yaml", "new.csv", [{"table": "wrong.csv"}], trials=20))
    study.run()
    assert study.status().priors[0].weights == {"latency_s": 0.0}
    alone = planner.open_study(study_file(tables / "alone.yaml", "new.csv", [], trials=20))
    alone.run()
    assert errors(study) < errors(alone) + 0.05
    shown = CliRunner().invoke(app, ["status", str(tables / "s.yaml")])
    assert "left out: it predicts the runs here worse than they predict one another" in " ".join(shown.output.split())


def test_all_of_ones_studies(tables: Path) -> None:
    """A database of old studies: what fits is used, what does not is said, and the study is no prior of itself."""
    planner.open_study(study_file(tables / "old.yaml", "old.csv", [], trials=40)).run()
    write_table(tables / "rough.csv", 1.0, value=lambda m, i, b, f: latency(m, i, b, f) * (1 + 0.8 * (b % 3)))
    planner.open_study(study_file(tables / "rough.yaml", "rough.csv", [], trials=40)).run()
    write_table(tables / "other.csv", 1.0, names=("model", "input_len", "batch_size", "latency_s"))
    (tables / "broken.db").write_text("no database")
    path = study_file(tables / "s.yaml", "new.csv", {"studies": "*.db"}, trials=16)  # one entry needs no list
    study = planner.open_study(path)
    study.run()
    used = {prior.name: prior.weights["latency_s"] for prior in study.status().priors}
    assert set(used) == {"old.db: old", "rough.db: rough"} and used["old.db: old"] > used["rough.db: rough"]
    assert errors(study) < 0.08
    path.write_text(path.read_text().replace("*.db", "nothing*.db"))
    with pytest.raises(StudyError, match="no file matches"):
        planner.open_study(path).status()


def test_simulations_have_the_baselines_of_a_prior(tables: Path) -> None:
    study = planner.open_study(study_file(tables / "s.yaml", "new.csv", [{"table": "old.csv"}]))
    names = ["sweepwise", "sweepwise-no_prior", "prior_as_is", "prior_scaled", "prior_axis"]
    answer = study.simulate(names, seeds=1, at_cost=[0.05]).answer
    found = {run["strategy"]: run["at"][0]["accuracy"] for run in answer["runs"]}
    assert found["prior_as_is"] == pytest.approx(1 - 0.3 / 1.3, abs=1e-6)
    assert found["prior_scaled"] == pytest.approx(1.0, abs=1e-6)
    assert found["sweepwise"] > found["sweepwise-no_prior"]
    bare = planner.open_study(study_file(tables / "bare.yaml", "new.csv", []))
    with pytest.raises(StudyError, match="needs a prior"):
        bare.simulate(["prior_scaled"], seeds=1, at_cost=[0.05])
