"""What a start of an engine consists of."""

from __future__ import annotations

import time

import pytest

from runners.engine_start import Start, StartWatch, start_parts
from runners.fork_server import ForkServer

LOG = """
INFO 11-27 12:00:00 [gpu_model_runner.py:5150] Model loading took 14.9889 GiB memory and 3.250000 seconds
INFO 11-27 12:00:00 [monitor.py:53] torch.compile took 20.50 s in total
INFO 11-27 12:00:00 [gpu_model_runner.py:6582] Graph capturing finished in 9 secs, took 0.61 GiB
INFO [core.py:403] init engine (profile, create kv cache, warmup model) took 41.00 s (compilation: 20.50 s)
"""


def test_parts_are_read_from_what_vllm_says_and_add_up() -> None:
    parts = dict(start_parts(60.0, LOG, {"import": 12.0, "first steps": 0.5}))
    assert parts == {"import": 12.0, "first steps": 0.5, "model": 3.25, "compile": 20.5, "graphs": 9.0,
                     "KV cache": pytest.approx(11.5), "other": pytest.approx(3.25)}
    assert sum(parts.values()) == pytest.approx(60.0)


def test_the_slowest_rank_counts_and_what_is_not_said_is_other() -> None:
    two = "Model loading took 1 GiB memory and 2.0 seconds\nModel loading took 1 GiB memory and 3.0 seconds\n"
    assert dict(start_parts(10.0, two, {})) == {"model": 3.0, "other": 7.0}
    assert start_parts(10.0, "nothing of use", {}) == (("other", 10.0),)
    assert start_parts(0.0, "", {}) == ()


def test_imports_are_charged_in_full_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five of the sixteen seconds of importing went on while the first run was planned: all are charged."""
    clock = iter([100.0, 101.0, 101.5, 112.5, 115.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = StartWatch()
    watch.ended_last()
    watch.imported(lambda: (None, 16.0))
    start = watch.done("", {"first steps": 0.5})
    assert (start.start_s, start.import_s) == (4.0, 16.0), "15 s in all, 11 of them waiting for the imports"
    assert dict(start.parts) == {"end of the last": 1.0, "first steps": 0.5, "import": 16.0, "other": 2.5}
    cost = start.cost(1.0, 2.0, 4.0)
    assert (cost.seconds, cost.run_s, cost.accelerator_seconds) == (23.0, 3.0, 92.0)


def test_a_later_start_pays_no_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 100.5, 103.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = StartWatch()
    watch.ended_last()
    assert watch.imported(lambda: (None, 0.0)) is None
    assert watch.done("", {}) == Start(3.0, 0.0, (("other", 3.0),))


def test_the_fork_server_is_handed_through() -> None:
    server = object.__new__(ForkServer)
    assert StartWatch().imported(lambda: (server, 0.0)) is server
