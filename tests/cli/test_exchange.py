"""import, and export for other tools, through the command line."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from planner.campaign.setup import open_setup
from planner.ledger.ledger import Ledger

Call = Callable[..., Any]
DATA = Path(__file__).parents[1] / "data/importers"


def serving(folder: Path, **changes: Any) -> Path:
    """A study of a server, of which nothing has been measured."""
    study = folder / "serving.yaml"
    axes = {"max_num_seqs": {"values": [2, 4], "scope": "engine", "scale": "log"},
            "input_len": {"values": [16, 32], "scale": "log"}, "output_len": {"values": [4, 8], "scale": "log"},
            "max_concurrency": {"values": [1, 2, 4], "scale": "log"}}
    study.write_text(yaml.safe_dump({
        "study": {"name": "serving", "storage": f"sqlite:///{folder / 'serving.db'}"},
        "space": {"axes": changes.get("axes", axes)},
        "runner": changes.get("runner", {"kind": "command", "command": [sys.executable, "-c", "print()"]}),
        "targets": changes.get("targets", ["ttft_ms", "tpot_ms"]), "stop": {"trials": 30}}, sort_keys=False))
    return study


def refused(ran: Any, *said: str) -> None:
    assert ran.code == 2 and not ran.out, ran
    assert len(ran.err.strip().splitlines()) == 1 and all(text in ran.err for text in said), ran.err


def test_an_old_sweep_is_a_model_without_a_run(
    tmp_path: Path, sweepwise: Call, answer: Call, trials: Call
) -> None:
    study = serving(tmp_path)
    dry = answer("import", study, DATA / "vllm_sweep", "--dry-run")
    assert (dry["runs"], dry["points"], dry["known"]) == (4, 4, 0) and not (tmp_path / "serving.db").exists()
    said = answer("import", study, DATA / "vllm_sweep")
    assert (said["rows"], said["runs"], said["points"], said["failed"]) == (8, 4, 4, 0)
    recorded = trials(f"sqlite:///{tmp_path / 'serving.db'}", "serving")
    assert [trial.state.name for trial in recorded] == ["COMPLETE"] * 4
    runs = sorted((DATA / "vllm_sweep").rglob("run=*.json"))
    for trial in recorded:
        origin, measurement = trial.user_attrs["imported"], trial.user_attrs["measurement"]
        assert origin["format"] == "vllm-sweep" and measurement["environment"] == f"imported-{origin['sha256'][:12]}"
        name = "SERVE--max_num_seqs={max_num_seqs}-BENCH--random_input_len={input_len}-" \
               "random_output_len={output_len}-max_concurrency={max_concurrency}".format(**trial.params)
        written = [json.loads(path.read_text()) for path in runs if path.parent.name == name]
        assert measurement["readings"][0]["metrics"]["ttft_ms"] == [run["median_ttft_ms"] for run in written]
        assert measurement["cost"]["measure_s"] == pytest.approx(sum(run["duration"] for run in written))
        assert trial.values == pytest.approx([np.median([run[f"median_{m}_ms"] for run in written])
                                              for m in ("ttft", "tpot")])
    state = answer("status", study)
    assert (state["runs"], state["points_measured"], state["failed"]) == (4, 4, 0)
    assert state["cost_s"] == pytest.approx(said["cost_s"])
    sweepwise("predict", study, "-o", tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    assert len(table) == 24 and (table["source"] == "measured").sum() == 4 and table["ttft_ms"].notna().all()


def test_the_same_twice_adds_nothing(tmp_path: Path, sweepwise: Call, answer: Call) -> None:
    study = serving(tmp_path)
    one = next((DATA / "vllm_sweep").rglob("summary.json"))
    assert answer("import", study, one)["runs"] == 1
    said = answer("import", study, DATA / "vllm_sweep")  # the same runs once more, and those of three points
    assert (said["known"], said["runs"]) == (2, 3)
    again = sweepwise("import", study, DATA / "vllm_sweep")
    assert again.code == 0 and "nothing new, nothing added" in again.out
    assert "8 rows are in the study already" in again.out
    copy = tmp_path / "copy.json"
    copy.write_bytes(one.read_bytes())
    assert answer("import", study, copy)["known"] == 2
    sweepwise("discard", study, 0)
    assert answer("import", study, DATA / "vllm_sweep")["runs"] == 1  # what was taken back may be imported anew


def test_run_goes_on_where_the_import_ends(bench: Call, answer: Call, tmp_path: Path) -> None:
    """Only new points are measured, and what runs now need not be what measured then."""
    small = bench(stop={"trials": 99})
    table = tmp_path / "old.csv"
    known = small.points[:7]
    table.write_text("input_len,batch_size,ms\n" + "".join(
        f"{p['input_len']},{p['batch_size']},{2 + p['input_len'] * p['batch_size'] / 100}\n" for p in known))
    said = answer("import", small.study, table, "--map", "latency_ms=ms")
    assert said["runs"] == 7 and said["cost_s"] == 0 and any("cost" in note for note in said["notes"])
    state = answer("run", small.study)
    assert state["stopped"] == "grid" and state["runs"] == len(small.points)
    executed = small.executions()
    assert len(executed) == len(small.points) - 7
    assert not set(executed) & {(p["input_len"], p["batch_size"]) for p in known}
    assert answer("import", small.study, table, "--map", "latency_ms=ms")["known"] == 7


def test_a_malformed_file_leaves_nothing_half_imported(tmp_path: Path, sweepwise: Call) -> None:
    study = serving(tmp_path)
    (tmp_path / "bad.json").write_text('{"duration": 1, "completed"')
    refused(sweepwise("import", study, DATA / "vllm_sweep", tmp_path / "bad.json"), "bad.json", "--format")
    refused(sweepwise("import", study, DATA / "vllm_serve.json", tmp_path / "bad.json", "--format", "vllm-bench"),
            "bad.json: is not whole JSON")
    assert not (tmp_path / "serving.db").exists()
    rows = ["max_num_seqs,input_len,output_len,max_concurrency,ttft_ms,tpot_ms", "2,16,4,1,5,1", "2,16,4,2,5"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    refused(sweepwise("import", study, tmp_path / "t.csv"), "t.csv line 3", "has 5 cells")
    assert not (tmp_path / "serving.db").exists()


def test_an_import_that_was_cut_short_is_completed_by_the_same_again(
    tmp_path: Path, sweepwise: Call, answer: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, whole = serving(tmp_path), Ledger.add

    def add(ledger: Ledger, *arguments: Any) -> int:
        if len(ledger.study.get_trials()) == 3:
            raise KeyboardInterrupt
        return whole(ledger, *arguments)

    monkeypatch.setattr(Ledger, "add", add)
    assert sweepwise("import", study, DATA / "vllm_sweep").code == 130
    monkeypatch.undo()
    said = answer("import", study, DATA / "vllm_sweep")
    assert (said["known"], said["runs"]) == (6, 1) and answer("status", study)["points_measured"] == 4


@pytest.mark.parametrize(("arguments", "says"), [
    (["vllm_latency.json"], ["vllm_latency.json result 1: no max_num_seqs", "--set max_num_seqs=VALUE"]),
    (["aiperf.json", "--set", "max_num_seqs=3"], ["--set max_num_seqs: 3 is not on the axis; its values are 2, 4"]),
    (["aiperf.json", "--set", "max_num_seqs=2", "--map", "input_len=isl"], ["--map input_len: no row has 'isl'"]),
    (["aiperf.json", "--set", "max_num_seqs"], ["--set: cannot read 'max_num_seqs'"]),
    (["aiperf.json", "--format", "aipref"], ["--format: unknown format 'aipref'; did you mean 'aiperf'?"]),
    (["aiperf.json", "--format", "guidellm"], ["aiperf.json", "not a GuideLLM report"]),
    (["none.json"], ["none.json: there is no such file or folder"]),
    (["vllm_sweep_failures", "--set", "max_num_seqs=2"],
     ["max_concurrency off the axis: -1 is not one of 1, 2, 4", "2 of 3 rows", "--skip-unknown"]),
    (["vllm_sweep", "--where", "max_num_seq == 2"], ["--where: unknown name 'max_num_seq'"]),
    (["vllm_sweep", "--where", "max_num_seqs > 4"], ["--where: no row meets"]),
])
def test_what_cannot_be_placed_is_refused(
    tmp_path: Path, sweepwise: Call, arguments: list[str], says: list[str]
) -> None:
    refused(sweepwise("import", serving(tmp_path), DATA / arguments[0], *arguments[1:]), *says)
    assert not (tmp_path / "serving.db").exists()


def test_or_left_out_and_counted(tmp_path: Path, answer: Call) -> None:
    said = answer("import", serving(tmp_path), DATA / "vllm_sweep_failures", "--set", "max_num_seqs=2",
                  "--skip-unknown")
    assert said["runs"] == 1 and sum(said["skipped"].values()) == 2
    assert set(said["skipped"]) == {"max_concurrency off the axis", "input_len off the axis"}


def test_failed_requests_are_a_failed_run(tmp_path: Path, answer: Call, trials: Call) -> None:
    axes = {"random_input_len": {"values": [16, 700], "scale": "log"}, "max_concurrency": {"values": [-1, 1]}}
    axes["max_concurrency"]["role"] = []
    study = serving(tmp_path, axes=axes)
    said = answer("import", study, DATA / "vllm_sweep_failures")
    assert (said["runs"], said["failed"], said["points"]) == (3, 2, 1)
    ends = {tuple(t.params.values()): t.state.name for t in trials(f"sqlite:///{tmp_path / 'serving.db'}", "serving")}
    assert ends == {(16, 1): "COMPLETE", (700, 1): "FAIL", (16, -1): "FAIL"}


def test_what_differs_and_is_no_axis_is_refused(tmp_path: Path, sweepwise: Call, answer: Call) -> None:
    """Else two engines would pass for repeats of one."""
    axes = {"input_len": {"values": [16, 32]}, "output_len": {"values": [4]}}
    study = serving(tmp_path, axes=axes)
    refused(sweepwise("import", study, DATA / "vllm_sweep"), "max_num_seqs is 4 here and 2 in rows before", "--where")
    said = answer("import", study, DATA / "vllm_sweep", "--where", "max_num_seqs == 2")
    assert (said["runs"], said["points"]) == (2, 2)


def test_what_the_studys_runner_fixes_must_agree(tmp_path: Path, sweepwise: Call, answer: Call) -> None:
    axes = {"input_len": {"values": [1024]}, "output_len": {"values": [1, 128]}, "batch_size": {"values": [1]}}
    runner = {"kind": "vllm", "model": "other", "tensor_parallel_size": 1}
    study = serving(tmp_path, axes=axes, runner=runner, targets=["e2el_ms"])
    refused(sweepwise("import", study, DATA / "fmwork.log"), "fmwork.log line 26: model is meta-llama", "other")
    refused(sweepwise("import", study, DATA / "fmwork.log", "--set", "model=other"), "--set model", "no axis")
    said = answer("import", study, DATA / "fmwork.log", "--ignore", "model")
    assert (said["runs"], said["points"]) == (2, 2)
    assert said["cost_s"] == pytest.approx(65.255954 + 6.835927 + 4.698824, rel=1e-4)


def test_fmworks_names_find_the_axes(tmp_path: Path, answer: Call, sweepwise: Call) -> None:
    """And a target that no file gives is named; --map makes it of those that are there."""
    axes = {"isl": {"values": [1024], "role": "input_tokens"}, "oo": {"values": [1, 128], "role": "output_tokens"},
            "bb": {"values": [1, 2], "role": "batch"}, "model": {"values": ["meta-llama/Llama-3.1-8B-Instruct/main"]}}
    study = serving(tmp_path, axes=axes, targets=["ttft_ms", "latency_s"])
    refused(sweepwise("import", study, DATA / "fmwork.log"), "no target: none of ttft_ms, latency_s", "batch_ttft_ms")
    said = answer("import", study, DATA / "fmwork.log", "--map", "ttft_ms=batch_ttft_ms", "--map",
                  "latency_s=e2el_ms / 1000")
    assert said["runs"] == 2
    subject = open_setup(study)
    observations = subject.ledger().observations(subject.grid)
    assert observations.grid.column("bb")[observations.measured].tolist() == [1, 1]
    at = dict(zip(observations.grid.column("oo")[observations.measured],
                  observations.column("latency_s")[observations.measured], strict=True))
    assert at == pytest.approx({1: 0.027379, 128: 0.917445}, rel=1e-4)


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("trajectory", [None, "output_len"])
def test_an_export_comes_back_as_it_was(
    recorded: Call, sweepwise: Call, answer: Call, tmp_path: Path, ending: str, trajectory: str | None
) -> None:
    runner = {"repeats": 2} | ({"trajectory": trajectory, "repeat": "repeat"} if trajectory else {})
    small = recorded(models=("large",), inputs=(128, 2048), outputs=(16, 256), batches=(1, 2, 64), runner=runner,
                     targets=("latency_s", "ttft_ms"))
    sweepwise("run", small.study, "--strategy", "full", "--quiet")
    path = tmp_path / f"all.{ending}"
    sweepwise("export", small.study, "-o", path)
    other = f"sqlite:///{tmp_path / 'other.db'}"
    answer("import", small.study, path, "--storage", other)
    study = open_setup(small.study)
    before = study.ledger().observations(study.grid)
    after = open_setup(small.study, storage=other).ledger().observations(study.grid)
    assert before.failures and before.failures == after.failures
    for name in ("measured", "failed", "run_of", "seconds"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)
    # Without a trajectory the replay takes the table's column `repeat` for a metric; an export has one of its own.
    assert set(before.metrics) - {"repeat"} == set(after.metrics) >= {"latency_s", "ttft_ms", "throughput"}
    for metric in after.metrics:
        assert dict(before.repeats(metric)) == dict(after.repeats(metric))
    assert before.spent == pytest.approx(after.spent) and before.engine_starts() == after.engine_starts()
    assert [run.point for run in before.runs] == [run.point for run in after.runs]


def test_json_lines_hold_what_the_csv_holds(recorded: Call, sweepwise: Call, tmp_path: Path) -> None:
    small = recorded(models=("large",), inputs=(2048,), batches=(1, 64))
    sweepwise("run", small.study, "--strategy", "full", "--quiet")
    sweepwise("export", small.study, "-o", tmp_path / "m.csv")
    sweepwise("export", small.study, "-o", tmp_path / "m.jsonl")
    table = pd.read_csv(tmp_path / "m.csv")
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert len(lines) == len(table) and "NaN" not in (tmp_path / "m.jsonl").read_text()
    for line, (_, row) in zip(lines, table.iterrows(), strict=True):
        assert line == {key: value for key, value in row.items() if not pd.isna(value)}


# --------------------------------------------------------------------------------------------- what to measure next


def pairs(folder: Path) -> list[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    return [(json.loads(path.read_text()), json.loads((folder / path.name.replace("serve", "bench")).read_text()))
            for path in sorted(folder.glob("serve-*.json"))]


@pytest.mark.parametrize("imported", [False, True])
def test_next_points_as_parameters_of_vllms_sweep(tmp_path: Path, answer: Call, imported: bool) -> None:
    study = serving(tmp_path)
    if imported:
        answer("import", study, DATA / "vllm_sweep")
    said = answer("export", study, "--format", "vllm-sweep", "--next", 9, "-o", tmp_path / "next")
    asked = {tuple(point.values()) for point in said["points"]}
    assert len(said["points"]) == len(asked) == 9
    swept = []
    for serve, bench in pairs(tmp_path / "next"):
        assert len(serve) == 1 and set(serve[0]) == {"max_num_seqs"}
        swept += [{**one, **other} for one in serve for other in bench]  # the cross product that vLLM makes
    assert {(p["max_num_seqs"], p["random_input_len"], p["random_output_len"], p["max_concurrency"])
            for p in swept} == asked and len(swept) == 9
    if imported:
        measured = {(s, i, 4, 2) for s in (2, 4) for i in (16, 32)}
        assert not asked & measured
    again = answer("export", study, "--format", "vllm-sweep", "--next", 9, "-o", tmp_path / "again")
    assert again["points"] == said["points"]


def test_next_points_that_vllm_cannot_run(recorded: Call, sweepwise: Call, answer: Call, tmp_path: Path) -> None:
    small = recorded(batches=(1, 2, 64))
    arguments = ["export", small.study, "--format", "vllm-sweep", "-o", tmp_path / "next"]
    refused(sweepwise(*arguments), "space.axes.batch_size", "no static batches", "--map batch_size=max_concurrency")
    said = answer(*arguments, "--map", "batch_size=max_concurrency", "--next", 5)
    assert len(said["points"]) == 5
    for serve, bench in pairs(tmp_path / "next"):
        assert set(serve[0]) == {"model"}
        assert all(set(one) == {"random_input_len", "random_output_len", "max_concurrency"} for one in bench)
    refused(sweepwise(*arguments, "--map", "batch_size=max_concurrency"), "earlier export")
    refused(sweepwise(*arguments[:-1], tmp_path / "file.json"), "--output", "name a folder")
    refused(sweepwise("export", small.study, "--format", "vllm"), "--format: unknown format 'vllm'")


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_reads_the_parameters(tmp_path: Path, answer: Call) -> None:
    """vLLM's own reader, and the command lines that it would run."""
    study = serving(tmp_path)
    answer("export", study, "--format", "vllm-sweep", "--next", 3, "-o", tmp_path / "next")
    package = importlib.util.find_spec("vllm")
    assert package is not None and package.origin is not None
    reader = Path(package.origin).parent / "benchmarks/sweep/param_sweep.py"  # alone: vLLM itself takes seconds to load
    spec = importlib.util.spec_from_file_location("param_sweep", reader)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    serve, bench = tmp_path / "next/serve-1.json", tmp_path / "next/bench-1.json"
    first, *rest = [" ".join(item.apply_to_cmd(["vllm"])) for path in (serve, bench)
                    for item in module.ParameterSweep.read_json(path)]
    given = json.loads(bench.read_text())
    assert first == f"vllm --max-num-seqs {json.loads(serve.read_text())[0]['max_num_seqs']}"
    assert rest == [f"vllm --random-input-len {p['random_input_len']} --random-output-len {p['random_output_len']} "
                    f"--max-concurrency {p['max_concurrency']}" for p in given]
