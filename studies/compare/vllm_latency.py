"""sweepwise's vLLM runner against vLLM's own latency benchmark: same engine settings, same points, in turn.

Usage: python studies/compare/vllm_latency.py [ROUNDS]

Each round starts vLLM's benchmark for a point, then measures the point with our runner, then the next point. Prints the
ratio of median latencies (ours / vLLM's) of each point and round.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from planner.campaign.setup import open_setup
from planner.space.types import Proposal, Value
from runners.vllm_offline import engine_environment

STUDY = Path(__file__).parent.parent / "quickstart.yaml"
POINTS = ((32, 64, 1), (128, 64, 8), (256, 64, 32))  # input_len, output_len, batch_size
ITERATIONS, WARMUPS = 15, 3
THEIRS = (
    "from vllm.benchmarks.latency import add_cli_args, main\n"
    "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
    "parser = FlexibleArgumentParser()\n"
    "add_cli_args(parser)\n"
    "main(parser.parse_args())\n"
)


def theirs(model: Path, point: tuple[int, int, int], settings: list[str]) -> list[float]:
    """Seconds of each iteration of vLLM's latency benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "latency.json"
        names = ("input-len", "output-len", "batch-size")
        sizes = [f"--{name}={value}" for name, value in zip(names, point, strict=True)]
        subprocess.run(
            [sys.executable, "-c", THEIRS, f"--model={model}", *sizes, f"--num-iters={ITERATIONS}",
             f"--num-iters-warmup={WARMUPS}", "--disable-detokenize", f"--output-json={output}", *settings],
            env=engine_environment({"model": str(model)}, None), check=True, capture_output=True)
        return list(json.loads(output.read_text())["latencies"])


def main(rounds: int) -> None:
    """Compare on every point, `rounds` times."""
    text = STUDY.read_text().replace("repeats: 3", f"repeats: {ITERATIONS}").replace("warmup: 1", f"warmup: {WARMUPS}")
    # vLLM's benchmark draws token ids below 10,000: the little model needs a vocabulary that holds them.
    vocabulary = '{"vocab_size": 16384}'
    study = open_setup(STUDY, text=text.replace("load_format:", f"hf_overrides: {vocabulary}\n  load_format:"))
    model = STUDY.parent / "models/llama-tiny"
    settings = ["--load-format=dummy", "--skip-tokenizer-init", "--enforce-eager", "--dtype=bfloat16",
                f"--hf-overrides={vocabulary}", "--max-num-batched-tokens=16384", "--max-model-len=640",
                "--kv-cache-memory-bytes=3G"]
    try:
        for number in range(rounds):
            for point in POINTS:
                other = statistics.median(theirs(model, point, settings))
                names = ("input_len", "output_len", "batch_size")
                where: dict[str, Value] = {"model": "models/llama-tiny", **dict(zip(names, point, strict=True))}
                measured = study.runner.measure(Proposal(where, (where,), number))
                ours = statistics.median(measured.readings[0].metrics["e2el_ms"]) / 1000
                print(f"round {number}  {point}  theirs {other * 1000:.1f} ms  ours {ours * 1000:.1f} ms  "
                      f"ratio {ours / other:.3f}", flush=True)
    finally:
        study.runner.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
