"""Numbers that go with models: parameter counts from config.json and from names, and never a traceback."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from planner.space.axis_spec import AxisSpec
from planner.space.descriptor_tables import device_named, model_named
from planner.space.descriptors import (
    columns_of_axis,
    config_numbers,
    known_numbers,
    numbers_missing,
    parameters_of_config,
    parameters_of_name,
)
from planner.space.types import Axis, Role, Scale, Scope, StudyError

MODELS = Path(__file__).resolve().parents[2] / "studies/models"


def decoder(hidden: int, layers: int, heads: int, inner: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    return {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "vocab_size": vocabulary, **more}


LATENT = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128}
# Published configurations, with the parameter counts that their authors state.
PUBLISHED = {
    "Llama-2-7B": (decoder(4096, 32, 32, 11008, 32000), 6.738),
    "Llama-3-8B": (decoder(4096, 32, 32, 14336, 128256, num_key_value_heads=8), 8.030),
    "Llama-3-70B": (decoder(8192, 80, 64, 28672, 128256, num_key_value_heads=8), 70.55),
    "Llama-3.2-1B": (decoder(2048, 16, 32, 8192, 128256, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True),
                     1.236),
    "Qwen2.5-0.5B": (decoder(896, 24, 14, 4864, 151936, num_key_value_heads=2, tie_word_embeddings=True), 0.494),
    "Mixtral-8x7B": (decoder(4096, 32, 32, 14336, 32000, num_key_value_heads=8, num_local_experts=8), 46.70),
    "Qwen3-30B-A3B": (decoder(2048, 48, 32, 6144, 151936, num_key_value_heads=4, head_dim=128, num_experts=128,
                              moe_intermediate_size=768), 30.53),
    "DeepSeek-V3": (decoder(7168, 61, 128, 18432, 129280, n_routed_experts=256, num_experts_per_tok=8, **LATENT,
                            q_lora_rank=1536, first_k_dense_replace=3, n_shared_experts=1,
                            moe_intermediate_size=2048), 671.03),
    "DeepSeek-V2-Lite": (decoder(2048, 27, 16, 10944, 102400, n_routed_experts=64, num_experts_per_tok=6, **LATENT,
                                 q_lora_rank=None, first_k_dense_replace=1, n_shared_experts=2,
                                 moe_intermediate_size=1408), 15.71),
    "Kimi-K2": (decoder(7168, 61, 64, 18432, 163840, n_routed_experts=384, num_experts_per_tok=8, **LATENT,
                        q_lora_rank=1536, first_k_dense_replace=1, n_shared_experts=1,
                        moe_intermediate_size=2048), 1026.4),
    "Gemma-2-2B": (decoder(2304, 26, 8, 9216, 256000, num_key_value_heads=4, head_dim=256, model_type="gemma2"), 2.614),
    "Phi-2": (decoder(2560, 32, 32, 10240, 51200, tie_word_embeddings=False, model_type="phi"), 2.78),
    "StarCoder2-7B": (decoder(4608, 32, 36, 18432, 49152, num_key_value_heads=4, model_type="starcoder2"), 7.174),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_published_configurations(name: str) -> None:
    config, billions = PUBLISHED[name]
    assert parameters_of_config(config) == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize(("name", "billions"), [
    ("meta-llama/Llama-3.1-8B-Instruct", 8), ("Qwen/Qwen2.5-0.5B", 0.5), ("Qwen/Qwen2-7B", 7), ("llama-70b", 70),
    ("facebook/opt-125m", 0.125), ("bigscience/bloom-560m", 0.56), ("Bloom-1b7", 1.7), ("bloom-7b1", 7.1),
    ("mistralai/Mixtral-8x7B-v0.1", 56), ("Mixtral-8x22B", 176), ("Qwen3-30B-A3B", 30), ("gemma_2b", 2),
    ("llama-7b-4bit", 7), ("EleutherAI/gpt-j-6B", 6), ("70B/tiny-1b", 1), ("1.5B", 1.5), ("Qwen2.5-32B-GPTQ-Int4", 32),
])
def test_parameters_of_names(name: str, billions: float) -> None:
    assert parameters_of_name(name) == pytest.approx(billions)


@pytest.mark.parametrize("name", ["gpt2", "phi-3.5-mini", "bert-base", "v1.0", "", "7", "model-b", "abc7bd",
                                  "llama-8bit", "70b/", "mamba", "b", "m1"])
def test_names_that_tell_nothing(name: str) -> None:
    assert parameters_of_name(name) is None


def axis(*values: Any, **changes: Any) -> Axis:
    return Axis("model", values, **{"scope": Scope.ENGINE, "scale": Scale.CATEGORY, "roles": (Role.MODEL,), **changes})


def write(directory: Path, name: str, config: Any) -> None:
    (directory / name).mkdir(parents=True)
    (directory / name / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def test_the_config_counts_more_than_the_table_and_the_name(tmp_path: Path) -> None:
    write(tmp_path, "meta-llama/Llama-2-7b-hf", decoder(64, 2, 4, 128, 1000, num_key_value_heads=2))
    known = known_numbers(axis("meta-llama/Llama-2-7b-hf", "hub/other-13b", "hub/Llama-2-7b-hf"), tmp_path)
    # 1000·64 twice (in and out), and twice 2·64·(64 + 32) of attention and 3·64·128 of the rest.
    own = (2 * 64_000 + 2 * (2 * 64 * 96 + 24_576)) / 1e9
    assert known["params_b"] == (pytest.approx(own), 13.0, 7.0) and known["width"] == (64.0, None, 4096.0)
    assert known["kv_bytes"] == (2 * 2 * 2 * 16 * 2, None, 524_288)


def test_a_mixture_of_experts_uses_a_part_of_itself() -> None:
    config = PUBLISHED["Mixtral-8x7B"][0]
    assert config_numbers({**config, "num_experts_per_tok": 2})["active_b"] == pytest.approx(12.88, rel=0.005)
    qwen = config_numbers({**PUBLISHED["Qwen3-30B-A3B"][0], "num_experts_per_tok": 8})
    assert qwen["active_b"] == pytest.approx(3.35, rel=0.02) and qwen["experts"] == 128
    dense = config_numbers(PUBLISHED["Llama-3-8B"][0])
    assert dense["active_b"] == dense["params_b"] and dense["experts"] == 1
    latent = config_numbers(decoder(7168, 61, 128, 18432, 129280, kv_lora_rank=512, qk_rope_head_dim=64))
    assert latent["kv_bytes"] == 61 * (512 + 64) * 2


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_of_models_agrees_with_their_configurations(name: str) -> None:
    own, table = config_numbers(PUBLISHED[name][0]), model_named(name)
    routed = ("active_b",) if "num_experts_per_tok" in PUBLISHED[name][0] else ()
    for number in ("params_b", "layers", "width", "kv_bytes", "experts", *routed):
        assert table[number] == pytest.approx(own[number], rel=0.005), number


def resolved(directory: Path, *values: Any, role: Role = Role.MODEL, **given: Any) -> Axis:
    spec = AxisSpec(values=list(values), scale=Scale.CATEGORY, role=role, **given)
    return spec.resolve("x", known=lambda axis: known_numbers(axis, directory))


def test_every_value_or_none_and_the_note_says_what_to_type(tmp_path: Path) -> None:
    assert resolved(tmp_path, "llama-7b", "gpt-9000").descriptors == {}
    half = resolved(tmp_path, "H100", "X9", "A100", role=Role.DEVICE)
    note = numbers_missing(half, known_numbers(half, tmp_path))
    assert half.descriptors == {} and "x" in note and "\n" not in note
    for words in ("space.axes.x", "tflops, bandwidth_gb_s", "X9", "descriptors: {tflops: {X9: …}}"):
        assert words in note
    for whole in (resolved(tmp_path, "H100", "A100", role=Role.DEVICE), resolved(tmp_path, "X9", role=Role.DEVICE)):
        assert numbers_missing(whole, known_numbers(whole, tmp_path)) == ""


def test_what_is_typed_counts_more_than_the_table_and_fills_its_gaps(tmp_path: Path) -> None:
    typed = {"bandwidth_gb_s": {"X9": 5000, "H100": 3000}, "tflops": {"X9": 1000},
             "age": {"X9": 1, "H100": 3, "A100": 5}}
    described = resolved(tmp_path, "H100", "X9", "A100", role=Role.DEVICE, descriptors=typed)
    assert described.descriptors == {"bandwidth_gb_s": (3000.0, 5000.0, 2039.0), "tflops": (989.4, 1000.0, 312.0),
                                     "age": (3.0, 1.0, 5.0)}
    assert numbers_missing(described, known_numbers(described, tmp_path)) == ""
    with pytest.raises(StudyError, match=r"x\.descriptors\.age: has no number for 'A100'"):
        resolved(tmp_path, "X9", "A100", role=Role.DEVICE, descriptors={"age": {"X9": 1}})


def test_surrogates_see_what_they_saw_before(tmp_path: Path) -> None:
    described = resolved(tmp_path, "llama-2-7b", "llama-2-70b", descriptors={"x": {"llama-2-7b": 1, "llama-2-70b": 2}})
    assert set(columns_of_axis(described)) == {"params_b", "x"} < set(described.descriptors)
    assert set(described.descriptors) == {"params_b", "active_b", "layers", "width", "kv_bytes", "x"}


def test_other_axes_are_not_described(tmp_path: Path) -> None:
    for change in ({"roles": ()}, {"roles": (Role.BATCH,)}, {"scale": Scale.LINEAR}):
        assert known_numbers(axis("llama-7b", **change), tmp_path) == {}


def test_shipped_models() -> None:
    sizes = known_numbers(axis("llama-tiny", "qwen3-small"), MODELS)["params_b"]
    for name, size in zip(("llama-tiny", "qwen3-small"), sizes, strict=True):
        config = json.loads((MODELS / name / "config.json").read_text())
        layer = config["intermediate_size"] * config["hidden_size"] * 3
        assert size is not None and size > config["num_hidden_layers"] * layer / 1e9
        assert size == parameters_of_config(config)


BROKEN = ["", "{", "[]", "null", "3", '"x"', "{}", '{"hidden_size": 64}', "\x00", "[" * 100_000, "NaN"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_config_falls_back_to_the_name(tmp_path: Path, text: str) -> None:
    write(tmp_path, "my-7b", text)
    assert known_numbers(axis("my-7b"), tmp_path) == {"params_b": (7.0,)}


@pytest.mark.parametrize("change", [
    {"hidden_size": 0}, {"hidden_size": "wide"}, {"hidden_size": None}, {"hidden_size": []}, {"hidden_size": math.inf},
    {"hidden_size": math.nan}, {"num_attention_heads": 0}, {"num_hidden_layers": -2}, {"head_dim": "x"},
    {"head_dim": [1]},
    {"num_key_value_heads": [2]}, {"num_key_value_heads": -1}, {"num_experts": math.inf}, {"vocab_size": 10**400},
    {"num_local_experts": "many"},
])
def test_a_config_that_makes_no_sense_falls_back_to_the_name(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path, "my-7b", json.dumps({**decoder(64, 2, 4, 128, 1000), **change}))
    assert known_numbers(axis("my-7b"), tmp_path) == {"params_b": (7.0,)}


def test_bytes_that_are_no_text_and_directories(tmp_path: Path) -> None:
    write(tmp_path, "my-7b", "x")
    (tmp_path / "my-7b/config.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "dir-13b/config.json").mkdir(parents=True)
    known = known_numbers(axis("my-7b", "dir-13b", "nul\0-2b", "long" * 2000 + "-3b"), tmp_path)
    assert known == {"params_b": (7.0, 13.0, 2.0, 3.0)}


def test_values_of_any_kind(tmp_path: Path) -> None:
    for value in (8, 2.5, True, "", ".", "..", "/"):
        assert known_numbers(axis(value), tmp_path) == {}
        assert known_numbers(axis(value, roles=(Role.DEVICE,)), tmp_path) == {}


leaf = st.none() | st.booleans() | st.integers(-2, 4096) | st.integers() | st.floats() | st.text(max_size=4)
keys = st.sampled_from([*decoder(1, 1, 1, 1, 1), "head_dim", "num_key_value_heads", "num_experts",
                        "tie_word_embeddings", "moe_intermediate_size", "num_local_experts", "num_experts_per_tok",
                        *LATENT, "q_lora_rank", "n_routed_experts", "n_shared_experts", "first_k_dense_replace",
                        "model_type"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, leaf | st.lists(leaf, max_size=2), max_size=4), st.booleans())
def test_any_config_gives_a_size_or_none(changes: dict[str, Any], whole: bool) -> None:
    size = parameters_of_config({**(decoder(64, 2, 4, 128, 1000) if whole else {}), **changes})
    event("none" if size is None else "size")
    assert size is None or (isinstance(size, float) and 0 < size < math.inf)
    found = config_numbers({**(decoder(64, 2, 4, 128, 1000) if whole else {}), **changes})
    assert all(isinstance(number, float) and 0 < number < math.inf for number in found.values())


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20) | st.text(alphabet="0123456789bBmMx.-_/ab", max_size=20))
def test_any_name_gives_a_size_or_none(name: str) -> None:
    size = parameters_of_name(name)
    assert size is None or 0 <= size < math.inf
    assert isinstance(model_named(name), Mapping) and isinstance(device_named(name), Mapping)


def test_a_size_that_only_the_table_knows_serves_the_latency_model_alone(tmp_path: Path) -> None:
    described = resolved(tmp_path, "microsoft/phi-2", "llama-2-7b")
    assert described.descriptors["whole_b"] == (pytest.approx(2.78, abs=0.1), 7.0)
    assert "params_b" not in described.descriptors and columns_of_axis(described) == {}
    unknown = known_numbers(axis("nobodys-model", "microsoft/phi-2"), tmp_path)
    assert unknown["params_b"][0] is None and "whole_b" not in unknown
