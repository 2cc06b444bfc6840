"""GuideLLM (`guidellm run`, 0.8 or later) as a client.

  closed loop                            profile concurrent
  open loop, even arrivals               profile constant; with a limit, if one is said
  open loop, other arrivals or a file    profile replay of a file in Mooncake's form, each request at its own time
  open loop with a limit                 profile poisson with a limit; bursts and files are refused: a replay has none

GuideLLM draws a Poisson process in each of its worker processes from the same seed, so that with several each gap comes
several times in a row. So we draw arrivals ourselves and let it replay them; where only its own take a limit, they come
from one process, which is late by some 10 ms on a busy machine. At times GuideLLM 0.8 ends before it has taken note of
the request that ended last: one that it is silent about is left out of the records. It is after any window.

Times of requests are those of its report, seconds since 1970. A request is due at `targeted_start`, which knows no
limit; in a closed loop when it is sent. Times between tokens are not in the report.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from planner.tables.traffic import Traffic
from runners.serving.client import ClientError, ClientRun, Load, Target
from runners.serving.tool import (
    Request,
    Tool,
    as_count,
    drawn,
    length_range,
    metrics_of,
    records_of,
    requests_in_flight,
    traffic_of,
)
from runners.serving.traffic import write_timed_trace

__all__ = ["GuideLLMClient", "arguments_of", "requests_of"]

_LEAST: Final = "0.8"
_REPORT: Final = "benchmarks.json"
_TRAFFIC: Final = "traffic.jsonl"
_SEEDS: Final = 2**31
_MS: Final = 1e-3
_LOST: Final = 1
_NOTHING_SENT: Final = "No measurement start"
_ONE_PROCESS: Final = {"GUIDELLM__MAX_WORKER_PROCESSES": "1"}


class GuideLLMClient:
    """Drives a server with GuideLLM; see client.Client for the contract. Each run is a process of its own, which takes
    10 s and more to start; nothing is kept between runs.

    Raises RunnerError if GuideLLM is not installed, with the command that installs it.
    """

    def __init__(self) -> None:
        self._tool = Tool.found("guidellm", _LEAST, "): started |")

    def warm_up(self) -> None:
        """Nothing: the tool starts anew for each run."""

    def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
        """Send the load and wait for its end. Raises ClientError, StudyError for a file that cannot be read."""
        traffic = _traffic(load)
        with tempfile.TemporaryDirectory(prefix="sweepwise-guidellm-") as name:
            folder = Path(name)
            if traffic is not None:
                write_timed_trace(traffic, folder / _TRAFFIC, seed=0)
            is_poisson = not load.is_closed and traffic is None and math.isfinite(load.burstiness)
            reason = self._tool.run(arguments_of(target, load, traffic, folder), folder,
                                    _ONE_PROCESS if is_poisson else {}, timeout_s)
            if _NOTHING_SENT in reason:
                reason += "; GuideLLM writes prompts in English: is the tokenizer one of text?"
            report = folder / _REPORT
            requests = list(requests_of(report, load.is_closed)) if report.is_file() else []
            records, _ = records_of("GuideLLM", requests, load, reason, _LOST)
            return ClientRun(records, metrics_of(report, "guidellm"))

    def facts(self) -> dict[str, str]:
        """Client and version."""
        return {"client": f"GuideLLM {self._tool.version}".strip()}

    def close(self) -> None:
        """Nothing is kept."""


def _traffic(load: Load) -> Traffic | None:
    """The requests that GuideLLM reads from a file; None where it draws them itself."""
    traffic, is_limited = traffic_of(load), load.max_concurrency is not None
    if load.is_closed:
        return traffic
    if is_limited and (traffic is not None or load.burstiness not in {1.0, math.inf}):
        raise ClientError("GuideLLM sends traffic with times of its own without a limit of requests in flight; leave "
                          "out max_concurrency, or measure it with client: vllm")
    if traffic is None and not is_limited and math.isfinite(load.burstiness):
        return drawn(load)
    return traffic


def arguments_of(target: Target, load: Load, traffic: Traffic | None, folder: Path) -> list[str]:
    """The command line for a load. traffic: the requests in the folder's file, if they come from there."""
    arguments = [
        "run", "--disable-console",
        "--backend", json.dumps({"kind": "openai_http", "target": target.base_url, "model": target.model,
                                 "request_format": "/v1/completions"}),
        "--tokenizer", json.dumps({"kind": "huggingface_auto", "model": target.tokenizer}),
        "--profile", json.dumps(_profile(load, traffic is not None)),
        "--data", json.dumps(_synthetic(load) if traffic is None else _file(traffic, folder)),
        "--seed", json.dumps({"kind": "static", "value": load.seed % _SEEDS}),
        # Texts of prompts and answers are left out of the report, figures of no request are.
        "--metrics", json.dumps({"kind": "generative", "sample_size": 0}),
        "--output", json.dumps({"kind": "json", "path": str(folder / _REPORT)}),
    ]
    if traffic is None or load.is_closed:  # a replay ends with its file, and loses its last request to a limit
        arguments += ["--constraint", json.dumps({"kind": "max_requests", "count": load.requests})]
    return arguments


def _profile(load: Load, has_file: bool) -> Mapping[str, Any]:
    if load.is_closed:
        return {"kind": "concurrent", "streams": [requests_in_flight(load)]}
    if has_file:
        return {"kind": "replay", "schedule_turn": "timestamp"}
    limit = {} if load.max_concurrency is None else {"max_concurrency": load.max_concurrency}
    return {"kind": "constant" if math.isinf(load.burstiness) else "poisson", "rate": [load.request_rate], **limit}


def _synthetic(load: Load) -> Mapping[str, Any]:
    lengths: dict[str, Any] = {"kind": "synthetic_text"}
    for name, mean in (("prompt_tokens", load.input_len), ("output_tokens", load.output_len)):
        lengths[name] = mean
        if load.range_ratio:
            lengths[f"{name}_min"], lengths[f"{name}_max"] = length_range(mean, load.range_ratio)
    return lengths


def _file(traffic: Traffic, folder: Path) -> Mapping[str, Any]:
    return {"kind": "mooncake", "hash_id_block_size": traffic.block_tokens or int(traffic.input_len.max()),
            "time_scale": _MS, "source": {"kind": "json_file", "path": str(folder / _TRAFFIC)}}


def requests_of(report: Path, closed: bool) -> Iterator[Request]:
    """The requests of a report's one benchmark, those that failed or were cut off included. Raises ClientError."""
    try:
        groups = json.loads(report.read_bytes())["benchmarks"][0]["requests"]
        for group, requests in groups.items():
            for request in requests or ():
                yield _request(request, group, closed)
    except (AttributeError, KeyError, IndexError, OSError, RecursionError, TypeError, ValueError) as error:
        raise ClientError(f"GuideLLM's report cannot be read ({type(error).__name__}: {error})") from error


def _request(request: Mapping[str, Any], group: str, closed: bool) -> Request:
    info, timings = request["info"], request["info"]["timings"]
    sent = timings["request_start"] or timings["targeted_start"]
    tokens = _tokens(request, "output_metrics")
    error = "" if group == "successful" else str(info.get("error") or f"was {info.get('status') or 'cut off'}")
    return Request(sent if closed else timings["targeted_start"], sent, timings.get("first_token_iteration"),
                   timings.get("last_token_iteration"), _tokens(request, "input_metrics"), tokens, error)


def _tokens(request: Mapping[str, Any], name: str) -> int:
    counts = request.get(name) or {}
    return as_count(counts.get("total_tokens") or counts.get("text_tokens"))
