"""The conformance suite on a real engine: one start, one batch that cannot be, and the engine goes on."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import studies
from planner.space.types import Axis, Point, Proposal, Role, RunnerContext
from planner.testing import check_runner
from runners.vllm_offline import VllmRunner

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]


def test_the_contract() -> None:
    axes = (Axis("input_len", (16, 1536), roles=(Role.INPUT_TOKENS,)),
            Axis("output_len", (1, 8), roles=(Role.OUTPUT_TOKENS,)),
            Axis("batch_size", (1, 4), roles=(Role.BATCH,)))
    context = RunnerContext(axes, ("e2el_ms",), Path(str(studies.__file__)).parent)
    settings = {"model": "models/llama-tiny", "load_format": "dummy", "dtype": "bfloat16", "max_model_len": 1024,
                "kv_cache_gib": 1, "repeats": 2}

    def build(**more: int) -> VllmRunner:
        return VllmRunner(VllmRunner.Config(**settings, **more), context)

    def at(inputs: int, outputs: int) -> Point:
        return {"input_len": inputs, "output_len": outputs, "batch_size": 4}

    check_runner(build, Proposal(at(16, 8), (at(16, 8), at(16, 1))), Proposal(at(1536, 8), (at(1536, 8),)),
                 unknown=lambda: build(max_num_seqz=8))
