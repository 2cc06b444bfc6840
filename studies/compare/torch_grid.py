"""A recorded grid of one GPU without an engine: a Llama in plain PyTorch, a static batch for each point.

    python studies/compare/torch_grid.py OUT.csv --seconds 540

Where no vLLM can be installed this still gives times of real models on a real GPU: a prefill in one piece, then
decoding from a cache with a CUDA graph, bfloat16 or fp8 (weights and activations, per tensor), random weights. Runs are
made in random order, over and over until the time is up; each is warmed up once and read twice. A row is a reading at
an output length; shorter outputs are read off the longest run. energy_j is that of the whole run, at its longest
output, from the counter of the device. `studies/data/h200_torch.csv` was made with it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn import functional

__all__ = ["SHAPES", "Llama", "Shape", "decode", "main"]

INPUTS: Final = (128, 256, 512, 1024, 2048, 4096)
OUTPUTS: Final = (1, 8, 16, 32, 64, 128)
BATCHES: Final = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
TOKENS: Final = 65536
"""Prompts of a batch together, at most: the prefill is one piece."""
PRECISIONS: Final = ("bf16", "fp8")
REPEATS: Final = 2
_FP8_LARGEST: Final = 448.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama. Source: config.json of the models named."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int = 128256

    @property
    def head(self) -> int:
        return self.width // self.heads


SHAPES: Final = {"llama-3.2-1b": Shape(16, 2048, 32, 8, 8192), "llama-3.1-8b": Shape(32, 4096, 32, 8, 14336)}


class Llama:
    """Random weights of a shape on a device. forward() is all there is: no sampling but the most probable token."""

    def __init__(self, shape: Shape, precision: str, device: str, dtype: Any = torch.bfloat16) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        made = torch.Generator(device=device).manual_seed(0)
        wide, narrow = shape.width, shape.kv_heads * shape.head

        def weight(rows: int, columns: int) -> Any:
            return (torch.randn(rows, columns, generator=made, device=device) / columns**0.5).to(dtype)

        def linear(rows: int, columns: int) -> Callable[[Any], Any]:
            return _linear(weight(rows, columns), precision)

        self.embedding, self.head = weight(shape.vocabulary, wide), weight(shape.vocabulary, wide)
        self.blocks = [
            (linear(wide + 2 * narrow, wide), linear(wide, wide), linear(2 * shape.hidden, wide),
             linear(wide, shape.hidden)) for _ in range(shape.layers)]
        angles = torch.arange(max(INPUTS) + max(OUTPUTS), device=device).float()[:, None] * 500000.0 ** (
            -torch.arange(0, shape.head, 2, device=device).float() / shape.head)
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def cache(self, batch: int, length: int) -> Any:
        """Keys and values, (layers, 2, batch, kv_heads, length, head)."""
        shape = self.shape
        return torch.zeros(shape.layers, 2, batch, shape.kv_heads, length, shape.head, device=self.device,
                           dtype=self.dtype)

    def forward(self, tokens: Any, places: Any, cache: Any) -> Any:
        """The next token of each request, (batch, 1). tokens: (batch, n) at the places (n,); fills the cache there."""
        x = functional.embedding(tokens, self.embedding)
        for block, kept in zip(self.blocks, cache, strict=True):
            qkv, out, gate_up, down = block
            x = x + out(self._attention(qkv(_norm(x)), places, kept))
            gate, up = gate_up(_norm(x)).chunk(2, dim=-1)
            x = x + down(functional.silu(gate) * up)
        return (_norm(x[:, -1:]) @ self.head.T).argmax(dim=-1)

    def _attention(self, qkv: Any, places: Any, kept: Any) -> Any:
        shape, (batch, length, _) = self.shape, qkv.shape
        heads = qkv.view(batch, length, -1, shape.head).transpose(1, 2)
        q, k, v = heads.split([shape.heads, shape.kv_heads, shape.kv_heads], dim=1)
        q, k = self._turned(q, places), self._turned(k, places)
        kept[0].index_copy_(2, places, k)
        kept[1].index_copy_(2, places, v)
        if length > 1:
            seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            seen = self._one_token(q, places, kept)
        return seen.transpose(1, 2).reshape(batch, length, shape.width)

    def _one_token(self, q: Any, places: Any, kept: Any) -> Any:
        """Of the whole cache, what lies ahead masked: a graph has fixed sizes."""
        batch, length = q.shape[0], kept.shape[3]
        grouped = q.view(batch, self.shape.kv_heads, -1, self.shape.head)
        scores = grouped @ kept[0].transpose(-1, -2) / self.shape.head**0.5
        ahead = torch.arange(length, device=q.device) > places
        shares = scores.masked_fill(ahead, float("-inf")).float().softmax(dim=-1).to(q.dtype)
        return (shares @ kept[1]).view(batch, self.shape.heads, 1, self.shape.head)

    def _turned(self, x: Any, places: Any) -> Any:
        cos, sin = self.cos[places], self.sin[places]
        one, other = x.chunk(2, dim=-1)
        return torch.cat((one * cos - other * sin, other * cos + one * sin), dim=-1)


def _norm(x: Any) -> Any:
    return functional.rms_norm(x, (x.shape[-1],))


def _linear(weight: Any, precision: str) -> Callable[[Any], Any]:
    if precision == "bf16":
        return lambda x: x @ weight.T
    scale = weight.abs().amax().float() / _FP8_LARGEST
    small = (weight / scale).to(torch.float8_e4m3fn)

    def product(x: Any) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        size = flat.abs().amax().float() / _FP8_LARGEST
        result = torch._scaled_mm((flat / size).to(torch.float8_e4m3fn), small.T, scale_a=size, scale_b=scale,
                                  out_dtype=x.dtype)
        return result.view(*x.shape[:-1], -1)

    return product


def decode(model: Llama, tokens: Any, length: int) -> Callable[[Callable[[], None]], Any]:
    """A function that makes `length` tokens of each prompt, (batch, length), and calls its argument after each.

    tokens: (batch, input_len). On a GPU a step is a CUDA graph, captured here, after a step that warms it up.
    """
    batch, prompt = tokens.shape
    cache = model.cache(batch, prompt + length)
    place = torch.tensor([prompt], device=tokens.device)
    token = model.forward(tokens, torch.arange(prompt, device=tokens.device), cache)

    def step() -> None:
        token.copy_(model.forward(token, place, cache))
        place.add_(1)

    replay = _captured(step) if tokens.is_cuda else step

    def run(after: Callable[[], None]) -> Any:
        place.fill_(prompt)
        token.copy_(model.forward(tokens, torch.arange(prompt, device=tokens.device), cache))
        made = [token.clone()]
        after()
        for _ in range(length - 1):
            replay()
            after()
            made.append(token.clone())
        return torch.cat(made, dim=1)

    return run


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay  # type: ignore[no-any-return]


def _readings(model: Llama, prompt: int, batch: int) -> Iterator[tuple[list[float], float | None]]:
    """Seconds until each output token of a batch was out, and joules; one pair a repeat."""
    tokens = torch.randint(model.shape.vocabulary, (batch, prompt), device=model.device)
    run = decode(model, tokens, max(OUTPUTS))
    for _ in range(REPEATS):
        events = [torch.cuda.Event(enable_timing=True) for _ in range(max(OUTPUTS) + 1)]
        upcoming = iter(events)
        torch.cuda.synchronize()
        joules = _joules()
        next(upcoming).record()
        run(_marker(upcoming))
        torch.cuda.synchronize()
        spent = None if joules is None else (_joules() or 0.0) - joules
        yield [events[0].elapsed_time(event) / 1000 for event in events[1:]], spent


def _marker(events: Iterator[Any]) -> Callable[[], None]:
    def mark() -> None:
        next(events).record()

    return mark


def _joules() -> float | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0))) / 1000
    except pynvml.NVMLError:
        return None


_COLUMNS: Final = ("model", "precision", "input_len", "output_len", "batch_size", "repeat", "status", "run", "at_s",
                   "energy_j", "ttft_ms", "tpot_ms", "e2el_ms", "output_throughput")


def _rows(seconds: list[float], batch: int) -> Iterator[dict[str, float | int | str]]:
    first = seconds[0]
    for length in OUTPUTS:
        total = seconds[length - 1]
        yield {"output_len": length, "ttft_ms": round(1000 * first, 4), "e2el_ms": round(1000 * total, 4),
               "tpot_ms": round(1000 * (total - first) / (length - 1), 5) if length > 1 else "",
               "output_throughput": round(batch * length / total, 2)}


def main() -> None:
    """Write OUT.csv, a row for each reading, as runs end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=540.0)
    given = parser.parse_args()
    began = time.monotonic()
    engines = {(name, kind): Llama(shape, kind, "cuda") for name, shape in SHAPES.items() for kind in PRECISIONS}
    points = [(*engine, prompt, batch) for engine in engines
              for prompt, batch in itertools.product(INPUTS, BATCHES) if prompt * batch <= TOKENS]
    run = 0
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for turn in itertools.count():
            for name, kind, prompt, batch in random.Random(turn).sample(points, len(points)):
                at = time.monotonic() - began
                if at > given.seconds:
                    return
                for repeat, (seconds, joules) in enumerate(_readings(engines[name, kind], prompt, batch)):
                    for row in _rows(seconds, batch):
                        longest = row["output_len"] == max(OUTPUTS)
                        writer.writerow({
                            "model": name, "precision": kind, "input_len": prompt, "batch_size": batch,
                            "repeat": REPEATS * turn + repeat, "status": "ok", "run": run, "at_s": round(at, 2),
                            "energy_j": "" if joules is None or not longest else round(joules, 3), **row})
                file.flush()
                run += 1


if __name__ == "__main__":
    with torch.inference_mode():
        main()
