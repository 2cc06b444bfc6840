"""Study files of the vllm runner: what is refused, with which message, and vLLM's arguments."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from planner.space.types import Axis, Role, RunnerContext, Scale, Scope, StudyError
from runners import environment
from runners.vllm_offline import VllmRunner, engine_environment
from runners.vllm_settings import VllmSettings, VllmStudy, engine_argument_names

INPUT = Axis("input_len", (128, 1024), roles=(Role.INPUT_TOKENS,))
OUTPUT = Axis("output_len", (16, 256), roles=(Role.OUTPUT_TOKENS,))
BATCH = Axis("batch_size", (1, 300), roles=(Role.BATCH,))
MODEL = Axis("model", ("m", "org/model"), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,))
PARALLEL = Axis("tensor_parallel_size", (1, 2), Scope.ENGINE, roles=(Role.ACCELERATORS,))
needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(autouse=True)
def model(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    return tmp_path / "m"


def study(directory: Path, *axes: Axis, **settings: Any) -> VllmStudy:
    return VllmStudy(VllmSettings(**settings), RunnerContext(axes, ("e2el_ms",), directory))


@pytest.mark.parametrize(("axes", "settings", "message"), [
    ((), {}, "runner.model: missing"),
    ((), {"model": "./nowhere"}, "runner.model: no directory ./nowhere"),
    ((), {"model": "empty"}, "has no config.json"),
    ((MODEL,), {"model": "m"}, "runner.model: is swept by space.axes.model"),
    ((BATCH,), {"model": "m", "batch_size": 2}, "runner.batch_size: is swept by space.axes.batch_size"),
    ((Axis("request_rate", (1, 2), roles=(Role.RATE,)),), {"model": "m"}, "space.axes.request_rate: .*scope: engine"),
    ((Axis("model", ("m",)),), {}, "space.axes.model: .*scope: engine"),
    ((BATCH, Axis("bb", (1, 2), roles=(Role.BATCH,))), {"model": "m"}, "space.axes.bb: has the same role batch as"),
    ((Axis("output_len", (0, 2), roles=(Role.OUTPUT_TOKENS,)),), {"model": "m"}, "space.axes.output_len: 0 is not"),
    ((Axis("tensor_parallel_size", (1, 1.5), Scope.ENGINE),), {"model": "m"}, "1.5 is not a whole number"),
    ((), {"model": "m", "enable_prefix_caching": True}, "runner.enable_prefix_caching: is always false"),
])
def test_bad_studies_are_refused_by_name(
    tmp_path: Path, axes: tuple[Axis, ...], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        study(tmp_path, *axes, **settings)
    assert "\n" not in str(caught.value)


@needs_vllm
@pytest.mark.parametrize(("key", "hint"), [
    ("tensor_paralel_size", r" \(did you mean tensor_parallel_size\?\)"),
    ("repeat", r" \(did you mean repeats\?\)"),
    ("zzz", "$"),
])
def test_unknown_engine_arguments_are_refused(tmp_path: Path, key: str, hint: str) -> None:
    with pytest.raises(StudyError, match=f"runner.{key}: unknown engine argument{hint}"):
        study(tmp_path, model="m", **{key: 1})
    with pytest.raises(StudyError, match=f"space.axes.{key}: unknown engine argument{hint}"):
        study(tmp_path, Axis(key, (1, 2), Scope.ENGINE), model="m")


@needs_vllm
def test_engine_arguments_are_known_without_importing_vllm() -> None:
    assert {"model", "max_num_batched_tokens", "block_size", "kv_cache_dtype"} <= engine_argument_names()


@pytest.mark.parametrize("settings", [
    {"repeats": 0}, {"warmup": -1}, {"timeout_s": 0}, {"repeats": 3, "max_repeats": 2}, {"tolerance": 0.05},
    {"tensor_parallel_size": 0},
])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VllmSettings(**settings)


def test_points_become_workloads_and_engines(tmp_path: Path) -> None:
    asked = study(tmp_path, MODEL, PARALLEL, OUTPUT, BATCH, input_len=77, pipeline_parallel_size=3)
    point = {"model": "m", "tensor_parallel_size": 2, "output_len": 16, "batch_size": 300}
    assert asked.engine_values(point) == {"model": "m", "tensor_parallel_size": 2}
    assert (asked.workload(point).input_len, asked.workload(point).batch_size) == (77, 300)
    assert asked.accelerators({name: np.array([value]) for name, value in point.items()}).tolist() == [6.0]
    assert asked.longest_request() == 77 + 256


def test_engine_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "cpu_engine", lambda: False)
    asked = study(tmp_path, MODEL, PARALLEL, INPUT, OUTPUT, BATCH, load_format="dummy", block_size=32)
    arguments = asked.engine_arguments({"model": "m", "tensor_parallel_size": 2})
    assert arguments == {
        "model": str((tmp_path / "m").resolve()), "tensor_parallel_size": 2, "load_format": "dummy",
        "block_size": 32, "max_num_seqs": 512, "skip_tokenizer_init": True, "enable_prefix_caching": False,
        "disable_log_stats": True,
    }
    assert asked.engine_arguments({"model": "org/model"})["model"] == "org/model"
    given = study(tmp_path, BATCH, model="m", max_num_seqs=8, kv_cache_gib=0.5)
    assert given.engine_arguments({})["max_num_seqs"] == 8
    assert given.engine_arguments({})["kv_cache_memory_bytes"] == 2**29


def test_engine_arguments_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "cpu_engine", lambda: True)
    monkeypatch.setattr(environment, "memory_gib", lambda: 16.0)
    arguments = study(tmp_path, model="m").engine_arguments({})
    assert arguments["enforce_eager"] is True
    assert arguments["kv_cache_memory_bytes"] == 2 * 2**30
    assert study(tmp_path, model="m", enforce_eager=False).engine_arguments({})["enforce_eager"] is False
    assert "kv_cache_memory_bytes" not in study(tmp_path, model="m", gpu_memory_utilization=0.5).engine_arguments({})


def test_child_variables(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "cpu_engine", lambda: True)
    monkeypatch.setattr(environment, "cores", lambda: [0, 1, 2, 3, 5])
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    alone = engine_environment({"model": str(model)}, None)
    assert alone["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert alone["HF_HUB_OFFLINE"] == "1"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in alone
    pair = engine_environment({"model": "org/model", "tensor_parallel_size": 2}, None)
    assert pair["VLLM_CPU_OMP_THREADS_BIND"] == "0,1|2,3"
    assert "HF_HUB_OFFLINE" not in pair
    assert engine_environment({"model": "m", "tensor_parallel_size": 2}, "7|8")["VLLM_CPU_OMP_THREADS_BIND"] == "7|8"
    monkeypatch.setattr(environment, "cpu_engine", lambda: False)
    assert "LD_PRELOAD" not in engine_environment({"model": "m"}, None) or environment.os.environ.get("LD_PRELOAD")


def test_fingerprint_holds_what_alters_measurements(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "engine_version", lambda: ("vllm", "1.0"))
    monkeypatch.setenv("VLLM_API_KEY", "secret")

    def facts(*axes: Axis, **settings: Any) -> dict[str, str]:
        context = RunnerContext(axes or (MODEL, OUTPUT), ("e2el_ms",), tmp_path)
        return dict(VllmRunner(VllmSettings(**settings), context).fingerprint())

    first = facts()
    assert first == facts(timeout_s=5, start_timeout_s=9)
    assert first == facts(MODEL, OUTPUT, Axis("batch_size", (1, 2), roles=(Role.BATCH,)))
    assert first != facts(dtype="bfloat16")
    assert first["model:org/model"] == "org/model@main"
    assert first["engine"] == "vllm 1.0"
    assert "secret" not in str(first)
    model.joinpath("model.safetensors").write_bytes(b"1234")
    assert first["model:m"] != facts()["model:m"], "other weights"
    model.joinpath("config.json").write_text("{ }")
    assert facts(load_format="dummy")["model:m"] != first["model:m"]
    assert len(environment.digest(first)) == 12
    assert environment.digest(first) == environment.digest(dict(reversed(first.items())))


def test_trajectories_can_be_switched_off(tmp_path: Path) -> None:
    context = RunnerContext((MODEL, OUTPUT), ("e2el_ms",), tmp_path)
    assert VllmRunner(VllmSettings(), context).trajectory_axis == "output_len"
    assert VllmRunner(VllmSettings(trajectory=False), context).trajectory_axis is None
    assert VllmRunner(VllmSettings(), RunnerContext((MODEL,), (), tmp_path)).trajectory_axis is None
