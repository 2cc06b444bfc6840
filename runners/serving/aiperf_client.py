"""AIPerf (`aiperf profile`, 0.13 or later) as a client.

  closed loop                        --concurrency
  open loop                          --request-rate with arrivals that are constant, Poisson or gamma
  open loop with a limit, or         --fixed-schedule of a file in Mooncake's form, each request at its own time, and
  traffic of a file                  --concurrency for the limit

With --request-rate and --concurrency together, AIPerf leaves an arrival out whenever all places are taken: the load
falls, and no request ever waits. A schedule keeps its arrivals.

Times of requests are those of its profile_export.jsonl, seconds since 1970. A request is due when AIPerf's schedule has
it, counted from the first; without a file, when its credit was issued; in a closed loop when it is sent. Tokens are
those that the server counts.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.tables.traffic import Traffic
from runners.serving.client import ClientError, ClientRun, Load, Target
from runners.serving.tool import (
    Request,
    Tool,
    as_count,
    drawn,
    metrics_of,
    records_of,
    requests_in_flight,
    traffic_of,
)
from runners.serving.traffic import write_timed_trace

__all__ = ["AIPerfClient", "arguments_of", "requests_of"]

_LEAST: Final = "0.13"
_RECORDS: Final = "profile_export.jsonl"
_REPORT: Final = "profile_export_aiperf.json"
_TRAFFIC: Final = "traffic.jsonl"
_SEEDS: Final = 2**31
_CACHED: Final = "local/tokenizer"
_REVISION: Final = "0" * 40


class AIPerfClient:
    """Drives a server with AIPerf; see client.Client for the contract. Each run is a process of its own, which takes
    some seconds to start; nothing is kept between runs.

    Raises RunnerError if AIPerf is not installed, with the command that installs it.
    """

    def __init__(self) -> None:
        self._tool = Tool.found("aiperf", _LEAST, "System is PROFILING")

    def warm_up(self) -> None:
        """Nothing: the tool starts anew for each run."""

    def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
        """Send the load and wait for its end. Raises ClientError, StudyError for a file that cannot be read."""
        traffic = traffic_of(load)
        if traffic is None and not load.is_closed and load.max_concurrency is not None:
            traffic = drawn(load)
        with tempfile.TemporaryDirectory(prefix="sweepwise-aiperf-") as name:
            folder = Path(name)
            if traffic is not None:
                write_timed_trace(traffic, folder / _TRAFFIC, seed=0)
            tokenizer, variables = _tokenizer(target.tokenizer, folder)
            arguments = arguments_of(target, load, traffic, folder, tokenizer, timeout_s)
            reason = self._tool.run(arguments, folder, variables, timeout_s)
            told = _lines(folder / _RECORDS)
            requests, gaps = requests_of(told, load.is_closed, traffic)
            records, order = records_of("AIPerf", requests, load, reason)
            return ClientRun(records, metrics_of(folder / _REPORT, "aiperf"), tuple(gaps[place] for place in order))

    def facts(self) -> dict[str, str]:
        """Client and version."""
        return {"client": f"AIPerf {self._tool.version}".strip()}

    def close(self) -> None:
        """Nothing is kept."""


def _tokenizer(name: str, folder: Path) -> tuple[str, dict[str, str]]:
    """The tokenizer as AIPerf takes it, and the variables that go with it.

    AIPerf's processes that make prompts take no folder (0.13: they look for it in Hugging Face's cache as if it were a
    hub's name). So a folder gets a name in a cache of its own.
    """
    if not Path(name).is_dir():
        return name, {}
    kept = folder / "hub" / f"models--{_CACHED.replace('/', '--')}"
    for part in ("refs", "snapshots"):
        (kept / part).mkdir(parents=True)
    (kept / "refs" / "main").write_text(_REVISION, encoding="utf-8")
    (kept / "snapshots" / _REVISION).symlink_to(Path(name).resolve(), target_is_directory=True)
    return _CACHED, {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}


def arguments_of(target: Target, load: Load, traffic: Traffic | None, folder: Path, tokenizer: str,
                 timeout_s: float) -> list[str]:
    """The command line for a load. traffic: the requests in the folder's file, if they come from there."""
    arguments = [
        "profile", "--model", target.model, "--url", target.base_url, "--endpoint-type", "completions", "--streaming",
        "--tokenizer", tokenizer, "--random-seed", str(load.seed % _SEEDS), "--extra-inputs", "ignore_eos:true",
        "--use-server-token-count", "--request-timeout-seconds", f"{timeout_s:g}",
        "--ui", "none", "--no-gpu-telemetry", "--no-server-metrics", "--output-artifact-dir", str(folder),
    ]
    if load.is_closed:
        arguments += ["--concurrency", str(requests_in_flight(load)), "--request-count", str(load.requests)]
    if traffic is not None:
        return [*arguments, *_file(load, traffic, folder)]
    arguments += ["--isl", str(load.input_len), "--osl", str(load.output_len), "--prompt-corpus", "random",
                  "--num-dataset-entries", str(load.requests)]  # fewer would come again, from the prefix cache
    if load.range_ratio:
        arguments += ["--random-range-ratio", repr(load.range_ratio)]
    return arguments if load.is_closed else [*arguments, *_arrivals(load)]


def _file(load: Load, traffic: Traffic, folder: Path) -> list[str]:
    options = ["--input-file", str(folder / _TRAFFIC), "--custom-dataset-type", "mooncake-trace",
               "--isl-block-size", str(traffic.block_tokens or int(traffic.input_len.max()))]
    if load.is_closed:
        return [*options, "--no-fixed-schedule"]
    limit = [] if load.max_concurrency is None else ["--concurrency", str(load.max_concurrency)]
    return [*options, "--fixed-schedule", *limit]


def _arrivals(load: Load) -> list[str]:
    options = ["--request-rate", repr(load.request_rate), "--request-count", str(load.requests), "--arrival-pattern"]
    if math.isinf(load.burstiness):
        return [*options, "constant"]
    if load.burstiness == 1:
        return [*options, "poisson"]
    return [*options, "gamma", "--arrival-smoothness", repr(load.burstiness)]


def _lines(path: Path) -> list[Mapping[str, Any]]:
    """The records of a file, in the order in which AIPerf issued them; none if there is no file."""
    if not path.is_file():
        return []
    try:
        told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return sorted(told, key=lambda one: float(one["metadata"]["credit_issued_ns"]))
    except (AttributeError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise ClientError(f"AIPerf's {path.name} cannot be read ({type(error).__name__}: {error})") from error


def requests_of(told: Sequence[Mapping[str, Any]], closed: bool, traffic: Traffic | None
                ) -> tuple[list[Request], list[tuple[float, ...]]]:
    """The requests of AIPerf's records, given in the order of their issue, and the seconds between the tokens of each.
    traffic: the schedule that was played. Raises ClientError."""
    try:
        issued = np.array([one["metadata"]["credit_issued_ns"] for one in told], dtype=np.float64) / 1e9
        sent = np.array([one["metadata"]["request_start_ns"] for one in told], dtype=np.float64) / 1e9
        due = sent if closed else issued
        if traffic is not None and not closed and len(told):
            schedule = traffic.arrivals[:len(told)]
            due = schedule + float(np.min(issued[:len(schedule)] - schedule))  # it issues none before its time
        requests = [_request(one, float(when), float(start))
                    for one, when, start in zip(told, due, sent, strict=True)]
        gaps = [tuple(float(gap) / 1e3 for gap in _value(one, "inter_chunk_latency") or ()) for one in told]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ClientError(f"AIPerf's {_RECORDS} cannot be read ({type(error).__name__}: {error})") from error
    return requests, gaps


def _request(one: Mapping[str, Any], due: float, sent: float) -> Request:
    error = one.get("error")
    reason = str(error.get("message") or error.get("type")) if isinstance(error, dict) else str(error or "")
    if not reason and one["metadata"].get("was_cancelled"):
        reason = "was cancelled"
    first, whole = (_value(one, name) for name in ("time_to_first_token", "request_latency"))
    return Request(due, sent, None if first is None else sent + float(first) / 1e3,
                   None if whole is None else sent + float(whole) / 1e3,
                   as_count(_value(one, "input_sequence_length")), as_count(_value(one, "output_sequence_length")),
                   reason)


def _value(one: Mapping[str, Any], name: str) -> Any:
    metric = one["metrics"].get(name)
    return metric["value"] if metric else None
