"""Readers fed with rubbish: numbers that a measurement can give come out, or one line that names the file."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.importers.registry import OURS, read_rows
from planner.space.types import StudyError

DATA = Path(__file__).parents[1] / "data/importers"
REAL = {"vllm_latency.json": "vllm-bench", "vllm_throughput.json": "vllm-bench",
        "vllm_serve_detailed.json": "vllm-bench", "aiperf.json": "aiperf", "guidellm_rate.json": "guidellm",
        "guidellm_0_2.json": "guidellm", "aiperf_0_1.json": "aiperf", "genai_perf_2024_05.json": "genai-perf",
        "llmperf/vllm_2/01-ai-Yi-1-5-34B-Chat_550_150_summary.json": "llmperf",
        "llmperf/vllm_2/01-ai-Yi-1-5-34B-Chat_550_150_individual_responses.json": "llmperf",
        "evalscope/parallel_2_number_12/benchmark_summary.json": "evalscope",
        "optimum_0_6_0/benchmark_report.json": "optimum-benchmark", "optimum_0_2_0/benchmark.json": "optimum-benchmark"}
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
               derandomize=True)
RUBBISH = st.one_of(
    st.none(), st.booleans(), st.text(max_size=20), st.just(math.nan), st.just(math.inf), st.just(-1.0), st.just(0),
    st.just(10**400), st.just([]), st.just({}), st.just([None]), st.just({"mean": "x"}), st.floats(), st.integers(),
    st.just("inf"), st.just("nan"))


def outcome(path: Path, form: str) -> str:
    """Read it; what was said where it was refused."""
    try:
        rows = read_rows(path, form, {}, {})
    except StudyError as error:
        said = str(error)
        assert said and "\n" not in said and path.name in said, said
        assert len(said) < 600, said
        return said
    for row in rows:
        values = [value for repeats in row.metrics.values() for value in repeats]
        assert all(type(value) is float and math.isfinite(value) for value in values)
        assert bool(values) != bool(row.failure) or row.provenance.format == "table"
        assert math.isfinite(row.seconds) and row.seconds >= 0 and math.isfinite(row.start_s)
        assert all(not isinstance(v, float) or math.isfinite(v) or (name, v) == ("request_rate", math.inf)
                   for name, v in row.fields.items())
        if row.provenance.format != "table":
            assert all(value >= 0 for value in values)
    return ""


def places(data: Any, path: tuple[Any, ...] = (), depth: int = 4) -> list[tuple[Any, ...]]:
    """Where something can be replaced, not too deep."""
    found = [path] if path else []
    items = data.items() if isinstance(data, dict) else enumerate(data[:3]) if isinstance(data, list) else ()
    for key, value in items if depth else ():
        found += places(value, (*path, key), depth - 1)
    return found


LOADED = {name: json.loads((DATA / name).read_text()) for name in REAL}
PLACES = {name: places(data) for name, data in LOADED.items()}


@FEW
@given(st.data())
@pytest.mark.parametrize("name", REAL)
def test_one_wrong_value_in_a_real_file(name: str, tmp_path: Path, data: st.DataObject) -> None:
    changed = copy.deepcopy(LOADED[name])
    *above, last = data.draw(st.sampled_from(PLACES[name]))
    node = changed
    for key in above:
        node = node[key]
    if data.draw(st.booleans()):
        node[last] = data.draw(RUBBISH)
    else:
        del node[last]
    path = tmp_path / Path(name).name
    path.write_text(json.dumps(changed))
    outcome(path, REAL[name])
    outcome(path, "auto")


@FEW
@given(st.data())
@pytest.mark.parametrize("name", REAL)
def test_a_file_that_was_cut_off_is_refused(name: str, tmp_path: Path, data: st.DataObject) -> None:
    whole = (DATA / name).read_bytes().rstrip()
    path = tmp_path / Path(name).name
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
    assert "not whole JSON" in outcome(path, REAL[name])
    assert outcome(path, "auto")


@FEW
@given(st.data())
def test_an_fmwork_log_with_one_wrong_word(tmp_path: Path, data: st.DataObject) -> None:
    lines = (DATA / "fmwork.log").read_text().splitlines()
    number = data.draw(st.sampled_from([i for i, line in enumerate(lines) if line.startswith("FMWORK")]))
    words = lines[number].split(" ")
    place = data.draw(st.integers(2, len(words) - 1)) if len(words) > 2 else 1
    words[place] = data.draw(st.sampled_from(["nan", "inf", "-1", "x", "1e999", "", "0", "9" * 400, "0.5"]))
    lines[number] = " ".join(words)
    path = tmp_path / "one.log"
    path.write_text("\n".join(lines))
    outcome(path, "fmwork")


@FEW
@given(st.one_of(
    st.binary(max_size=200), st.text(max_size=100).map(str.encode),
    st.recursive(RUBBISH, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["latencies", "avg_latency", "duration", "completed", "request_throughput", "benchmarks",
                         "metadata", "guidellm_version", "metrics", "config", "request_latency", "input_config",
                         "elapsed_time", "requests_per_second", "Succeed requests", "Failed requests",
                         "Average latency (s)", "num_concurrent_requests",
                         "results_num_completed_requests", "results_ttft_s_quantiles_p50", "ttft_s",
                         "end_to_end_latency_s", "inter_token_latency_s", "number_output_tokens", "report",
                         "latency", "memory", "throughput", "energy", "efficiency"]), inner, max_size=4), max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000), st.just(b"FMWORK RES"), st.just(b"FMWORK SETUP \nFMWORK GEN 1 2"), st.just(b"")))
@pytest.mark.parametrize("form", [form for form in ["auto", *OURS] if form != "vllm-sweep"])
def test_any_bytes(form: str, tmp_path: Path, content: bytes) -> None:
    for ending in (".json", ".csv"):
        path = tmp_path / f"rubbish{ending}"
        path.write_bytes(content)
        outcome(path, form)


def test_a_broken_run_of_a_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "BENCH--x"
    folder.mkdir(parents=True)
    (folder / "run=0.json").write_text((DATA / "vllm_serve.json").read_text())
    (folder / "run=1.json").write_text('{"duration": 1,')
    with pytest.raises(StudyError, match=r"sweep/BENCH--x/run=1\.json: is not whole JSON"):
        read_rows(tmp_path / "sweep", "auto", {}, {})
    with pytest.raises(StudyError, match="no such file or folder"):
        read_rows(tmp_path / "nothing", "auto", {}, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="--format"):
        read_rows(tmp_path / "empty", "auto", {}, {})
