"""Numbers that go with models: parameter counts from config.json and from names, and never a traceback."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from planner.space.descriptors import describe_models, parameters_of_config, parameters_of_name
from planner.space.types import Axis, Role, Scale, Scope

MODELS = Path(__file__).resolve().parents[2] / "studies/models"


def decoder(hidden: int, layers: int, heads: int, inner: int, vocabulary: int, **more: Any) -> dict[str, Any]:
    return {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "vocab_size": vocabulary, **more}


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


def test_the_config_counts_more_than_the_name(tmp_path: Path) -> None:
    write(tmp_path, "models/tiny-7b", decoder(64, 2, 4, 128, 1000))
    described = describe_models(axis("models/tiny-7b", "hub/other-13b"), tmp_path)
    # 1000·64 twice (in and out), and twice 4·64² of attention and 3·64·128 of the rest.
    assert described.descriptors == {"params_b": (pytest.approx((2 * 64_000 + 2 * (4 * 4096 + 24_576)) / 1e9), 13.0)}
    assert described.values == ("models/tiny-7b", "hub/other-13b") and described.scope is Scope.ENGINE
    assert described.roles == (Role.MODEL,) and described.scale is Scale.CATEGORY and described.name == "model"


def test_all_values_or_none(tmp_path: Path) -> None:
    half = axis("llama-7b", "gpt2")
    assert describe_models(half, tmp_path) is half


def test_other_axes_and_given_descriptors_stay_as_they_are(tmp_path: Path) -> None:
    for change in ({"roles": ()}, {"roles": (Role.BATCH,)}, {"scale": Scale.LINEAR}, {"descriptors": {"x": (1.0,)}}):
        other = axis("llama-7b", **change)
        assert describe_models(other, tmp_path) is other


def test_shipped_models() -> None:
    sizes = describe_models(axis("llama-tiny", "qwen3-small"), MODELS).descriptors["params_b"]
    for name, size in zip(("llama-tiny", "qwen3-small"), sizes, strict=True):
        config = json.loads((MODELS / name / "config.json").read_text())
        layer = config["intermediate_size"] * config["hidden_size"] * 3
        assert size > config["num_hidden_layers"] * layer / 1e9
        assert size == parameters_of_config(config)


BROKEN = ["", "{", "[]", "null", "3", '"x"', "{}", '{"hidden_size": 64}', "\x00", "[" * 100_000, "NaN"]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_config_falls_back_to_the_name(tmp_path: Path, text: str) -> None:
    write(tmp_path, "my-7b", text)
    assert describe_models(axis("my-7b"), tmp_path).descriptors == {"params_b": (7.0,)}


@pytest.mark.parametrize("change", [
    {"hidden_size": 0}, {"hidden_size": "wide"}, {"hidden_size": None}, {"hidden_size": []}, {"hidden_size": math.inf},
    {"hidden_size": math.nan}, {"num_attention_heads": 0}, {"num_hidden_layers": -2}, {"head_dim": "x"},
    {"head_dim": [1]},
    {"num_key_value_heads": [2]}, {"num_key_value_heads": -1}, {"num_experts": math.inf}, {"vocab_size": 10**400},
    {"num_local_experts": "many"},
])
def test_a_config_that_makes_no_sense_falls_back_to_the_name(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path, "my-7b", json.dumps({**decoder(64, 2, 4, 128, 1000), **change}))
    assert describe_models(axis("my-7b"), tmp_path).descriptors == {"params_b": (7.0,)}


def test_bytes_that_are_no_text_and_directories(tmp_path: Path) -> None:
    write(tmp_path, "my-7b", "x")
    (tmp_path / "my-7b/config.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "dir-13b/config.json").mkdir(parents=True)
    described = describe_models(axis("my-7b", "dir-13b", "nul\0-2b", "long" * 2000 + "-3b"), tmp_path)
    assert described.descriptors == {"params_b": (7.0, 13.0, 2.0, 3.0)}


def test_values_of_any_kind(tmp_path: Path) -> None:
    for value in (8, 2.5, True, "", ".", "..", "/"):
        model = axis(value)
        assert describe_models(model, tmp_path) is model


leaf = st.none() | st.booleans() | st.integers(-2, 4096) | st.integers() | st.floats() | st.text(max_size=4)
keys = st.sampled_from([*decoder(1, 1, 1, 1, 1), "head_dim", "num_key_value_heads", "num_experts",
                        "tie_word_embeddings", "moe_intermediate_size", "num_local_experts"])


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, leaf | st.lists(leaf, max_size=2), max_size=4), st.booleans())
def test_any_config_gives_a_size_or_none(changes: dict[str, Any], whole: bool) -> None:
    size = parameters_of_config({**(decoder(64, 2, 4, 128, 1000) if whole else {}), **changes})
    event("none" if size is None else "size")
    assert size is None or (isinstance(size, float) and 0 < size < math.inf)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20) | st.text(alphabet="0123456789bBmMx.-_/ab", max_size=20))
def test_any_name_gives_a_size_or_none(name: str) -> None:
    size = parameters_of_name(name)
    assert size is None or 0 <= size < math.inf
