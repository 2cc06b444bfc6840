"""The requests of a load, as vLLM's client takes them: by its own names where it draws them, else a file of ours."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from planner.tables.traffic import Traffic
from planner.tables.traffic_file import read_traffic
from runners.serving.client import Load
from runners.serving.traffic import Lengths, synthetic, write_timed_trace

__all__ = ["prepared", "read"]


def prepared(
    load: Load, folder: Path, scales: tuple[float, float] = (1.0, 1.0), longest: int | None = None
) -> Load:
    """The load with its file and the options to read it, where one is needed.

    folder: where the file is written; the next load overwrites it. scales: factors on input and output lengths of a
    trace. longest: tokens of a request that the server takes; longer ones of a trace are left out. Raises StudyError
    for a trace that cannot be read.
    """
    if load.dataset == "trace":
        scaled = read(Path(load.traffic)).scaled(None, *scales, longest)
        traffic = scaled.taken(load.requests, load.seed).scaled(load.request_rate)
    elif load.dataset == "lognormal":
        inputs, outputs = (Lengths("lognormal", mean, load.range_ratio) for mean in (load.input_len, load.output_len))
        drawn = synthetic(load.request_rate, load.burstiness, inputs, outputs, load.requests, load.seed)
        traffic = drawn.scaled(load.request_rate)  # exactly: by chance, 25 requests come 20 % faster or slower
    else:
        return load
    path = folder / "traffic.jsonl"
    return replace(load, traffic=str(path), options=write_timed_trace(traffic, path, load.seed))


@lru_cache(maxsize=4)
def read(path: Path) -> Traffic:
    """The traffic of a file, read once. Raises StudyError."""
    return read_traffic(path)
