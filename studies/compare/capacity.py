"""What a replica is said to bear, against what it then bears.

    python studies/compare/capacity.py           # recorded grids of this repository
    python studies/compare/capacity.py --live    # a server that is started here

Recorded: one server was measured in closed loop and in open loop (studies/data). For each engine configuration, length
and service level, the rate that `capacity` reads off the closed loop, waiting included, against the rates at which the
open loop kept the level. An open loop that keeps it at 16 requests/s and not at 32 bears between 16 and 32.

Live: a small study of a server in closed loop, then `capacity`, then the same server in open loop at parts and
multiples of the rate that it is said to bear, with the slots of the answer. Prints what was predicted and achieved, and
the closed loop at these slots once more: how much the machine has changed meanwhile. The level is three times the time
to first token of a request alone, and twice the time between tokens, so that a slow machine will do.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import yaml

import planner
from planner.analysis.capacity import Fleet
from planner.space.slo import parse_tier
from planner.space.types import Axis, Proposal, Role, RunnerContext, StudyError
from runners.serving.model_files import with_word_tokenizer
from runners.serving.runner import VllmServeRunner
from runners.serving.serve_settings import ServeSettings
from runners.serving.server import Server, command_line, on_cores
from runners.serving.study import ServeStudy
from runners.vllm_offline import engine_environment

STUDIES: Final = Path(__file__).resolve().parents[1]
LEVELS: Final = ("ttft_ms <= 30 and tpot_ms <= 8", "ttft_ms <= 50 and tpot_ms <= 12",
                 "ttft_ms <= 100 and tpot_ms <= 20", "ttft_ms <= 200 and tpot_ms <= 40",
                 "ttft_ms <= 500 and tpot_ms <= 60")
PARTS: Final = (0.7, 1.0, 1.3)
LENGTHS: Final = {"input_len": 64, "output_len": 16}
SHOWN: Final = ("ttft_ms", "tpot_ms", "request_throughput")
ENGINE: Final = ["max_num_seqs", "input_len", "output_len"]


def borne_in_open_loop(rows: pd.DataFrame, level: str) -> tuple[float, float]:
    """The highest rate at which the medians of the repeats keep the level, as all lower ones do, and the next one: 0
    and infinity where there is none. A saturated run keeps nothing."""
    conditions = parse_tier(level, "level").conditions
    medians = rows.groupby("request_rate")[[c.metric for c in conditions]].median()
    saturated = rows[rows["status"] != "ok"].groupby("request_rate").size().reindex(medians.index, fill_value=0)
    kept = np.all([medians[c.metric] <= c.bound for c in conditions], axis=0) & (saturated == 0).to_numpy()
    count = int(np.argmin(kept)) if not kept.all() else len(kept)
    rates = [0.0, *medians.index, math.inf]
    return float(rates[count]), float(rates[count + 1])


def recorded() -> pd.DataFrame:
    """A row for each engine configuration, length and level: predicted from closed loop, and from which rate to which
    it was borne in open loop."""
    truth = pd.read_csv(STUDIES / "data/served_open.csv")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        study = planner.open_study(STUDIES / "replay_closed.yaml", storage=f"sqlite:///{folder}/closed.db")
        study.run(strategy="full")
        for (inputs, outputs), rows in truth.groupby(["input_len", "output_len"]):
            for level in LEVELS:
                try:
                    answer = study.capacity([1.0], slo=[level], workload=[f"input_len={inputs},output_len={outputs}"])
                except StudyError:
                    continue  # a time between tokens where there is one
                said = {fleet.replica.point["max_num_seqs"]: fleet.bears for fleet in answer.fleets}
                for most in sorted(set(rows["max_num_seqs"])):
                    low, high = borne_in_open_loop(rows[rows["max_num_seqs"] == most], level)
                    found.append([most, inputs, outputs, level, said.get(most, 0.0), low, high])
    return pd.DataFrame(found, columns=[*ENGINE, "level", "predicted", "kept at", "not at"])


def summary(found: pd.DataFrame) -> Iterator[str]:
    """Where the predictions lie."""
    some = found[found["predicted"] > 0]
    yield f"{len(found)} questions, {len(some)} with a rate above 0, {int((found['kept at'] > 0).sum())} borne in truth"
    below = (some["predicted"] < some["not at"]).mean()
    yield f"said to bear less than the first rate at which the level was missed: {below:.1%}"
    both = some[(some["kept at"] > 0) & np.isfinite(some["not at"])]
    middle = np.sqrt(both["kept at"] * both["not at"])
    ratio = (both["predicted"] / middle).quantile([0.1, 0.5, 0.9]).round(2).tolist()
    yield (f"predicted / geometric middle of the bracket: {ratio[1]} (10 to 90 %: {ratio[0]} to {ratio[2]}), "
           f"{len(both)} cases")


# ---------------------------------------------------------------------------------------------------------------- live


def live(duration: float) -> None:
    """Start a server, measure it in closed loop, ask for its capacity, and drive it in open loop."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(with_word_tokenizer(STUDIES / "models/llama-tiny", Path(folder) / "model"))
        settings = ServeSettings.model_validate({"model": model, "load_format": "dummy", "dtype": "bfloat16",
                                                 "max_model_len": 1024, "max_concurrency": 1})
        prepared = ServeStudy(settings, RunnerContext((), (), STUDIES))
        arguments, (bind, rest) = prepared.server_arguments({}), prepared.cores({})
        variables = engine_environment(arguments, bind)
        variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING")
        with Server(on_cores(command_line(arguments), rest), variables, 600.0) as server:
            fleet = _asked(Path(folder), server.base_url, model, duration)
            slots = int(fleet.replica.slots or 0)
            for part in PARTS:
                rate = part * fleet.bears
                said = fleet.replica.probability[fleet.replica.at(rate)]
                print(f"{part:g} × = {rate:.3g} requests/s, predicted to be met with {said:.0%}: "
                      f"{_driven(server.base_url, model, rate, slots, 3 * duration)}", flush=True)
            print(f"control, {slots} in flight: {_driven(server.base_url, model, math.inf, slots, duration)}")


def _asked(folder: Path, base_url: str, model: str, duration: float) -> Fleet:
    study_file = folder / "study.yaml"
    study_file.write_text(yaml.safe_dump({
        "study": {"name": "live", "storage": f"sqlite:///{folder}/live.db"},
        "space": {"axes": {"max_concurrency": {"values": [1, 2, 4, 8], "scale": "log"}}},
        "runner": {"kind": "vllm-serve", "base_url": base_url, "tokenizer": model, **LENGTHS, "duration_s": duration,
                   "repeats": 2},
        "targets": list(SHOWN)}))
    study = planner.open_study(study_file)
    study.run(strategy="full")
    table = study.measurements(SHOWN).groupby("max_concurrency")[list(SHOWN)].median()
    print(table.round(2).to_string(), flush=True)
    level = f"ttft_ms <= {3 * table['ttft_ms'].iloc[0]:.0f} and tpot_ms <= {2 * table['tpot_ms'].iloc[0]:.0f}"
    fleet = study.capacity([1.0], slo=[level]).best
    if fleet is None:
        raise SystemExit(f"{level}: nothing is borne with 90 %")
    low, high = fleet.interval
    print(f"{level}: one replica bears {fleet.bears:.3g} requests/s ({low:.3g} to {high:.3g}), "
          f"{fleet.replica.slots:g} slots", flush=True)
    return fleet


def _driven(base_url: str, model: str, rate: float, slots: int, duration: float) -> str:
    """What a run in open loop gave, as text; in closed loop where the rate is infinite."""
    axes = (Axis("request_rate", (rate,), roles=(Role.RATE,)),)
    config = VllmServeRunner.Config(base_url=base_url, tokenizer=model, **LENGTHS, max_concurrency=slots,
                                    duration_s=duration)
    runner = VllmServeRunner(config, RunnerContext(axes, SHOWN, STUDIES))
    point = {"request_rate": rate}
    found = runner.measure(Proposal(point, (point,), 1))
    runner.close()
    told = found.readings[0].metrics if found.readings else {}
    return f"{found.status}: " + (", ".join(f"{name} {np.median(told[name]):.4g}" for name in SHOWN if name in told)
                                  or found.reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--duration", type=float, default=3.0)
    options = parser.parse_args()
    if options.live:
        live(options.duration)
        return
    found = recorded()
    print(found.round(1).to_string(index=False))
    print(*summary(found), sep="\n")


if __name__ == "__main__":
    main()
