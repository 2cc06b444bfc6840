"""Two real vLLM engines side by side, each on a core of its own."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from optuna.trial import TrialState

from tests.parallel.conftest import ROOT, Sleepers
from tests.parallel.test_parallel import processes_of
from tests.runners.processes import soon

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2, reason="needs two cores"),
]

OFTEN = 10  # an engine is seen much more often, what lasts for a moment is not


def bound(study: Sleepers) -> Iterator[tuple[int, frozenset[int]]]:
    """Number and cores of each process that was forked after vLLM's import and has a core's lock: the engines; for a
    moment, while it forks one, the process that has imported vLLM too."""
    for pid in processes_of(study):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            files = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]  # noqa: PTH115 - may lead nowhere
            if b"fork_server_process" in line and any("/runtime/core-" in file for file in files):
                yield pid, frozenset(os.sched_getaffinity(pid))
        except OSError:
            continue


def test_two_engines_have_a_core_each(sleepers: Callable[..., Sleepers]) -> None:
    study = sleepers()
    models = [str(ROOT / "studies/models" / name) for name in ("llama-tiny", "qwen3-small")]
    settings = yaml.safe_load(study.study.read_text())
    settings["space"]["axes"] = {"model": {"values": models, "scope": "engine", "scale": "category"},
                                 "batch_size": {"values": [1, 2, 4, 8], "scale": "log"}}
    settings |= {"targets": ["e2el_ms"], "stop": {"trials": 6}, "runner": {
        "kind": "vllm", "load_format": "dummy", "dtype": "bfloat16", "input_len": 16, "output_len": 64,
        "max_model_len": 128, "kv_cache_gib": 0.2}}
    study.study.write_text(yaml.safe_dump(settings))
    running, seen = study.start("--parallel", 2), Counter[tuple[int, frozenset[int]]]()

    def is_over() -> bool:
        seen.update(bound(study))
        return running.poll() is not None

    assert soon(is_over, 200)
    out, err = running.communicate()
    assert running.returncode == 0, err
    cores = [frozenset({core}) for core in sorted(os.sched_getaffinity(0))[:2]]
    assert {where for (_, where), times in seen.items() if times >= OFTEN} == set(cores), seen
    trials = [trial for trial in study.trials() if trial.state is TrialState.COMPLETE]
    places = [trial.user_attrs["measurement"]["placement"] for trial in trials]
    assert len(trials) == 6 and {tuple(place["devices"]) for place in places} == {
        (str(core),) for one in cores for core in one}
    for a in places:
        assert not any(b is not a and b["devices"] == a["devices"] and b["began"] < a["ended"]
                       and a["began"] < b["ended"] for b in places)
    assert study.attributes()["fingerprint"]["cores"] == "1 for each accelerator"
    print(out)
