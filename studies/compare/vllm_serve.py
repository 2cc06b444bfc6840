"""Our readings of a server against the same client run by hand, in turn, on one server.

    python studies/compare/vllm_serve.py [--rounds 3] [--requests 200]

For each of three loads and each round: our runner's reading of a server that is up (`base_url`), then vLLM's own
`bench serve` with a fixed number of requests. Prints the ratio of medians of the rounds, ours over by hand, with the
smallest and the largest ratio of the rounds. By hand the start-up and the end are part of the result; ours leaves them
out, so a closed loop's time to first token is expected to be lower here.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from planner.space.types import Axis, Measurement, Proposal, Role, RunnerContext, Status, Value
from runners.serving.client import Load, Target
from runners.serving.model_files import with_word_tokenizer
from runners.serving.runner import VllmServeRunner
from runners.serving.serve_settings import ServeSettings
from runners.serving.server import Server, command_line, on_cores
from runners.serving.study import ServeStudy
from runners.serving.vllm_client import arguments_of
from runners.vllm_offline import engine_environment

STUDIES: Final = Path(__file__).resolve().parents[1]
METRICS: Final = {"ttft_ms": "median_ttft_ms", "tpot_ms": "median_tpot_ms", "output_throughput": "output_throughput"}
LOADS: Final = ({"max_concurrency": 1, "request_rate": math.inf}, {"max_concurrency": 8, "request_rate": math.inf},
                {"max_concurrency": 256, "request_rate": 8.0})
_MAIN: Final = ("import argparse, json, sys; from vllm.benchmarks.serve import add_cli_args, main; "
                "from vllm.utils.argparse_utils import FlexibleArgumentParser as P; p = P(); add_cli_args(p); "
                "json.dump({k: v for k, v in main(p.parse_args(sys.argv[2:])).items() if isinstance(v, (int, float))}, "
                "open(sys.argv[1], 'w'))")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = str(with_word_tokenizer(STUDIES / "models/llama-tiny", Path(folder) / "model"))
        settings = ServeSettings.model_validate({"model": model, "load_format": "dummy", "dtype": "bfloat16",
                                                 "max_model_len": 1024, "max_concurrency": 1})
        study = ServeStudy(settings, RunnerContext((), (), STUDIES))
        arguments, (bind, rest) = study.server_arguments({}), study.cores({})
        variables = engine_environment(arguments, bind) | {"VLLM_SERVER_DEV_MODE": "1"}
        variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING")
        with Server(on_cores(command_line(arguments), rest), variables, 600.0) as server:
            runner = _runner(server.base_url, model)
            target = Target(server.base_url, model, model)
            for load in LOADS:
                _compare(runner, target, load, asked, Path(folder) / "result.json")
            runner.close()


def _runner(base_url: str, tokenizer: str) -> VllmServeRunner:
    axes = (Axis("max_concurrency", (1, 8, 256), roles=(Role.CONCURRENCY,)),
            Axis("request_rate", (8.0, math.inf), roles=(Role.RATE,)))
    config = VllmServeRunner.Config(base_url=base_url, tokenizer=tokenizer, input_len=64, output_len=32, duration_s=8)
    return VllmServeRunner(config, RunnerContext(axes, tuple(METRICS), STUDIES))


def _compare(
    runner: VllmServeRunner, target: Target, load: Mapping[str, Value], asked: argparse.Namespace, file: Path
) -> None:
    rounds = [(_ours(runner, load, number), _by_hand(target, load, number, asked.requests, file))
              for number in range(asked.rounds)]
    for name, theirs in METRICS.items():
        ratios = [ours.readings[0].metrics[name][0] / hand[theirs] for ours, hand in rounds]
        print(f"{dict(load)}  {name:18s} ours / by hand {statistics.median(ratios):.3f} "
              f"({min(ratios):.3f} to {max(ratios):.3f})", flush=True)


def _ours(runner: VllmServeRunner, load: Mapping[str, Value], number: int) -> Measurement:
    found = runner.measure(Proposal(load, (load,), number))
    if found.status is not Status.OK:
        raise SystemExit(f"{dict(load)}: {found.reason}")
    return found


def _by_hand(target: Target, load: Mapping[str, Value], number: int, requests: int, file: Path) -> dict[str, Any]:
    import json

    given = Load(requests, int(load["max_concurrency"]), float(load["request_rate"]), 1.0, 64, 32, 0.0, 10_000 + number)
    subprocess.run([sys.executable, "-c", _MAIN, str(file), *arguments_of(target, given)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


if __name__ == "__main__":
    main()
