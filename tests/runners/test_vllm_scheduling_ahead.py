"""An engine that schedules ahead gives a run's last token early; what is measured must not depend on the run's length.

The engine here is a model of vLLM's `EngineCore.step_with_batch_queue` with a queue of two, as it runs on a GPU: a step
is prepared by the host while the device still works on the one before, and only then the one before is fetched.
"""

from __future__ import annotations

import sys
from collections import deque
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runners.vllm_worker import StaticBatch

_HOST_S, _PREFILL_S, _DECODE_S = 2e-3, 10e-3, 0.5e-3
_LIMIT = 64


class _Engine:
    """One batch at a time. `clock` is the host's; the device works on its own."""

    def __init__(self, ahead: bool) -> None:
        self.vllm_config = SimpleNamespace(scheduler_config=SimpleNamespace(async_scheduling=ahead, max_num_seqs=3))
        self.ahead, self.clock, self.device_free, self.asked = ahead, 0.0, 0.0, 0
        self.names: list[str] = []
        self.queue: deque[float] = deque()
        self.scheduled = self.fetched = self.tokens = 0

    def add_request(self, name: str, prompt: object, wish: Any) -> None:
        if not self.has_unfinished_requests():
            self.names, self.scheduled, self.fetched = [], 0, 0
        self.names.append(name)
        self.tokens = self.asked = wish.max_tokens

    def has_unfinished_requests(self) -> bool:
        return self.fetched < self.tokens

    def step(self) -> list[Any]:
        if self.scheduled < self.tokens:
            self.clock += _HOST_S
            work = _DECODE_S if self.scheduled else _PREFILL_S
            self.device_free = max(self.device_free, self.clock) + work
            self.queue.append(self.device_free)
            self.scheduled += 1
            if self.ahead and len(self.queue) < 2 and self.scheduled < self.tokens:
                return []
        self.clock = max(self.clock, self.queue.popleft())
        self.fetched += 1
        return [SimpleNamespace(request_id=name, outputs=[SimpleNamespace(token_ids=[0])]) for name in self.names]


def _static_batch(monkeypatch: pytest.MonkeyPatch, *, ahead: bool, length: int = 40) -> tuple[StaticBatch, _Engine]:
    engine = _Engine(ahead)

    def start(**arguments: Any) -> Any:
        config = SimpleNamespace(max_model_len=arguments.get("max_model_len", _LIMIT), get_vocab_size=lambda: 100,
                                 hf_config=SimpleNamespace(to_dict=dict))
        renderer = SimpleNamespace(render_cmpl=lambda prompts: prompts)
        return SimpleNamespace(llm_engine=engine, model_config=config, renderer=renderer)

    text = SimpleNamespace(max_position_embeddings=_LIMIT)
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"LLM": start, "SamplingParams": SimpleNamespace},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(DELTA=1)},
        "vllm.transformers_utils": {},
        "vllm.transformers_utils.config": {
            "get_config": lambda *_: SimpleNamespace(get_text_config=lambda: text)},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("runners.vllm_worker.time", SimpleNamespace(perf_counter=lambda: engine.clock))
    return StaticBatch({"model": "tiny"}, length), engine


def _measure(
    bench: StaticBatch, output_len: int, lengths: list[int], input_len: int = 8, batch_size: int = 3
) -> list[dict[str, float]]:
    reply = bench.measure(input_len=input_len, output_len=output_len, batch_size=batch_size, lengths=lengths, seed=[1],
                          warmup=1, repeats=2, max_repeats=2, tolerance=None)
    assert len(reply["repeats"][0]) == output_len
    return [reply["metrics"][0][k] for k in lengths]


@pytest.mark.parametrize("ahead", [False, True])
def test_a_short_run_measures_what_a_longer_run_measures_on_its_way(
    monkeypatch: pytest.MonkeyPatch, ahead: bool,
) -> None:
    bench, _ = _static_batch(monkeypatch, ahead=ahead)
    on_the_way = _measure(bench, 16, [1, 2, 4, 16])
    alone = [_measure(bench, k, [k])[0] for k in (1, 2, 4, 16)]
    for long, short in zip(on_the_way, alone, strict=True):
        assert short.keys() == long.keys()
        for name, value in long.items():
            assert short[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    # The steady pace: the host is the slower one here, and the device where nobody schedules ahead waits for it.
    assert alone[1]["tpot_ms"] == pytest.approx((_HOST_S if ahead else _HOST_S + _DECODE_S) * 1e3)


def test_without_the_token_thrown_away_the_last_one_comes_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine above does show the fault that is fixed."""
    bench, _ = _static_batch(monkeypatch, ahead=True)
    bench._thrown_away = 0
    on_the_way, alone = _measure(bench, 16, [2])[0], _measure(bench, 2, [2])[0]
    assert alone["tpot_ms"] < 0.5 * on_the_way["tpot_ms"]


def test_one_token_more_is_made_only_where_the_engine_schedules_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    for ahead in (False, True):
        bench, engine = _static_batch(monkeypatch, ahead=ahead)
        _measure(bench, 16, [16])
        assert engine.asked == 16 + ahead


def test_a_run_as_long_as_the_context_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, engine = _static_batch(monkeypatch, ahead=True, length=_LIMIT)
    _measure(bench, 16, [16], input_len=_LIMIT - 16)
    assert engine.asked == 16
    _measure(bench, 15, [15], input_len=_LIMIT - 16)
    assert engine.asked == 16


def test_requests_that_wait_for_others_to_leave_wait_no_longer_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, engine = _static_batch(monkeypatch, ahead=True)
    _measure(bench, 16, [16], batch_size=4)
    assert engine.asked == 16
