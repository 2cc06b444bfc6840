"""The child process that runs the vLLM engine and times static batches. No other module imports vllm.

It answers requests one at a time, in JSON lines, on a separate pipe because vLLM prints to standard output.

    {"start": {engine arguments}, "length": 1024}     → {"parts": {"import": 0.1, "first steps": 0.4}}
    {"run": {input_len, output_len, batch_size, lengths, seed, warmup, repeats, max_repeats, tolerance}}
                                                       → {"warmup_s", "measure_s", "warmups", "repeats"}

A run that the engine cannot take is answered with {"refused": reason}, and the engine stays in use. Any other error
is answered with {"error": reason} and ends the process, because its state is unknown from then on.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from planner.space.types import FloatArray
from runners.vllm_metrics import PREEMPTIONS, batch_times, is_exact, point_metrics, steady, token_times

__all__ = ["main"]


class RefusedError(Exception):
    """The engine cannot take this run, and can go on with the next."""


def main() -> None:
    """Serve until standard input ends. The last argument is the descriptor of the pipe for replies."""
    replies_fd = int(sys.argv[-1])
    os.set_inheritable(replies_fd, False)  # else vLLM's own children would hide from the parent that we have ended
    with os.fdopen(replies_fd, "w") as replies:
        _engine = _serve(sys.stdin, replies)  # kept: taking it apart would take a second that the study pays for
    sys.stdout.flush()
    os._exit(0)  # unloading torch would take more


def _serve(requests: TextIO, replies: TextIO) -> StaticBatch | None:
    """Answer each line of `requests`; the engine, if one was started, when they end. Raises what ends an engine."""
    bench: StaticBatch | None = None
    for line in iter(requests.readline, ""):
        message = json.loads(line)
        try:
            if bench is None:
                bench = StaticBatch(message["start"], message["length"])
                reply: dict[str, Any] = {"parts": bench.start_parts}
            else:
                reply = bench.measure(**message["run"])
        except RefusedError as refused:
            reply = {"refused": str(refused)}
        except Exception as error:
            _answer(replies, {"error": f"{type(error).__name__}: {error}"})
            raise  # its traceback belongs in the log
        _answer(replies, reply)
    if bench is not None:
        bench.shutdown()
    return bench


def _answer(replies: TextIO, reply: Mapping[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


class StaticBatch:
    """An engine in this process. We call its steps ourselves, so that each token's time is known.

    arguments: those of vllm.LLM. length: tokens of the study's longest request. This plus one extra token becomes
    max_model_len, unless the user gave that or the model is not known to support so many tokens.

    If vLLM schedules ahead (async_scheduling, its default on GPUs), the last token of a run is out sooner than the same
    token of a longer run, because nothing is left to schedule before it is fetched (on an H100 the second of two tokens
    took 0.9 ms, the second of 128 took 2.5 ms). There, each run makes one token more than it was asked for and throws
    it away, so that the timed tokens are always followed by another. There is no extra token if the context has no room
    for it, or if requests wait for others to leave (more than max_num_seqs): it would make them wait longer.
    """

    def __init__(self, arguments: dict[str, Any], length: int) -> None:
        began = time.perf_counter()
        from vllm import LLM

        imported = time.perf_counter()
        if "max_model_len" not in arguments and _reaches(arguments, length + 1):
            arguments = {**arguments, "max_model_len": length + 1}
        self._llm: Any = LLM(**arguments)
        self._engine: Any = self._llm.llm_engine
        scheduler = self._engine.vllm_config.scheduler_config
        self._thrown_away = int(bool(scheduler.async_scheduling))
        self._at_once = int(scheduler.max_num_seqs)
        self._length = int(self._llm.model_config.max_model_len)
        self._tokens = _plain_tokens(self._llm.model_config)
        self._preemptions = _PreemptionCount(self._engine)
        self._runs = 0
        # The first steps allocate and compile, which belongs to the start and not to the first point.
        ready = time.perf_counter()
        self._generate(self._prompts(2, min(8, self._length - 2), seed=[0]), 2)
        gc.collect()
        gc.freeze()
        self.start_parts = {"import": imported - began, "first steps": time.perf_counter() - ready}

    def measure(
        self, *, input_len: int, output_len: int, batch_size: int, lengths: Sequence[int],
        seed: Sequence[int], warmup: int, repeats: int, max_repeats: int, tolerance: float | None,
    ) -> dict[str, Any]:
        """The reply to one run: warm-ups, then repeats until there are enough.

        lengths: output lengths ≤ output_len to read; those whose reading would not be exact are left out of `metrics`.
        """
        if input_len + output_len > self._length:
            raise RefusedError(
                f"input_len {input_len} + output_len {output_len} exceeds max_model_len {self._length}")
        began = time.perf_counter()
        prompts = self._prompts(batch_size, input_len, seed)
        warmups = [batch_times(self._generate(prompts, output_len)) for _ in range(warmup)]
        warm = time.perf_counter()
        batches: list[FloatArray] = []
        metrics: list[dict[int, dict[str, float]]] = []
        while not steady([batch[-1] for batch in batches], repeats, max_repeats, tolerance):
            before = self._preemptions.value
            times = self._generate(prompts, output_len)
            batches.append(batch_times(times))
            metrics.append({k: point_metrics(times, input_len, k) for k in lengths if is_exact(times, k)})
            if before is not None and self._preemptions.value is not None:
                metrics[-1][output_len][PREEMPTIONS] = float(self._preemptions.value - before)
        return {
            "warmup_s": warm - began, "measure_s": time.perf_counter() - warm,
            "warmups": [_microseconds(times) for times in warmups],
            "repeats": [_microseconds(times) for times in batches], "metrics": metrics,
        }

    def step_seconds(self, input_len: int, tokens: Sequence[int], seed: Sequence[int]) -> FloatArray:
        """Seconds of each step after the first of a batch whose requests make so many tokens each, (max − 1,)."""
        rows = self._token_rows(self._prompts(len(tokens), input_len, seed), tokens)
        return np.diff(max(rows.values(), key=len))

    def shutdown(self) -> None:
        """End vLLM's workers, if there are any; an engine in this process ends with it, a second sooner."""
        if multiprocessing.active_children():
            self._engine.engine_core.shutdown()

    def _prompts(self, batch: int, length: int, seed: Sequence[int]) -> list[list[int]]:
        chosen = np.random.default_rng(seed).integers(0, len(self._tokens), (batch, length))
        prompts: list[list[int]] = self._tokens[chosen].tolist()
        return prompts

    def _generate(self, prompts: Sequence[Sequence[int]], output_len: int) -> FloatArray:
        """Token times in seconds, (b, output_len), of one batch whose requests are submitted together."""
        room = self._length - len(prompts[0]) - output_len
        tokens = output_len + (min(self._thrown_away, room) if len(prompts) <= self._at_once else 0)
        rows = self._token_rows(prompts, [tokens] * len(prompts))
        return token_times(rows, tokens)[:, :output_len]

    def _token_rows(self, prompts: Sequence[Sequence[int]], tokens: Sequence[int]) -> dict[str, list[float]]:
        """Request → the second at which each of its tokens was out. tokens: how many each request makes."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        wishes = [SamplingParams(max_tokens=count, ignore_eos=True, temperature=0, detokenize=False,
                                 output_kind=RequestOutputKind.DELTA) for count in tokens]
        self._runs += 1
        names = [f"{self._runs}-{i}" for i in range(len(prompts))]
        rows: dict[str, list[float]] = {name: [] for name in names}
        inputs = self._llm.renderer.render_cmpl([{"prompt_token_ids": prompt} for prompt in prompts])
        engine, clock = self._engine, time.perf_counter
        gc.disable()  # a collection during a step would look like a slow step
        try:
            zero = clock()
            for name, prompt, wish in zip(names, inputs, wishes, strict=True):
                engine.add_request(name, prompt, wish)
            while engine.has_unfinished_requests():
                outputs = engine.step()
                now = clock() - zero
                for output in outputs:
                    rows[output.request_id].extend([now] * len(output.outputs[0].token_ids))
        finally:
            gc.enable()
        return rows


class _PreemptionCount:
    """Counts the scheduler's preemptions; `value` is None if this version of vLLM offers no way to count them.

    vLLM's own counter needs its statistics, which take time in every step and are off in `vllm bench latency`.
    """

    def __init__(self, engine: Any) -> None:
        self.value: int | None = None
        try:
            scheduler = engine.engine_core.engine_core.scheduler
            preempt = scheduler._preempt_request
        except AttributeError:
            return
        self.value = 0

        def counted(*arguments: Any, **options: Any) -> Any:
            self.value = (self.value or 0) + 1
            return preempt(*arguments, **options)

        scheduler._preempt_request = counted


def _reaches(arguments: Mapping[str, Any], length: int) -> bool:
    """Whether the model's configuration says that it supports `length` tokens; False if it says nothing."""
    from vllm.transformers_utils.config import get_config

    try:
        config = get_config(arguments["model"], arguments.get("trust_remote_code", False),
                            arguments.get("revision")).get_text_config()
    except Exception:  # the engine will report what is wrong with the model
        return False
    limit = getattr(config, "max_position_embeddings", None)
    return isinstance(limit, int) and length <= limit


def _plain_tokens(model_config: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Token ids for random prompts: the vocabulary without ids that have a special meaning to the model."""
    special = set(_special_tokens(model_config.hf_config.to_dict()))
    vocabulary = np.arange(model_config.get_vocab_size(), dtype=np.int64)
    plain = np.setdiff1d(vocabulary, np.fromiter(special, dtype=np.int64))
    return plain if len(plain) else vocabulary


def _special_tokens(config: Mapping[Any, Any]) -> Iterator[int]:
    """The ids under keys such as bos_token_id, image_token_id or image_token_index, at any depth."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _special_tokens(value)
        elif "token_i" in str(key):
            yield from (v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int))


def _microseconds(seconds: FloatArray) -> list[float]:
    return [round(float(value), 6) for value in seconds]


if __name__ == "__main__":
    main()
