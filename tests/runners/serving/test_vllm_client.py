"""vLLM's client: its command line for each load, and the records of its result. No vLLM is imported."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.serving import vllm_client
from runners.serving.client import ClientError, LateError, Load, Target
from runners.serving.clients import make_client
from runners.serving.datasets import prepared
from runners.serving.vllm_client import VllmClient, arguments_of, records_of

TARGET = Target("http://127.0.0.1:8000", "tiny", "/models/tiny")
CLOSED = Load(100, 8, math.inf, 1.0, 128, 32, 0.25, 7)
RESULT: dict[str, Any] = {
    "start_times": [10.0, 10.5, 12.0, 12.5], "queue_times": [0.0, 0.1, 1.0, -1e-5], "ttfts": [0.2, 0.3, 0.0, 0.0],
    "itls": [[0.1, 0.1], [0.2], [], []], "latencies": [0.4, 0.5, 0.01, 0.2], "output_lens": [3, 2, 0, 0],
    "input_lens": [128, 127, 128, 128], "errors": ["", "", "Traceback\n  …\nInternal Server Error", ""],
}


def option(arguments: list[str], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def test_a_closed_loop_has_a_limit_and_no_rate() -> None:
    arguments = arguments_of(TARGET, CLOSED)
    found = {name: option(arguments, name) for name in (
        "--base-url", "--model", "--tokenizer", "--num-prompts", "--max-concurrency", "--request-rate", "--seed",
        "--dataset-name", "--random-input-len", "--random-output-len", "--random-range-ratio")}
    assert found == {
        "--base-url": "http://127.0.0.1:8000", "--model": "tiny", "--tokenizer": "/models/tiny", "--num-prompts": "100",
        "--max-concurrency": "8", "--request-rate": None, "--seed": "7", "--dataset-name": "random",
        "--random-input-len": "128", "--random-output-len": "32", "--random-range-ratio": "0.25"}
    assert {"--ignore-eos", "--save-detailed"} <= set(arguments)
    assert option(arguments, "--ready-check-timeout-sec") == "0", "it sends no request that the records do not hold"


def test_an_open_loop_has_a_rate() -> None:
    arguments = arguments_of(TARGET, replace(CLOSED, max_concurrency=None, request_rate=2.5, burstiness=0.5))
    found = [option(arguments, name) for name in ("--request-rate", "--burstiness", "--max-concurrency")]
    assert found == ["2.5", "0.5", None]
    capped = arguments_of(TARGET, replace(CLOSED, request_rate=2.5))
    assert (option(capped, "--request-rate"), option(capped, "--max-concurrency")) == ("2.5", "8")


def test_two_seeds_are_two_seeds_for_vllm_too() -> None:
    """numpy takes 32 bits."""
    seeds = [option(arguments_of(TARGET, CLOSED.with_seed(seed)), "--seed") for seed in (1, 7919_001, 2**40 + 3)]
    assert len(set(seeds)) == 3 and all(int(seed or -1) < 2**31 for seed in seeds)


def test_conversations_and_traces_are_read_from_their_files(tmp_path: Path) -> None:
    shared = arguments_of(TARGET, replace(CLOSED, dataset="sharegpt", traffic="/data/chats.json"))
    assert option(shared, "--dataset-path") == "/data/chats.json" and "--random-input-len" not in shared
    drawn = prepared(replace(CLOSED, dataset="lognormal", request_rate=4.0, max_concurrency=None), tmp_path)
    arguments = arguments_of(TARGET, drawn)
    assert option(arguments, "--dataset-name") == "timed_trace"
    assert "--request-rate" not in arguments, "the file says when"
    assert len((tmp_path / "traffic.jsonl").read_text().splitlines()) == 100


@pytest.mark.parametrize("seed", range(20))
def test_traffic_that_is_drawn_comes_at_the_rate_asked_for(tmp_path: Path, seed: int) -> None:
    """25 exponential gaps are 20 % longer or shorter by chance, which would look like a client that is late."""
    load = replace(CLOSED, requests=25, dataset="lognormal", request_rate=4.0, max_concurrency=None, seed=seed)
    path = Path(prepared(load, tmp_path).traffic)
    times = [float(time) for time in re.findall(r'"timestamp": ([\d.]+)', path.read_text())]
    assert 24 / (times[-1] - times[0]) * 1e3 == pytest.approx(4.0, rel=0.001)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_the_installed_vllm_knows_the_arguments() -> None:
    """Read from its source: an import takes seconds."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "benchmarks"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    arguments = [*arguments_of(TARGET, replace(CLOSED, request_rate=2.5)),
                 *arguments_of(TARGET, replace(CLOSED, dataset="sharegpt", traffic="x"))]
    unknown = [name for name in arguments if name.startswith("--") and f'"{name}"' not in source]
    assert not unknown


# ------------------------------------------------------------------------------------------------------------- records


def test_a_result_becomes_records() -> None:
    records, gaps = records_of(RESULT, closed=False)
    assert records.sent.tolist() == [10.0, 10.5, 12.0, 12.5]
    assert records.due.tolist() == pytest.approx([10.0, 10.4, 11.0, 12.5]), "before it waited for a place"
    assert (records.sent >= records.due).all()
    assert np.allclose(records.first, [10.2, 10.8, np.nan, np.nan], equal_nan=True)
    assert np.allclose(records.end, [10.4, 11.0, np.nan, np.nan], equal_nan=True)
    assert records.good.tolist() == [True, True, False, False]
    assert records.errors == ("", "", "Internal Server Error", "an answer without tokens")
    assert records.output_tokens.tolist() == [3, 2, 0, 0]
    assert gaps == ((0.1, 0.1), (0.2,), (), ())


def test_in_a_closed_loop_a_request_is_due_when_a_place_is_free() -> None:
    records, _ = records_of(RESULT, closed=True)
    assert (records.due == records.sent).all()


def test_tokens_after_which_no_time_to_first_is_told_are_none() -> None:
    """HTTP 200, an empty stream, and a usage that says 3 tokens."""
    records, _ = records_of({**RESULT, "ttfts": [0.2, 0.0, 0.0, 0.0]}, closed=False)
    assert records.errors[1] == "an answer without tokens" and records.output_tokens[1] == 0


def test_without_latencies_the_gaps_say_when_a_request_ended() -> None:
    records, _ = records_of({key: value for key, value in RESULT.items() if key != "latencies"}, closed=False)
    assert records.end[:2] == pytest.approx([10.4, 11.0])


@pytest.mark.parametrize("result", [
    {}, {**RESULT, "ttfts": [0.1]}, {**RESULT, "itls": None}, {**RESULT, "output_lens": ["many"] * 4},
    {**RESULT, "start_times": None}, {**RESULT, "latencies": [1.0]}, {**RESULT, "errors": ["", ""]},
    {**RESULT, "queue_times": [0.0]}, {**RESULT, "input_lens": [1]}])
def test_a_result_that_cannot_be_read_is_an_error_of_the_client(result: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="its result cannot be read"):
        records_of(result, closed=False)


# ----------------------------------------------------------------------------------------------------------- a process

# Plays vllm_client_worker: what it answers depends on the number of requests.
WORKER = """
import json, os, sys, time
replies = os.fdopen(int(sys.argv[-1]), "w")
for line in iter(sys.stdin.readline, ""):
    asked = json.loads(line)
    arguments = asked["run"]
    n = int(arguments[arguments.index("--num-prompts") + 1])
    if n == 2:
        answer = {"late_s": asked["timeout_s"]}
    elif n == 3:
        answer = {"refused": "OSError: no such tokenizer"}
    elif n == 4:
        print("RuntimeError: it broke", flush=True)
        sys.exit(1)
    elif n == 5:
        time.sleep(1000)
    else:
        answer = {"result": {"start_times": [1.0] * n, "queue_times": [0.0] * n, "ttfts": [0.1] * n,
                             "itls": [[0.1]] * n, "latencies": [0.2] * n, "output_lens": [2] * n,
                             "input_lens": [9] * n, "errors": [""] * n}}
    replies.write(json.dumps(answer) + "\\n")
    replies.flush()
"""


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(vllm_client, "_START", WORKER)
    monkeypatch.setattr(vllm_client, "_GRACE_S", 0.5)
    made = make_client("vllm")
    yield made
    made.close()
    made.close()


def test_one_process_serves_all_runs_until_it_breaks(client: VllmClient) -> None:
    assert len(client.run(TARGET, replace(CLOSED, requests=6), 5.0).records or ()) == 6
    assert client._process is not None
    first = client._process.pid
    with pytest.raises(LateError, match=r"its 2 requests did not end within 5 s"):
        client.run(TARGET, replace(CLOSED, requests=2), 5.0)
    with pytest.raises(ClientError, match="no such tokenizer") as refused:
        client.run(TARGET, replace(CLOSED, requests=3), 5.0)
    assert not isinstance(refused.value, LateError)
    assert client._process.pid == first, "neither is its fault"
    with pytest.raises(ClientError, match="RuntimeError: it broke"):
        client.run(TARGET, replace(CLOSED, requests=4), 5.0)
    assert len(client.run(TARGET, replace(CLOSED, requests=6), 5.0).records or ()) == 6
    assert client._process.pid != first


def test_a_client_that_hangs_is_ended(client: VllmClient) -> None:
    with pytest.raises(ClientError, match=r"no answer within 1 s"):
        client.run(TARGET, replace(CLOSED, requests=5), 0.5)
    assert client._process is None


def test_the_client_names_itself_without_starting(client: VllmClient) -> None:
    assert client.facts()["client"].startswith("vllm bench serve ")
    assert client._process is None
