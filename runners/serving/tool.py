"""A load generator of somebody else's, as a child process: found, run to its end, read. What GuideLLM and AIPerf share.

The child is a `ProcessGroup`: it ends with us, and nothing of it is left when `Tool.run` returns.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from planner.importers.registry import read_rows
from planner.space.types import RunnerError, StudyError, Value
from planner.tables.traffic import Traffic
from planner.tables.traffic_file import read_traffic
from runners.process_group import Child, ProcessGroup
from runners.process_table import GRACE_S
from runners.serving.client import ClientError, LateError, Load
from runners.serving.records import Records
from runners.serving.traffic import Lengths, synthetic
from runners.vllm_process import explain, tail

__all__ = ["Request", "Tool", "as_count", "drawn", "length_range", "metrics_of", "records_of", "requests_in_flight",
           "traffic_of"]

_VERSION_S: Final = 60.0
_POLL_S: Final = 0.1
_ERROR_CHARACTERS: Final = 200
_REASON_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Tool:
    """An installed command-line tool. name: of command and package. version: "" if unknown. begins: what it prints when
    it begins to send."""

    name: str
    command: Path
    version: str
    begins: str

    @classmethod
    def found(cls, name: str, least: str, begins: str) -> Tool:
        """The tool on PATH, or beside this Python. least: the first version whose options are those we write.

        Raises RunnerError, with the command that installs it.
        """
        command = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
        install = f"pip install '{name}>={least}'"
        if command is None:
            raise RunnerError(f"client: {name} is not installed; {install} (an environment of its own will do, if its "
                              "bin folder is on PATH)")
        version = _installed(Path(command), name) or _said(command)
        if version and _numbers(version) < _numbers(least):
            raise RunnerError(f"client: {command} is {name} {version}, whose options differ; {install}")
        return cls(name, Path(command), version, begins)

    def run(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float) -> str:
        """Run to the end within a folder, which is its place for temporary files too. Returns "", or why it failed.
        Raises ClientError where it cannot be started or does not begin to send in time, LateError where it does not end
        in time."""
        deadline = time.monotonic() + timeout_s
        with tempfile.TemporaryFile() as log:
            try:
                group = ProcessGroup(
                    [str(self.command), *arguments], {**os.environ, "TMPDIR": str(folder), **environment}, cwd=folder,
                    stdout=log, stderr=subprocess.STDOUT)
            except OSError as error:
                raise ClientError(f"{self.name} cannot be started: {error}") from error
            try:
                status = _wait(group.process, deadline)
                if status is None:
                    raise self._late(timeout_s, log)
            finally:
                group.end(GRACE_S)
            return f"{self.name}: {_reason(status, log)}" if status else ""

    def _late(self, timeout_s: float, log: IO[bytes]) -> ClientError:
        log.seek(0)
        if self.begins.encode() in log.read():
            return LateError(f"{self.name} did not end within {timeout_s:g} s{_last_words(log)}")
        return ClientError(f"{self.name} did not begin to send within {timeout_s:g} s{_last_words(log)}")


def _wait(process: Child, deadline: float) -> int | None:
    """The exit status; None if it still runs at the deadline."""
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(min(left, _POLL_S))
    return process.poll()


def _installed(command: Path, name: str) -> str:
    """The version by the metadata of the environment that a command is in. Nothing is started."""
    places = [str(path) for path in command.resolve().parent.parent.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(name=name, path=places)
    return next((distribution.version for distribution in found), "")


def _said(command: str) -> str:
    """The version that a command says."""
    try:
        ran = subprocess.run([command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=_VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+(\.\w+)+", ran.stdout)
    return match.group() if match else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _reason(status: int, log: IO[bytes]) -> str:
    """Why it failed, by its log: what a last box of rich says, the last exception, or the last lines."""
    text = tail(log)
    if status > 0 and (boxes := re.findall(r"╭[^\n]*\n(.*?)\n╰", text, re.DOTALL)):
        said = " ".join(line.strip(" │") for line in boxes[-1].splitlines())
        said = (said.partition("Reason:")[2] or said).partition("•")[0]
        return " ".join(said.split())[:_REASON_CHARACTERS]
    text = re.sub(r":\s*\n\s*-\s+", ": ", text)  # click: "Error: Invalid value for '--x':", and then why
    return explain(None, status, text).replace("engine process", "it")


def _last_words(log: IO[bytes]) -> str:
    lines = [line.strip() for line in tail(log).splitlines() if line.strip()]
    return f"; its last line: {lines[-1][:_ERROR_CHARACTERS]}" if lines else ""


# ---------------------------------------------------------------------------------------------------------------- load


def requests_in_flight(load: Load) -> int:
    """How many requests a closed loop holds in flight."""
    return min(load.max_concurrency or load.requests, load.requests)


def length_range(mean: int, range_ratio: float) -> tuple[int, int]:
    """Least and greatest length of a load: the whole numbers that vLLM's `random` dataset draws from."""
    return max(1, math.floor(mean * (1 - range_ratio))), math.ceil(mean * (1 + range_ratio))


def traffic_of(load: Load) -> Traffic | None:
    """The requests of a load that has a file of them; None if it has none. Raises ClientError, StudyError."""
    if load.dataset == "random":
        return None
    if load.dataset not in {"trace", "lognormal"}:
        raise ClientError(f"this client does not send {load.dataset}; measure it with client: vllm")
    traffic = read_traffic(Path(load.traffic))
    if len(traffic) < load.requests:
        raise ClientError(f"{load.traffic} has {len(traffic)} requests, and {load.requests} are asked for")
    return traffic.first(load.requests)


def drawn(load: Load) -> Traffic:
    """The requests of a load in open loop whose lengths are uniform, drawn by us."""
    inputs, outputs = (Lengths("uniform", mean, load.range_ratio) for mean in (load.input_len, load.output_len))
    return synthetic(load.request_rate, load.burstiness, inputs, outputs, load.requests, load.seed)


# -------------------------------------------------------------------------------------------------------------- result


@dataclass(frozen=True, slots=True)
class Request:
    """What a tool tells of one request. Times are seconds on one clock; None where there was none."""

    due: float
    sent: float
    first: float | None
    end: float | None
    input_tokens: int
    output_tokens: int
    error: str


def records_of(
    tool: str, requests: Sequence[Request], load: Load, reason: str, lost: int = 0
) -> tuple[Records, list[int]]:
    """The records, in the order in which they were due, and the place of each in `requests`.

    reason: why the tool failed, "" if it did not: it may fail because all requests failed, and still tell of each.
    lost: how many requests it may be silent about. Raises ClientError if it does not tell of as many as were asked for.
    """
    if len(requests) < max(1, load.requests - lost):
        raise ClientError(reason or f"{tool} tells of {len(requests)} requests, and {load.requests} were asked for")
    try:
        order = sorted(range(len(requests)), key=lambda place: requests[place].due)
        ordered = [requests[place] for place in order]
        due, sent, first, end = (np.array([getattr(request, name) for request in ordered], dtype=np.float64)
                                 for name in ("due", "sent", "first", "end"))  # None becomes NaN
        inputs, outputs = (np.array([getattr(request, name) for request in ordered], dtype=np.int64)
                           for name in ("input_tokens", "output_tokens"))
    except (OverflowError, TypeError, ValueError) as error:
        raise ClientError(f"{tool}'s report cannot be read ({type(error).__name__}: {error})") from error
    return Records(due, sent, first, end, inputs, outputs, tuple(_error(request) for request in ordered)), order


def _error(request: Request) -> str:
    """Why a request failed; an answer without tokens is a failure whatever its status."""
    text = " ".join(request.error.split())[:_ERROR_CHARACTERS]
    return text or ("" if request.output_tokens > 0 else "an answer without tokens")


def metrics_of(path: Path, form: str) -> dict[str, Value]:
    """The statistics of a tool's report, by vLLM's names, through our importer of it; {} where the report has none,
    because requests failed. form: of the importer."""
    try:
        rows = read_rows(path, form, {}, {})
    except StudyError:
        return {}
    return {name: repeats[0] for name, repeats in rows[0].metrics.items() if repeats} if len(rows) == 1 else {}


def as_count(value: Any) -> int:
    """A number of tokens as a tool writes it; 0 where it writes none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else 0
