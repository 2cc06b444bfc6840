"""Folders and tables of vLLM's sweeps: which settings a run has, wherever the sweep wrote them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from planner.importers.importer import Source
from planner.importers.registry import OURS, format_of, read_rows
from planner.importers.rows import Row
from planner.importers.vllm_names import named_parameters, parameters_of
from planner.space.types import StudyError, Value

DATA = Path(__file__).parents[1] / "data/importers"
SWEEPS = ("vllm_sweep", "vllm_sweep_parameters", "vllm_sweep_workload")
ALWAYS = {"request_rate": "inf", "model": "tiny", "input_len": 16, "output_len": 4}


def read(path: Path) -> list[Row]:
    return OURS["vllm-sweep"].read(path, path.name, {}, {})


def identity(row: Row) -> str:
    return row.provenance.identity


def settings(rows: list[Row]) -> list[Mapping[str, Value]]:
    return [row.fields for row in rows]


def test_every_parameter_of_a_sweep_is_a_setting() -> None:
    """A setting that only one combination has is absent in the other, not equal."""
    plain, drafted = settings(read(DATA / "vllm_sweep_parameters"))
    assert plain == {**ALWAYS, "max_concurrency": 2, "max_num_seqs": 4, "enable_prefix_caching": False,
                     "block_size": 16}
    assert drafted == {**ALWAYS, "max_concurrency": 2, "max_num_seqs": 4, "enable_prefix_caching": True,
                       "compilation_config.mode": 3,
                       "speculative_config": '{"method": "ngram", "num_speculative_tokens": 3}'}


def test_a_parameter_that_nobody_knows_is_one_all_the_same(tmp_path: Path) -> None:
    shutil.copytree(DATA / "vllm_sweep_workload", tmp_path / "s")
    file = next((tmp_path / "s").rglob("run=0.json"))
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "brand_new_size": 7, "seed": 3}))
    assert read(tmp_path / "s")[0].fields["brand_new_size"] == 7
    # Sorted by name, the place says nothing, and a number under an unknown name has no meaning.
    file.write_text(json.dumps({**record, "z_new_size": 7}, sort_keys=True))
    (row, _) = read(tmp_path / "s")
    assert row.fields == {**ALWAYS, "block_size": 16, "max_concurrency": 1} and row.others["z_new_size"] == 7


def test_workload_exploration() -> None:
    assert settings(read(DATA / "vllm_sweep_workload")) == [
        {**ALWAYS, "block_size": 16, "max_concurrency": limit} for limit in (1, 4)]


def test_the_first_sweeps_wrote_the_benchmarks_parameters_into_names_only() -> None:
    rows = read(DATA / "vllm_serve_multi")
    assert settings(rows) == [{"request_rate": "inf", "model": "facebook/opt-125m", "max_num_seqs": 4, "dtype": "half",
                               "temperature": heat, "input_len": "32", "output_len": "8"}
                              for heat in ("0.5", "0.5", "1.0", "1.0")]
    assert [row.metrics["tpot_ms"] for row in rows] == [(9.0,), (10.0,), (10.0,), (11.0,)]
    assert rows[0].run == rows[1].run != rows[2].run
    file = next((DATA / "vllm_serve_multi").rglob("run=0.json"))  # one file alone has the same settings
    assert read_rows(file, "auto", {}, {})[0].fields["temperature"] in {"0.5", "1.0"}


@pytest.mark.parametrize(("folder", "found"), [
    ("SERVE--a=1-b=2-BENCH--c=3", {"a": "1", "b": "2", "c": "3"}),
    ("SERVE--max-num-seqs=4-max-model-len=64", {"max_num_seqs": "4", "max_model_len": "64"}),
    ("BENCH--model=meta-llama_Llama-3.1-8B-dtype=half", {"model": "meta-llama_Llama-3.1-8B", "dtype": "half"}),
    ("SERVE--compilation_config.mode=3-WL--request_rate=8", {"compilation_config.mode": "3", "request_rate": "8"}),
    ("SERVE-tp=2-BENCH-x=-1-SLA-p99_ttft_ms<=200.00", {"tp": "2", "x": "-1"}),
    ("SERVE--quantization=None-seed=1", {"seed": "1"}), ("BENCH--good", {}), ("results-a=1", {}), ("SERVE--=", {}),
])
def test_names_of_folders(tmp_path: Path, folder: str, found: dict[str, str]) -> None:
    path = tmp_path / folder / "run=0.json"
    assert named_parameters({"run_number": 0}, path) == found
    assert named_parameters({"run_number": 0}, tmp_path / folder / "request_rate=5" / "run=0.json") == (
        {**found, "request_rate": "5"})  # the inner folder is the nearer one
    # What the file says counts, and a combination with a name of its own has none of parameters.
    assert named_parameters({"run_number": 0, **dict.fromkeys(found)}, path) == {}
    assert named_parameters({"run_number": 0, "_benchmark_name": "a=1"}, path) == {}
    assert named_parameters({}, path) == {}


def test_parameters_follow_the_runs_number() -> None:
    assert parameters_of({"total_input_tokens": 1, "run_number": 0, "b": 1, "a": 2}) == ["b", "a"]
    assert parameters_of({"run_number": 0, "total_input_tokens": 1, "z": 2}) == [] == parameters_of({"a": 1})


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_summary_alone_says_the_same(sweep: str, tmp_path: Path) -> None:
    """The same readings as of the folder: importing both adds nothing."""
    alone = tmp_path / "mine.csv"
    shutil.copy(DATA / sweep / "summary.csv", alone)
    assert format_of(alone) == "vllm-sweep"
    rows, whole = read(alone), read(DATA / sweep)
    assert {identity(row) for row in rows} == {identity(row) for row in whole}
    for row, same in zip(sorted(rows, key=identity), sorted(whole, key=identity), strict=True):
        assert (row.fields, row.others, row.metrics, row.seconds, row.counts) == (
            same.fields, same.others, same.metrics, same.seconds, same.counts)
    (tmp_path / "shared").mkdir()
    shutil.copy(alone, tmp_path / "shared/summary.csv")
    assert format_of(tmp_path / "shared") == "vllm-sweep" and len(read(tmp_path / "shared")) == len(rows)


def test_what_the_user_attached_is_a_setting_in_the_summary_too(tmp_path: Path) -> None:
    """A table has forgotten that --metadata gives text: 4 looks like a number there."""
    lines = (DATA / "vllm_sweep_summary.csv").read_text().splitlines()
    header, *runs = lines
    header = header.replace(",num_prompts,", ",num_prompts,racks,num_gpus,")
    (tmp_path / "s.csv").write_text("\n".join(
        [header, *(line.replace(",tiny,model,4,", ",tiny,model,4,3,8,") for line in runs)]))
    rows = read(tmp_path / "s.csv")
    assert [row.fields["racks"] for row in rows] == [3] * 8 and {row.accelerators for row in rows} == {8}


def test_a_summary_with_long_cells(tmp_path: Path) -> None:
    """All latencies of a run are one cell, longer than the csv module allows by itself."""
    header, first = (DATA / "vllm_sweep_summary.csv").read_text().splitlines()[:2]
    start, end = first.index('"['), first.index(']"')
    (tmp_path / "s.csv").write_text(f'{header}\n{first[:start]}"[{", ".join(["0.0123456789"] * 20_000)}{first[end:]}\n')
    (row,) = read(tmp_path / "s.csv")
    assert row.metrics["ttft_ms"] == (19.440076999671874,)


@pytest.mark.parametrize(("change", "says"), [
    (lambda text: text[:900], "not a whole table"), (lambda text: text.replace("run_number", "run", 1), "summary.csv"),
    (lambda text: text.splitlines()[0], "no rows"), (lambda text: text[:0], "was it cut off"),
    (lambda text: text.replace(",4,0,64,", ",x,0,64,", 1), "row 1: completed is 'x'"),
])
def test_a_broken_summary(tmp_path: Path, change: Any, says: str) -> None:
    (tmp_path / "s.csv").write_text(change((DATA / "vllm_sweep_summary.csv").read_text()))
    with pytest.raises(StudyError, match=says) as refused:
        read(tmp_path / "s.csv")
    assert str(refused.value).startswith("s.csv")


def test_a_table_of_anybody_is_no_summary(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("date,duration,completed,request_throughput\n1,2,3,4\n")
    assert not OURS["vllm-sweep"].recognises(Source(tmp_path / "t.csv")) and format_of(tmp_path / "t.csv") == "table"


def test_a_failure_that_a_later_run_replaced_is_none(tmp_path: Path) -> None:
    shutil.copytree(DATA / "vllm_sweep_failures", tmp_path / "s")
    (failed,) = (tmp_path / "s").rglob("run=0.failure.json")
    before = [row for row in read(tmp_path / "s") if "ended with" in row.failure]
    assert [(row.fields, row.others) for row in before] == [
        ({"max_concurrency": -1, "input_len": 16, "output_len": 4}, {"random_input_len": 16, "random_output_len": 4})]
    shutil.copy(tmp_path / "s/BENCH--good/run=0.json", failed.with_name("run=0.json"))
    assert not [row for row in read(tmp_path / "s") if "ended with" in row.failure]
