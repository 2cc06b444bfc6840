"""Quality on a real server of vLLM's: a small model that is trained here, as it is and with weights of 8 bits."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

import planner
from planner.space.types import Status
from tests.runners.serving import tiny_language

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models, the held-out text and the questions; some 15 s of a core."""
    folder = tmp_path_factory.mktemp("language")
    tiny_language.train(folder / "trained")
    tiny_language.write_files(folder)
    tiny_language.write_int8(folder / "trained", folder / "int8")
    return folder


def written(folder: Path, axis: dict[str, Any], **runner: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({
        "study": {"name": "quality", "storage": f"sqlite:///{folder / 'quality.db'}"},
        "space": {"axes": {**axis, "max_concurrency": {"values": [1, 4], "scale": "log"}}},
        "runner": {"kind": "vllm-serve", "max_model_len": 256, "max_num_seqs": 8, "kv_cache_gib": 0.25,
                   "input_len": 8, "output_len": 8, "duration_s": 1, "max_duration_s": 60, **runner},
        "targets": ["ttft_ms", "output_throughput"],
        "quality": {"perplexity": "holdout.txt", "exact_match": "questions.jsonl"}}))
    return path


def test_what_the_engine_gives_is_what_transformers_gives(models: Path) -> None:
    """Three configurations: float32 is equal; bfloat16 and int8 are near, and int8 is another model than bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = written(models, {
        "model": {"values": ["trained", "int8"], "scope": "engine", "scale": "category"},
        "dtype": {"values": ["float32", "bfloat16"], "scope": "engine", "scale": "category"}})
    text = yaml.safe_load(path.read_text())
    text["space"]["constraints"] = ["model == 'trained' or dtype == 'bfloat16'"]
    path.write_text(yaml.safe_dump(text))
    study = planner.open_study(path)
    study.run(strategy="full")
    seen = study.observations()
    assert len(seen.runs) == 6 and all(run.measurement.status is Status.OK for run in seen.runs)
    evaluated = [run for run in seen.runs if run.measurement.cost.evaluation_s > 0]
    assert len(evaluated) == 3, "two loads of one configuration share a result"

    found = {(one["configuration"]["model"], one["configuration"]["dtype"]): one["metrics"]
             for one in study.status().to_json()["quality"]["results"]}
    tokenizer = AutoTokenizer.from_pretrained(models / "trained")
    model = AutoModelForCausalLM.from_pretrained(models / "trained", dtype=torch.float32).eval()
    perplexity, exact = tiny_language.quality(models, model, tokenizer)
    assert 2.0 < perplexity < 3.2 and 0.7 < exact < 0.95, "the model has learned the language"
    same = found["trained", "float32"]
    assert same["perplexity"]["value"] == pytest.approx(perplexity, rel=1e-4)
    assert same["exact_match"]["value"] == exact
    near = found["trained", "bfloat16"]
    perplexity16, exact16 = tiny_language.quality(models, model.to(torch.bfloat16), tokenizer)
    assert near["perplexity"]["value"] == pytest.approx(perplexity16, rel=5e-3)
    assert near["exact_match"]["value"] == pytest.approx(exact16, abs=0.02)
    eight = found["int8", "bfloat16"]
    assert eight["perplexity"]["value"] == pytest.approx(perplexity, rel=0.05)
    assert abs(eight["perplexity"]["value"] / near["perplexity"]["value"] - 1) > 1e-4, "weights of 8 bits are others"
    n = len((models / "questions.jsonl").read_text().splitlines())
    assert same["exact_match"]["stderr"] == pytest.approx(math.sqrt(exact * (1 - exact) / n), rel=0.05)

    how = study.status().to_json()["quality"]["results"][0]["how"]
    assert how["temperature"] == 0 and how["engine"].startswith("vllm ") and how["perplexity"]["documents"] == 100
    fingerprint = json.loads(study._setup.runner.fingerprint()["quality"])
    assert fingerprint["exact_match"] == how["exact_match"]["sha256"]
