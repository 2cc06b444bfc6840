"""AIPerf as a client: the load as it is asked for, and the requests as it tells of them."""

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
from planner.space.types import RunnerError
from planner.tables.traffic_file import read_traffic
from runners.serving.aiperf_client import AIPerfClient
from runners.serving.client import ClientError, LateError, Load, Target
from tests.runners.serving.fake_tools import FakeTool, install

DATA = Path(__file__).parents[2] / "data"
TARGET = Target("http://localhost:8000", "tiny", "some/tokenizer")
CLOSED = Load(5, 2, math.inf, 1.0, 32, 8, 0.0, 2**31 + 5)
OPEN = replace(CLOSED, max_concurrency=None, request_rate=20.0)

WRITES = """
out = pathlib.Path(option("--output-artifact-dir"))
(out / "profile_export.jsonl").write_text(pathlib.Path({records!r}).read_text())
if {report!r}:
    (out / "profile_export_aiperf.json").write_text(pathlib.Path({report!r}).read_text())
sys.exit({status})
"""


def told() -> list[dict[str, Any]]:
    """Records as AIPerf wrote them: one without tokens, two good ones, one answered with HTTP 500, one good one."""
    text = (DATA / "serving" / "aiperf_records.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeTool]:
    """Install an AIPerf that writes records and a report, and exits."""

    def put(records: list[dict[str, Any]] | None = None, status: int = 0, reports: bool = True,
            body: str | None = None) -> FakeTool:
        path = tmp_path / "records.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in (told() if records is None else records)))
        report = str(DATA / "importers" / "aiperf.json") if reports else ""
        says = WRITES.format(records=str(path), report=report, status=status) if body is None else body
        return install(tmp_path, monkeypatch, "aiperf", says, "0.13.0")

    return put


# -------------------------------------------------------------------------------------------------------------- load


def asked(fake: FakeTool, load: Load, target: Target = TARGET) -> dict[str, str]:
    """The options of a run; those without a value are "". """
    AIPerfClient().run(target, load, 30)
    options: dict[str, str] = {}
    name = ""
    for word in fake.calls[-1]["argv"][1:]:
        if word.startswith("--"):
            name = word.removeprefix("--")
            options[name] = ""
        else:
            options[name] = word
    assert fake.calls[-1]["argv"][0] == "profile"
    return options


def test_a_closed_loop_keeps_its_places_busy(fake: Callable[..., FakeTool]) -> None:
    options = asked(fake(), CLOSED)
    expected = {"model": "tiny", "url": "http://localhost:8000", "tokenizer": "some/tokenizer", "streaming": "",
                "endpoint-type": "completions", "concurrency": "2", "request-count": "5", "isl": "32", "osl": "8",
                "num-dataset-entries": "5", "random-seed": "5", "extra-inputs": "ignore_eos:true",
                "prompt-corpus": "random", "use-server-token-count": "", "ui": "none"}
    assert expected.items() <= options.items()
    assert not {"request-rate", "input-file", "random-range-ratio", "fixed-schedule"} & set(options)
    assert asked(fake(), replace(CLOSED, range_ratio=0.25))["random-range-ratio"] == "0.25"


@pytest.mark.parametrize(("burstiness", "pattern", "smoothness"), [
    (1.0, "poisson", None), (0.3, "gamma", "0.3"), (math.inf, "constant", None)])
def test_an_open_loop_without_a_limit_is_drawn_by_it(
    fake: Callable[..., FakeTool], burstiness: float, pattern: str, smoothness: str | None
) -> None:
    options = asked(fake(), replace(OPEN, burstiness=burstiness))
    assert (options["request-rate"], options["arrival-pattern"]) == ("20.0", pattern)
    assert options.get("arrival-smoothness") == smoothness and options["request-count"] == "5"
    assert "concurrency" not in options


def test_an_open_loop_with_a_limit_keeps_its_schedule(fake: Callable[..., FakeTool], tmp_path: Path) -> None:
    """With a rate and a limit, AIPerf would leave arrivals out."""
    tool = fake()
    options = asked(tool, replace(OPEN, max_concurrency=3, range_ratio=0.5))
    assert options["concurrency"] == "3" and "fixed-schedule" in options and "request-rate" not in options
    assert options["custom-dataset-type"] == "mooncake-trace" and "prompt-corpus" not in options
    (tmp_path / "sent.jsonl").write_text(tool.calls[-1]["files"]["traffic.jsonl"])
    sent = read_traffic(tmp_path / "sent.jsonl")
    assert len(sent) == 5 and options["isl-block-size"] == str(sent.input_len.max()) == str(sent.block_tokens)
    assert set(sent.output_len.tolist()) <= set(range(4, 13)) and len(set(sent.blocks)) == 5


def trace(folder: Path, n: int = 6) -> str:
    path = folder / "given.jsonl"
    path.write_text("".join(json.dumps({"timestamp": 250 * i, "input_length": 40 + i, "output_length": 5,
                                        "hash_ids": [7, 8 + i, 90], "block_tokens": 16}) + "\n" for i in range(n)))
    return str(path)


def test_a_file_is_played_at_its_own_times(fake: Callable[..., FakeTool], tmp_path: Path) -> None:
    tool = fake()
    options = asked(tool, replace(OPEN, dataset="trace", traffic=trace(tmp_path)))
    assert "fixed-schedule" in options and options["isl-block-size"] == "16" and "concurrency" not in options
    assert len(tool.calls[-1]["files"]["traffic.jsonl"].splitlines()) == 5
    options = asked(tool, replace(CLOSED, dataset="lognormal", traffic=trace(tmp_path)))
    assert "no-fixed-schedule" in options and options["concurrency"] == "2" and options["request-count"] == "5"
    with pytest.raises(ClientError, match="does not send sharegpt; measure it with client: vllm"):
        AIPerfClient().run(TARGET, replace(CLOSED, dataset="sharegpt"), 30)


def test_a_folder_with_a_tokenizer_gets_a_name_in_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AIPerf 0.13 looks for a folder in the cache of the hub, in some of its processes."""
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    body = """
cache = pathlib.Path(os.environ["HF_HUB_CACHE"]) / "models--local--tokenizer"
revision = (cache / "refs" / "main").read_text()
print((cache / "snapshots" / revision / "tokenizer.json").read_text(), option("--tokenizer"),
      os.environ["HF_HUB_OFFLINE"])
sys.exit(3)
"""
    install(tmp_path, monkeypatch, "aiperf", body, "0.13.0")
    with pytest.raises(ClientError, match=r"\{\} local/tokenizer 1"):
        AIPerfClient().run(replace(TARGET, tokenizer=str(tmp_path / "tok")), CLOSED, 30)


# ------------------------------------------------------------------------------------------------------------ result


def test_requests_are_as_it_tells_of_them(fake: Callable[..., FakeTool]) -> None:
    """The sample's times, in ms after 1795770527 s: as AIPerf wrote them, read off by hand."""
    fake()
    run = AIPerfClient().run(TARGET, OPEN, 30)
    assert run.records is not None
    records, since = run.records, 1795770527.0
    ms = {name: np.round((getattr(records, name) - since) * 1e3, 1).tolist() for name in ("due", "sent")}
    assert ms == {"due": [416.6, 419.6, 419.7, 477.1, 555.5], "sent": [417.7, 426.5, 427.6, 487.4, 556.0]}
    good = records.good
    assert good.tolist() == [True, False, True, True, False]
    assert np.round((records.first - since)[good] * 1e3, 1).tolist() == [451.2, 452.8, 528.7]
    assert np.round((records.end - since)[good] * 1e3, 1).tolist() == [528.9, 477.8, 536.5]
    assert records.input_tokens.tolist() == [47, 0, 45, 41, 0] and records.output_tokens.tolist() == [11, 0, 6, 6, 0]
    assert "No responses with actual content" in records.errors[1] and "made to fail" in records.errors[4]
    assert np.isnan(records.first[1]) and np.isnan(records.end[4])
    # Times between tokens stand with their request, whatever order AIPerf wrote them in.
    assert [len(gaps) for gaps in run.detail] == [10, 0, 5, 5, 0]
    assert sum(run.detail[2]) == pytest.approx(records.end[2] - records.first[2], abs=1e-4)


def test_a_closed_loop_sends_when_a_place_is_free(fake: Callable[..., FakeTool]) -> None:
    fake()
    records = AIPerfClient().run(TARGET, CLOSED, 30).records
    assert records is not None and records.due.tolist() == records.sent.tolist()


def record(issued_ms: float, error: str = "") -> dict[str, Any]:
    one = json.loads(json.dumps(next(one for one in told() if not one.get("error"))))
    one["metadata"] |= {"credit_issued_ns": int(1e18 + issued_ms * 1e6),
                        "request_start_ns": int(1e18 + issued_ms * 1e6 + 1e6)}
    one["error"] = {"message": error} if error else None
    return dict(one)


def test_under_a_limit_a_request_is_due_when_the_schedule_has_it(
    fake: Callable[..., FakeTool], tmp_path: Path
) -> None:
    """Requests at 0, 250, … 1000 ms, of which the limit holds back the last two; AIPerf is 3 ms late, or more."""
    fake([record(ms) for ms in (1803, 3, 254, 1203, 503)])
    load = replace(OPEN, max_concurrency=2, dataset="trace", traffic=trace(tmp_path))
    records = AIPerfClient().run(TARGET, load, 30).records
    assert records is not None
    assert (records.due - records.due[0]) * 1e3 == pytest.approx([0, 250, 500, 750, 1000], abs=0.01)
    assert (records.sent - records.due) * 1e3 == pytest.approx([1, 2, 1, 451, 801], abs=0.01)


def test_a_run_without_a_good_request_is_told_as_such(fake: Callable[..., FakeTool]) -> None:
    """AIPerf exits with status 1 then, and writes no report."""
    fake([record(ms, "refused") for ms in range(5)], status=1, reports=False)
    run = AIPerfClient().run(TARGET, CLOSED, 30)
    assert run.records is not None and run.records.errors == ("refused",) * 5 and run.metrics == {}


def test_a_cancelled_request_is_a_failed_one(fake: Callable[..., FakeTool]) -> None:
    records = [record(ms) for ms in range(5)]
    records[3]["metadata"]["was_cancelled"] = True
    fake(records)
    found = AIPerfClient().run(TARGET, CLOSED, 30).records
    assert found is not None and found.errors == ("", "", "", "was cancelled", "")


def test_statistics_are_those_of_the_importer(fake: Callable[..., FakeTool]) -> None:
    fake()
    metrics = AIPerfClient().run(TARGET, CLOSED, 30).metrics
    row = read_rows(DATA / "importers" / "aiperf.json", "aiperf", {}, {})[0]
    assert metrics == {name: repeats[0] for name, repeats in row.metrics.items()} and "median_ttft_ms" in metrics


@pytest.mark.parametrize(("text", "says"), [
    ("{", "profile_export.jsonl cannot be read"), ('{"metadata": {}}', "profile_export.jsonl cannot be read"),
    ('{"metadata": {"credit_issued_ns": 1, "request_start_ns": 2}}\n' * 5, "profile_export.jsonl cannot be read"),
])
def test_records_that_cannot_be_read_are_said(fake: Callable[..., FakeTool], text: str, says: str) -> None:
    fake(body=f'pathlib.Path(option("--output-artifact-dir"), "profile_export.jsonl").write_text({text!r})')
    with pytest.raises(ClientError, match=says):
        AIPerfClient().run(TARGET, CLOSED, 30)


def test_a_failure_is_told(fake: Callable[..., FakeTool]) -> None:
    fake(body="print('╭─ Error ─╮\\n│ Reason: no tokenizer │\\n╰─╯'); sys.exit(1)")
    with pytest.raises(ClientError, match="aiperf: no tokenizer"):
        AIPerfClient().run(TARGET, CLOSED, 30)
    fake(told()[:4])
    with pytest.raises(ClientError, match="AIPerf tells of 4 requests, and 5 were asked for"):
        AIPerfClient().run(TARGET, CLOSED, 30)
    tool = fake(body="print('AIPerf System is PROFILING', flush=True); time.sleep(60)")
    with pytest.raises(LateError, match="aiperf did not end within 1 s"):
        AIPerfClient().run(TARGET, CLOSED, 1)
    assert not Path(tool.calls[-1]["cwd"]).exists()


def test_it_names_itself(fake: Callable[..., FakeTool], monkeypatch: pytest.MonkeyPatch) -> None:
    tool = fake()
    client = AIPerfClient()
    assert client.facts() == {"client": "AIPerf 0.13.0"} and not tool.calls
    client.close()
    client.close()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(RunnerError, match=r"pip install 'aiperf>=0\.13'"):
        AIPerfClient()
