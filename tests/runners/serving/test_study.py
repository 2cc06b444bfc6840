"""The section `runner: {kind: vllm-serve}` and its axes: what is wrong is said before anything starts."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from planner.space.types import Axis, Role, RunnerContext, Scale, Scope, StudyError
from runners import environment
from runners.serving.model_files import has_tokenizer, with_word_tokenizer
from runners.serving.serve_settings import ServeSettings
from runners.serving.study import ServeStudy, server_argument_names

vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="the arguments are read from vLLM's source")

INPUT = Axis("input_len", (16, 64), roles=(Role.INPUT_TOKENS,))
OUTPUT = Axis("output_len", (8, 32), roles=(Role.OUTPUT_TOKENS,))
CONCURRENCY = Axis("max_concurrency", (1, 8), roles=(Role.CONCURRENCY,))
RATE = Axis("request_rate", (1.0, 4.0, math.inf), roles=(Role.RATE,))
SEQS = Axis("max_num_seqs", (8, 16), Scope.ENGINE)
TOKENS = '{"timestamp": %d, "input_length": 20, "output_length": 5, "hash_ids": [%d]}\n'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": 100, "model_type": "llama"}))
    return tmp_path


def study(directory: Path, *axes: Axis, **settings: Any) -> ServeStudy:
    given = {} if "base_url" in settings else {"model": "tiny"}
    return ServeStudy(ServeSettings(**(given | settings)), RunnerContext(axes, ("ttft_ms",), directory))


# ------------------------------------------------------------------------------------------------------------ refusals


@vllm
@pytest.mark.parametrize(("key", "near"), [
    ("max_num_seq", "max_num_seqs"), ("gpu_memory_utilisation", "gpu_memory_utilization"),
    ("enable_prefix_cachin", "enable_prefix_caching"), ("duration", "duration_s")])
def test_an_argument_that_vllm_does_not_know_is_refused_with_the_closest_name(model: Path, key: str, near: str) -> None:
    with pytest.raises(StudyError, match=rf"runner\.{key}: .*no such argument \(did you mean {near}\?\)"):
        study(model, CONCURRENCY, **{key: 1})
    with pytest.raises(StudyError, match=rf"space\.axes\.{key}: .*no such argument"):
        study(model, CONCURRENCY, Axis(key, (1, 2), Scope.ENGINE))


@vllm
def test_arguments_of_the_engine_and_of_its_front_end_are_known() -> None:
    assert {"max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "enable_prefix_caching", "block_size",
            "kv_cache_dtype", "quantization", "speculative_config", "tensor_parallel_size", "data_parallel_size",
            "api_key", "chat_template"} <= server_argument_names()


def test_an_engine_axis_needs_a_server_that_we_start(model: Path) -> None:
    with pytest.raises(StudyError, match=r"space\.axes\.max_num_seqs: .*remove runner\.base_url, or the axis"):
        study(model, CONCURRENCY, SEQS, base_url="http://localhost:8000")
    with pytest.raises(StudyError, match=r"runner\.max_num_seqs: the server of runner\.base_url is up already"):
        study(model, CONCURRENCY, max_num_seqs=8, base_url="http://localhost:8000")


@pytest.mark.parametrize(("axes", "settings"), [((INPUT, OUTPUT), {}), ((RATE,), {}), ((INPUT,), {"burstiness": 2})])
def test_a_load_needs_a_limit_or_a_rate(model: Path, axes: tuple[Axis, ...], settings: dict[str, Any]) -> None:
    """Without one, all requests would be sent at once; one infinite value of an axis is enough for that."""
    with pytest.raises(StudyError, match=r"all requests are sent at once.*add an axis max_concurrency"):
        study(model, *axes, **settings)


@pytest.mark.parametrize(("axes", "settings"), [
    ((CONCURRENCY,), {}), ((INPUT,), {"max_concurrency": 4}), ((INPUT,), {"request_rate": 2.0}),
    ((RATE,), {"max_concurrency": 4}), ((Axis("request_rate", (1, 2)),), {})])
def test_one_that_has_either_is_accepted(model: Path, axes: tuple[Axis, ...], settings: dict[str, Any]) -> None:
    study(model, *axes, **settings)


@pytest.mark.parametrize(("axes", "settings", "told"), [
    ((CONCURRENCY,), {"max_concurrency": 4}, r"runner\.max_concurrency: is swept by space\.axes\.max_concurrency"),
    ((CONCURRENCY, SEQS), {"max_num_seqs": 4}, r"runner\.max_num_seqs: is swept by"),
    ((CONCURRENCY, Axis("users", (1, 2), roles=(Role.CONCURRENCY,))), {}, r"space\.axes\.users: sets max_concurrency"),
    ((CONCURRENCY, Axis("max_num_seqs", (1, 2))), {}, r"is no part of a load.*say `scope: engine`"),
    ((CONCURRENCY, Axis("input_length", (1, 2))), {}, r"did you mean input_len\?"),
    ((Axis("max_concurrency", (1.5, 2)),), {}, r"max_concurrency"),
    ((CONCURRENCY,), {"dataset": "absent.csv"}, r"runner\.dataset: no file absent\.csv"),
    ((CONCURRENCY,), {"model": "./absent"}, r"runner\.model: no directory"),
    ((CONCURRENCY,), {"model": None}, r"runner\.model: missing"),
])
def test_bad_studies_are_refused_by_name(
    model: Path, axes: tuple[Axis, ...], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(StudyError, match=told):
        study(model, *axes, **settings)


@pytest.mark.parametrize("settings", [
    {"duration_s": 0}, {"duration_s": 20, "max_duration_s": 10}, {"tolerance": 0}, {"repeats": 0}, {"failed_share": -1},
    {"range_ratio": 1}, {"request_rate": 0}, {"burstiness": 0}, {"client": "wrk"}, {"base_url": "localhost:8000"},
    {"max_concurrency": 0}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServeSettings(**settings)


# --------------------------------------------------------------------------------------------------------------- loads


def test_a_point_becomes_a_load_and_a_server(model: Path) -> None:
    made = study(model, INPUT, OUTPUT, CONCURRENCY, RATE, SEQS, Axis("burstiness", (1.0, 0.5)))
    point = {"input_len": 64, "output_len": 8, "max_concurrency": 8, "request_rate": math.inf, "max_num_seqs": 16,
             "burstiness": 0.5}
    load = made.load(point)
    assert (load.input_len, load.output_len, load.max_concurrency, load.burstiness) == (64, 8, 8, 0.5)
    assert load.is_closed and not made.load({**point, "request_rate": 4.0}).is_closed
    assert made.engine_values(point) == {"max_num_seqs": 16}


def test_real_traffic_has_its_own_lengths_and_rate(model: Path) -> None:
    (model / "trace.jsonl").write_text("".join(TOKENS % (i * 500, i) for i in range(9)))
    made = study(model, RATE, dataset="trace.jsonl")
    assert made.load({"request_rate": 4.0}).request_rate == 4.0
    own = made.load({"request_rate": math.inf})
    assert (own.dataset, own.request_rate) == ("trace", pytest.approx(2.0)), "its own, not all at once"
    assert own.traffic == str(model / "trace.jsonl")


def test_devices_are_the_product_of_the_parallel_sizes(model: Path) -> None:
    swept = study(model, CONCURRENCY, Axis("tensor_parallel_size", (1, 2), Scope.ENGINE), data_parallel_size=2)
    columns = {"tensor_parallel_size": np.array([1, 2]), "max_concurrency": np.array([1, 1])}
    assert swept.accelerators(columns).tolist() == [2, 4]
    named = study(model, CONCURRENCY, accelerators=3)
    assert named.accelerators({"max_concurrency": np.array([1])}).tolist() == [3]


def test_server_arguments(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "cpu_engine", lambda: False)
    made = study(model, CONCURRENCY, SEQS, duration_s=5, dtype="bfloat16", load_format="dummy", kv_cache_gib=2)
    assert made.server_arguments({"max_num_seqs": 8}) == {
        "dtype": "bfloat16", "load_format": "dummy", "max_num_seqs": 8, "kv_cache_memory_bytes": 2**31,
        "model": str(model / "tiny")}
    monkeypatch.setattr(environment, "cpu_engine", lambda: True)
    monkeypatch.setattr(environment, "memory_gib", lambda: 16.0)
    on_cpu = study(model, CONCURRENCY, SEQS).server_arguments({"max_num_seqs": 8})
    assert (on_cpu["enforce_eager"], on_cpu["kv_cache_memory_bytes"]) == (True, 2**31)


def test_the_fingerprint_holds_what_alters_measurements(model: Path) -> None:
    facts = [study(model, CONCURRENCY, **settings).facts()
             for settings in ({}, {"max_duration_s": 400}, {"duration_s": 20}, {"dataset": "lognormal"})]
    assert facts[0] == facts[1]
    assert len({json.dumps(each) for each in facts}) == 3
    assert "model:tiny" in facts[0]
    assert not [key for key in study(model, CONCURRENCY, base_url="http://h:1").facts() if key.startswith("model:")]


def test_an_axis_of_models_needs_none_in_the_settings(model: Path) -> None:
    axis = Axis("llm", ("tiny",), Scope.ENGINE, Scale.CATEGORY, (Role.MODEL,))
    made = ServeStudy(ServeSettings(), RunnerContext((CONCURRENCY, axis), ("ttft_ms",), model))
    assert made.engine_values({"llm": "tiny"}) == {"model": "tiny"}
    assert made.server_arguments({"model": "tiny"})["model"] == str(model / "tiny")


# --------------------------------------------------------------------------------------------------------- model files


def test_a_bare_model_gets_a_tokenizer_with_a_word_for_each_token(model: Path, tmp_path: Path) -> None:
    """Prompts then have exactly the lengths that are asked for."""
    assert not has_tokenizer(model / "tiny")
    made = with_word_tokenizer(model / "tiny", tmp_path / "copy")
    assert has_tokenizer(made) and json.loads((made / "config.json").read_text())["vocab_size"] == 100
    vocabulary = json.loads((made / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(100))
    assert not (model / "tiny" / "tokenizer.json").exists(), "the user's folder stays as it was"
    tokenizers = pytest.importorskip("tokenizers")
    read = tokenizers.Tokenizer.from_file(str(made / "tokenizer.json"))
    ids = [5, 99, 42, 3, 3]
    assert read.encode(read.decode(ids)).ids == ids


@pytest.mark.parametrize("config", [{}, {"vocab_size": 2}, {"vocab_size": "many"}])
def test_a_model_without_a_vocabulary_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StudyError, match=r"bare/config\.json has no vocab_size"):
        with_word_tokenizer(folder, tmp_path / "copy")


@pytest.mark.parametrize(("cores", "given", "expected"), [
    ([0, 1, 2], {}, ("0,1", (2,))),
    ([3], {}, (None, ())),
    ([0, 1], {"omp_threads_bind": "0-1"}, ("0-1", ())),
    ([0, 1], {"tensor_parallel_size": 2}, (None, ())),
])
def test_on_a_cpu_the_front_end_has_a_core_of_its_own(
    monkeypatch: pytest.MonkeyPatch, cores: list[int], given: dict[str, Any], expected: tuple[Any, Any]
) -> None:
    monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.setattr(environment, "cpu_engine", lambda: True)
    monkeypatch.setattr(environment, "cores", lambda: cores)
    settings = ServeSettings(model="models/llama-tiny", max_concurrency=2, **given)
    study = ServeStudy(settings, RunnerContext((), (), Path(environment.__file__).parents[1] / "studies"))
    assert study.cores({}) == expected
    monkeypatch.setattr(environment, "cpu_engine", lambda: False)
    assert study.cores({})[1] == ()
