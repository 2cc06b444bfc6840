"""GuideLLM as a client: the load as it is asked for, and the requests as it tells of them."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.importers.registry import read_rows
from planner.space.types import RunnerError, StudyError
from runners.serving.client import ClientError, LateError, Load, Target
from runners.serving.guidellm_client import GuideLLMClient
from tests.runners.serving.fake_tools import FakeTool, install

DATA = Path(__file__).parents[2] / "data"
TARGET = Target("http://localhost:8000", "tiny", "some/tokenizer")
CLOSED = Load(4, 2, math.inf, 1.0, 32, 8, 0.0, 2**31 + 5)
OPEN = replace(CLOSED, max_concurrency=None, request_rate=20.0)

WRITES = """
report = json.loads(pathlib.Path({report!r}).read_text())
pathlib.Path(json.loads(option("--output"))["path"]).write_text(json.dumps(report))
sys.exit({status})
"""


def report() -> dict[str, Any]:
    """A report as GuideLLM wrote it, with one benchmark and the requests of another."""
    written: dict[str, Any] = json.loads((DATA / "importers" / "guidellm.json").read_text())
    written["benchmarks"] = written["benchmarks"][:1]
    written["benchmarks"][0]["requests"] = json.loads((DATA / "serving" / "guidellm_requests.json").read_text())
    return written


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTool]:
    """Install a GuideLLM that writes a report and exits."""

    def put(status: int = 0, body: str | None = None, **changed: Any) -> FakeTool:
        written = {**report(), **changed}
        (tmp_path / "report.json").write_text(json.dumps(written))
        says = WRITES.format(report=str(tmp_path / "report.json"), status=status) if body is None else body
        return install(tmp_path, monkeypatch, "guidellm", says, "0.8.1")

    return put


# -------------------------------------------------------------------------------------------------------------- load


def asked(fake: FakeTool, load: Load) -> dict[str, Any]:
    """The options of a run, read as JSON."""
    GuideLLMClient().run(TARGET, load, 30)
    argv = fake.calls[-1]["argv"]
    assert argv[:2] == ["run", "--disable-console"] and len(argv) % 2 == 0
    return {name.removeprefix("--"): json.loads(value) for name, value in zip(argv[2::2], argv[3::2], strict=True)}


def test_a_closed_loop_keeps_its_streams_busy(fake: Callable[..., FakeTool]) -> None:
    tool = fake()
    options = asked(tool, CLOSED)
    assert options["profile"] == {"kind": "concurrent", "streams": [2]}
    assert options["constraint"] == {"kind": "max_requests", "count": 4}
    assert options["data"] == {"kind": "synthetic_text", "prompt_tokens": 32, "output_tokens": 8}
    assert options["seed"] == {"kind": "static", "value": 5}
    assert options["backend"] == {"kind": "openai_http", "target": "http://localhost:8000", "model": "tiny",
                                  "request_format": "/v1/completions"}
    assert options["tokenizer"] == {"kind": "huggingface_auto", "model": "some/tokenizer"}
    assert "GUIDELLM__MAX_WORKER_PROCESSES" not in tool.calls[-1]["env"]


def test_lengths_spread_as_vllms_do(fake: Callable[..., FakeTool]) -> None:
    data = asked(fake(), replace(CLOSED, range_ratio=0.3))["data"]
    assert (data["prompt_tokens_min"], data["prompt_tokens_max"]) == (22, 42)
    assert (data["output_tokens_min"], data["output_tokens_max"]) == (5, 11)


@pytest.mark.parametrize(("load", "profile", "processes"), [
    (replace(OPEN, burstiness=math.inf), {"kind": "constant", "rate": [20.0]}, None),
    (replace(OPEN, burstiness=math.inf, max_concurrency=3),
     {"kind": "constant", "rate": [20.0], "max_concurrency": 3}, None),
    (replace(OPEN, max_concurrency=3), {"kind": "poisson", "rate": [20.0], "max_concurrency": 3}, "1"),
])
def test_poisson_arrivals_with_a_limit_come_from_one_process(
    fake: Callable[..., FakeTool], load: Load, profile: dict[str, Any], processes: str | None
) -> None:
    """GuideLLM draws the same gaps in each of its processes."""
    tool = fake()
    options = asked(tool, load)
    assert options["profile"] == profile and options["constraint"]["count"] == 4
    assert options["data"]["kind"] == "synthetic_text"
    assert tool.calls[-1]["env"].get("GUIDELLM__MAX_WORKER_PROCESSES") == processes


@pytest.mark.parametrize("burstiness", [1.0, 0.3])
def test_our_arrivals_are_a_replay(fake: Callable[..., FakeTool], burstiness: float) -> None:
    tool = fake()
    options = asked(tool, replace(OPEN, burstiness=burstiness))
    assert options["profile"] == {"kind": "replay", "schedule_turn": "timestamp"}
    assert "GUIDELLM__MAX_WORKER_PROCESSES" not in tool.calls[-1]["env"]
    rows = [json.loads(line) for line in tool.calls[-1]["files"]["traffic.jsonl"].splitlines()]
    times = [row["timestamp"] for row in rows]
    assert times[0] == 0 and times[-1] == pytest.approx(150, abs=0.01)  # 4 requests at 20 a second
    assert len(set(np.diff(times).round(3))) == 3 and {row["input_length"] for row in rows} == {32}
    assert len({tuple(row["hash_ids"]) for row in rows}) == 4


def trace(folder: Path, n: int = 6) -> str:
    path = folder / "given.jsonl"
    path.write_text("".join(json.dumps({"timestamp": 250 * i, "input_length": 40 + i, "output_length": 5,
                                        "hash_ids": [2**45, 2**45 + 1 + i, 2**45 + 90], "block_tokens": 16}) + "\n"
                            for i in range(n)))
    return str(path)


def test_a_file_is_replayed_each_request_at_its_time(
    fake: Callable[..., FakeTool], tmp_path: Path
) -> None:
    tool = fake()
    options = asked(tool, replace(OPEN, dataset="trace", traffic=trace(tmp_path)))
    assert options["profile"] == {"kind": "replay", "schedule_turn": "timestamp"} and "constraint" not in options
    data = options["data"]
    assert (data["kind"], data["hash_id_block_size"], data["time_scale"]) == ("mooncake", 16, 0.001)
    rows = [json.loads(line) for line in tool.calls[-1]["files"]["traffic.jsonl"].splitlines()]
    assert [row["timestamp"] for row in rows] == [0, 250, 500, 750]
    assert [row["hash_ids"] for row in rows] == [[0, 1, 2], [0, 3, 2], [0, 4, 2], [0, 5, 2]]  # 32 bits are enough
    assert Path(data["source"]["path"]).name == "traffic.jsonl"


def test_a_closed_loop_takes_its_lengths_from_a_file(fake: Callable[..., FakeTool], tmp_path: Path) -> None:
    options = asked(fake(), replace(CLOSED, dataset="lognormal", traffic=trace(tmp_path)))
    assert options["profile"] == {"kind": "concurrent", "streams": [2]} and options["data"]["kind"] == "mooncake"
    assert options["constraint"]["count"] == 4


@pytest.mark.parametrize(("load", "says"), [
    (replace(CLOSED, dataset="sharegpt", traffic="x.json"), "does not send sharegpt; measure it with client: vllm"),
    (replace(OPEN, max_concurrency=2, burstiness=0.5), "without a limit of requests in flight; leave out max_conc"),
])
def test_a_load_that_it_cannot_send_is_refused(fake: Callable[..., FakeTool], load: Load, says: str) -> None:
    tool = fake()
    with pytest.raises(ClientError, match=says):
        GuideLLMClient().run(TARGET, load, 30)
    assert not tool.calls


def test_files_that_do_not_do_are_named(fake: Callable[..., FakeTool], tmp_path: Path) -> None:
    fake()
    with pytest.raises(ClientError, match=r"given\.jsonl has 3 requests, and 4 are asked for"):
        GuideLLMClient().run(TARGET, replace(OPEN, dataset="trace", traffic=trace(tmp_path, 3)), 30)
    with pytest.raises(StudyError, match=r"none\.jsonl: cannot be read"):
        GuideLLMClient().run(TARGET, replace(OPEN, dataset="trace", traffic=str(tmp_path / "none.jsonl")), 30)


# ------------------------------------------------------------------------------------------------------------ result


def test_requests_are_due_when_the_schedule_has_them(fake: Callable[..., FakeTool]) -> None:
    """The sample's times, in ms after 1795771000 s: as GuideLLM wrote them, read off by hand."""
    fake()
    run = GuideLLMClient().run(TARGET, OPEN, 30)
    assert run.records is not None and run.detail == ()
    records, since = run.records, 1795771000.0
    ms = [np.round((times - since) * 1e3, 1).tolist() for times in (records.due, records.sent)]
    assert ms == [[2237.3, 70808.8, 70873.3, 70911.7], [2242.8, 70821.4, 71070.3, 71074.0]]
    assert np.round((records.first - since)[1:] * 1e3, 1).tolist() == [71025.8, 71272.2, 71497.4]
    assert np.round((records.end - since)[1:] * 1e3, 1).tolist() == [71060.6, 71307.3, 71532.3]
    assert records.input_tokens.tolist() == [32, 15, 17, 16] and records.output_tokens.tolist() == [0, 8, 8, 8]
    assert records.good.tolist() == [False, True, True, True] and np.isnan(records.first[0])
    assert "500 Internal Server Error" in records.errors[0] and "\n" not in records.errors[0]


def test_a_closed_loop_sends_when_a_place_is_free(fake: Callable[..., FakeTool]) -> None:
    fake()
    records = GuideLLMClient().run(TARGET, CLOSED, 30).records
    assert records is not None and records.due.tolist() == records.sent.tolist()


def test_statistics_are_those_of_the_importer(fake: Callable[..., FakeTool], tmp_path: Path) -> None:
    fake()
    metrics = GuideLLMClient().run(TARGET, CLOSED, 30).metrics
    row = read_rows(tmp_path / "report.json", "guidellm", {}, {})[0]
    assert metrics == {name: repeats[0] for name, repeats in row.metrics.items()}
    assert {"median_ttft_ms", "request_throughput"} <= set(metrics)


def with_requests(**groups: Any) -> list[Any]:
    benchmark = report()["benchmarks"][0]
    return [{**benchmark, "requests": {**benchmark["requests"], **groups}}]


def test_requests_that_were_cut_off_are_failed_ones(fake: Callable[..., FakeTool]) -> None:
    request = json.loads(json.dumps(report()["benchmarks"][0]["requests"]["successful"][0]))
    request["info"]["status"] = "cancelled"
    request["info"]["timings"] |= {"request_start": None, "first_token_iteration": None, "last_token_iteration": None}
    request["output_metrics"] = None
    fake(benchmarks=with_requests(incomplete=[request], errored=None))
    records = GuideLLMClient().run(TARGET, OPEN, 30).records
    assert records is not None and sorted(records.errors) == ["", "", "", "was cancelled"]
    assert records.good.sum() == 3 and np.isfinite(records.sent).all()


def test_one_request_may_be_missing_but_not_two(fake: Callable[..., FakeTool]) -> None:
    fake()
    assert len(GuideLLMClient().run(TARGET, replace(CLOSED, requests=5), 30).records or ()) == 4
    with pytest.raises(ClientError, match="GuideLLM tells of 4 requests, and 6 were asked for"):
        GuideLLMClient().run(TARGET, replace(CLOSED, requests=6), 30)


@pytest.mark.parametrize("broken", [
    {"benchmarks": []}, {"benchmarks": [{}]}, {"benchmarks": [{"requests": {"successful": [{}]}}]},
    {"benchmarks": [{"requests": []}]},
])
def test_a_report_that_cannot_be_read_is_said(fake: Callable[..., FakeTool], broken: dict[str, Any]) -> None:
    fake(**broken)
    with pytest.raises(ClientError, match="GuideLLM's report cannot be read"):
        GuideLLMClient().run(TARGET, CLOSED, 30)


def test_a_failure_is_told(fake: Callable[..., FakeTool]) -> None:
    fake(body="raise ValueError('Cannot compile: No measurement start or end times available.')")
    with pytest.raises(ClientError, match=r"guidellm: ValueError: Cannot compile.*is the tokenizer one of text"):
        GuideLLMClient().run(TARGET, CLOSED, 30)
    fake(body="print('Benchmark 1 (concurrent@2): started | 0 s', flush=True); time.sleep(60)")
    with pytest.raises(LateError, match="guidellm did not end within 1 s"):
        GuideLLMClient().run(TARGET, CLOSED, 1)


def test_nothing_is_left_on_disk(fake: Callable[..., FakeTool]) -> None:
    tool = fake()
    GuideLLMClient().run(TARGET, CLOSED, 30)
    assert not Path(tool.calls[-1]["cwd"]).exists()


def test_it_names_itself(fake: Callable[..., FakeTool], monkeypatch: pytest.MonkeyPatch) -> None:
    tool = fake()
    client = GuideLLMClient()
    assert client.facts() == {"client": "GuideLLM 0.8.1"} and not tool.calls
    client.close()
    client.close()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RunnerError, match=r"pip install 'guidellm>=0\.8'"):
        GuideLLMClient()
