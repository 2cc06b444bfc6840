"""vLLM's `bench serve` as a client: called in a child process that has imported it once, for all runs of a study."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from planner.space.types import FloatArray
from runners import environment
from runners.serving.client import ClientError, ClientRun, LateError, Load, Target
from runners.serving.records import Records
from runners.vllm_imports import VllmImports
from runners.vllm_process import EngineError, EngineProcess

__all__ = ["VllmClient", "arguments_of", "records_of"]

_WORKER: Final = "runners.serving.vllm_client_worker"
_START: Final = "import sys; sys.path.append(sys.argv[1]); from runners.serving.vllm_client_worker import main; main()"
_GRACE_S: Final = 10.0
_SEEDS: Final = 2**31


class VllmClient:
    """Drives a server with vLLM's own client; see client.Client for the contract.

    Its process starts with `warm_up` or the first run, and is replaced after an error. imports: where vLLM may have
    been imported already.
    """

    def __init__(self, imports: VllmImports | None = None) -> None:
        self._imports = imports or VllmImports(())
        self._process: EngineProcess | None = None

    def warm_up(self) -> None:
        """Let the process begin to import vLLM, and return at once: the server starts meanwhile."""
        if self._process is None or not self._process.alive:
            self.close()
            command = [sys.executable, "-P", "-c", _START, str(Path(__file__).resolve().parents[2])]
            variables = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
            self._process = self._imports.started(self._imports.server, lambda forked: EngineProcess(
                variables, command if forked is None else [_WORKER], forked))

    def run(self, target: Target, load: Load, timeout_s: float) -> ClientRun:
        """Send the load and wait for its end. Raises ClientError."""
        try:
            self.warm_up()
            assert self._process is not None
            reply = self._process.ask({"run": arguments_of(target, load), "timeout_s": timeout_s},
                                      timeout_s + _GRACE_S)
        except EngineError as error:
            self._process = None
            raise ClientError(f"vLLM's client: {error}") from error
        if "late_s" in reply:
            raise LateError(f"its {load.requests} requests did not end within {timeout_s:g} s")
        if "refused" in reply:
            raise ClientError(f"vLLM's client: {reply['refused']}")
        records, gaps = records_of(reply.get("result"), load.is_closed)
        return ClientRun(records, {}, gaps)

    def facts(self) -> dict[str, str]:
        """Client and version."""
        return {"client": " ".join(("vllm bench serve", *(environment.engine_version() or ("none",))[1:]))}

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()


def arguments_of(target: Target, load: Load) -> list[str]:
    """The command line of `vllm bench serve` for a load."""
    arguments = [
        "--backend", "openai", "--base-url", target.base_url, "--endpoint", "/v1/completions",
        "--model", target.model, "--tokenizer", target.tokenizer, "--num-prompts", str(load.requests),
        "--seed", str(load.seed % _SEEDS), "--temperature", "0", "--ignore-eos", "--save-detailed", "--disable-tqdm",
        "--ready-check-timeout-sec", "0", "--percentile-metrics", "ttft,tpot,itl,e2el",
    ]
    if load.max_concurrency is not None:
        arguments += ["--max-concurrency", str(load.max_concurrency)]
    if load.dataset in {"trace", "lognormal"}:  # with the times at which to send
        return [*arguments, *load.options]
    if math.isfinite(load.request_rate):
        arguments += ["--request-rate", repr(load.request_rate), "--burstiness", repr(load.burstiness)]
    if load.dataset == "sharegpt":
        return [*arguments, "--dataset-name", "sharegpt", "--dataset-path", load.traffic]
    return [*arguments, "--dataset-name", "random", "--random-input-len", str(load.input_len),
            "--random-output-len", str(load.output_len), "--random-range-ratio", repr(load.range_ratio)]


def records_of(result: Any, closed: bool) -> tuple[Records, tuple[tuple[float, ...], ...]]:
    """The requests of a detailed result, and the seconds between the tokens of each. Raises ClientError.

    A request is due when the client's schedule has it, before it waits for a place under a limit (`queue_times`); in a
    closed loop the wait for a place is no delay.
    """
    try:
        n = len(result["start_times"])
        sent, first = _numbers(result["start_times"], n), _numbers(result["ttfts"], n)
        gaps = tuple(tuple(float(gap) for gap in each) for each in result["itls"])
        waited = np.zeros(n) if closed else _numbers(result.get("queue_times") or np.zeros(n), n)
        spans = _numbers(result.get("latencies") or [
            float(t) + sum(each) for t, each in zip(first, gaps, strict=True)], n)
        output = np.array([int(n or 0) for n in result["output_lens"]], dtype=np.int64)
        inputs = np.array([int(n or 0) for n in result["input_lens"]], dtype=np.int64)
        errors = tuple(_error(error, int(n), float(t)) for error, n, t in zip(
            result["errors"], output, first, strict=True))
        if len(inputs) != n:
            raise ValueError(f"{len(inputs)} input_lens of {n} requests")
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ClientError(f"vLLM's client: its result cannot be read ({type(error).__name__}: {error})") from error
    failed = np.array([bool(error) for error in errors], dtype=bool)
    end = np.where(failed, np.nan, sent + spans)
    return Records(sent - np.maximum(waited, 0.0), sent, np.where(failed, np.nan, sent + first), end, inputs,
                   np.where(failed, 0, output), errors), gaps


def _error(error: str, tokens: int, first_s: float) -> str:
    """Why a request failed; an answer without tokens is a failure whatever its status."""
    if error:
        return " ".join(str(error).strip().splitlines()[-1].split())[:200]
    return "" if tokens > 0 and first_s > 0 else "an answer without tokens"


def _numbers(values: Sequence[float] | FloatArray, n: int) -> FloatArray:
    """n numbers, (n,). Raises ValueError, for numpy would stretch a single one."""
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (n,):
        raise ValueError(f"{found.size} times of {n} requests")
    return found
