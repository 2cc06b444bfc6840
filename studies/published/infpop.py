"""InfPop's gains by tuning (arXiv 2408.01050), at what share of its runs: `python -m studies.published.infpop CLONE`.

CLONE is a clone of github.com/UPCBarcelonaTech/infpop (no licence; fetch it yourself).

The question of the paper: a model's best number of GPUs and batch size are known on one GPU. On another GPU, how much
more throughput has the best setting there than the old one? The gain is that ratio less one, for each of 20 models, and
the paper reports the mean over models, without those of 300 % and more. It asks Hyperopt's TPE for 100 settings of the
44 for each model, ten times over, from the recorded table. Here everyone plays the same table, and only distinct runs
count. What a method has found is the best that it has run. Everyone begins with the old setting, so that nobody loses.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
import pandas as pd
import yaml

import planner
from planner.space.types import FloatArray
from studies.published.infpop_table import ENGINES, GPUS, read
from studies.published.leave_out import points_of

__all__ = ["Found", "Transfer", "by_study", "by_tpe", "gains", "main", "transfer"]

PUBLISHED: Final = {
    ("autohf", "tesla"): 9.16, ("autohf", "a100"): 13.67, ("vLLM", "tesla"): 3.31, ("vLLM", "a100"): 6.90}
"""Mean gain in per cent when leaving that GPU: the paper (autohf), and RQ4/*.json of its repository (both engines)."""
EVALUATIONS: Final = 100
"""Settings that the paper evaluates for each model, repetitions included."""
_OUTLIER: Final = 300.0  # per cent; the paper's own figure leaves such a model out


@dataclass(frozen=True, eq=False)
class Transfer:
    """The table of one GPU and, by model, the setting (GPUs, batch size) that was best on the other, with its
    throughput here."""

    table: pd.DataFrame
    setting: Mapping[str, tuple[int, int]]
    old: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """The best throughput found for each model after so many distinct runs; NaN where nothing ran."""

    runs: int
    best: Mapping[str, float]


def transfer(rows: pd.DataFrame, engine: str, origin: str) -> Transfer:
    """From the GPU `origin` to the other one. The old setting: the best on the origin of those that run on both."""
    rows = rows[rows["engine"] == engine]
    target = rows[rows["gpu"] != origin].reset_index(drop=True)
    both = rows[rows["gpu"] == origin].merge(target, on=["model", "n_gpus", "batch_size"], suffixes=("", "_there"))
    both = both[both["throughput"].notna() & (both["throughput_there"] > 0)]
    best = both.sort_values("throughput").groupby("model").tail(1).set_index("model")
    old = {str(model): float(value) for model, value in best["throughput_there"].items()}
    setting = {str(model): (int(row["n_gpus"]), int(row["batch_size"])) for model, row in best.iterrows()}
    return Transfer(target[target["model"].isin(list(old))].reset_index(drop=True), setting, old)


def gains(asked: Transfer, best: Mapping[str, float]) -> FloatArray:
    """The gain of each model over its old setting in per cent, (models,). A model without a run keeps the old one."""
    return np.array([100 * (best[model] / old - 1) if np.isfinite(best.get(model, np.nan)) else 0.0
                     for model, old in sorted(asked.old.items())])


def by_study(asked: Transfer, seed: int, shares: Sequence[float]) -> list[Found]:
    """What one study of all models has found within each share of the points.

    It begins with each model's old setting. At each share it stops for a moment, and each model's setting of the
    highest predicted throughput is run, if it was not. The share covers all these runs; the study does not see the last
    ones.
    """
    points = points_of(asked.table[_POINT])
    old = pd.DataFrame([(model, *setting) for model, setting in asked.setting.items()], columns=_POINT[1:])
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked.table.assign(status=np.where(asked.table["throughput"] > 0, "ok", "failed")).to_csv(
            folder / "table.csv", index=False)
        asked.table.merge(old)[[*_POINT, "throughput"]].to_csv(folder / "old.csv", index=False)
        for share in shares:
            runs = max(round(share * len(points)) - len(old), len(old))
            file = _study(asked.table) | {"stop": {"trials": runs}}
            (folder / "study.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
            study = planner.open_study(folder / "study.yaml", storage=f"sqlite:///{folder}/study.db", seed=seed)
            if not found:
                study.import_table(folder / "old.csv")
            study.run()
            best, more = _best(asked, study.predict(points))
            found.append(Found(runs + more, best))
    return found


def _best(asked: Transfer, predicted: pd.DataFrame) -> tuple[dict[str, float], int]:
    """The best throughput among what each model has run and the setting predicted best for it, and how many of these
    settings were not run before. predicted: a row for each row of the table."""
    truth = asked.table["throughput"].to_numpy()
    run = (predicted["source"] != "predicted").to_numpy()
    hopeful = run | (predicted["probability_ok"] >= 0.5).to_numpy()
    values = np.where(hopeful, predicted["throughput"].fillna(-np.inf), -np.inf)
    best, more = {}, 0
    for model in asked.old:
        rows = np.flatnonzero(asked.table["model"] == model)
        chosen = int(rows[np.argmax(values[rows])])
        more += not run[chosen]
        readings = truth[np.append(rows[run[rows]], chosen)]
        best[model] = float(np.nanmax(readings)) if np.isfinite(readings).any() else np.nan
    return best, more


# Billions of parameters, of each config.json: some names do not say them.
_PARAMETERS: Final[Mapping[str, float]] = {
    "Bloom-1b7": 1.72, "Bloom-3b": 3.0, "Bloom-7b1": 7.07, "Codellama-7b-hf": 6.74, "Codellama-13b-hf": 13.02,
    "Codellama-34b-hf": 33.74, "Codellama-70b-hf": 68.98, "Codestral-22b": 22.25, "Gemma-2b": 2.51, "Gemma-7b": 8.54,
    "Mistral-7b": 7.24, "Mixtral-8x7b": 46.7, "Phi-1": 1.42, "Phi-1_5": 1.42, "Phi-2": 2.78, "Starcoder-15b": 15.5,
    "Starcoder2-3b": 3.03, "Starcoder2-7b": 7.17, "Wizardcoder-15b": 15.5, "Wizardcoder-33b": 33.34}
_POINT: Final = ["gpu", "model", "n_gpus", "batch_size"]


def _study(grid: pd.DataFrame) -> dict[str, Any]:
    """The study file. A reading takes as long as its tokens do at its throughput, and what fails is charged five
    seconds: only the order of runs depends on this, and no figure here is a cost."""
    sizes = {model: _PARAMETERS.get(model, 7.0) for model in sorted(grid["model"].unique())}
    return {
        "study": {"name": "infpop"},
        "space": {"axes": {
            "gpu": {"scale": "category", "scope": "engine"},
            "model": {"scale": "category", "scope": "engine", "descriptors": {"params_b": sizes}},
            "n_gpus": {"scale": "log", "scope": "engine", "role": "accelerators"},
            "batch_size": {"scale": "log"}}},
        "runner": {"kind": "replay", "table": "table.csv", "status": "status", "accelerators": "n_gpus",
                   "cost_s": "5 * batch_size / throughput", "failed_cost_s": 5},
        "targets": [{"metric": "throughput", "direction": "maximize", "kind": "throughput"}],
    }


def by_tpe(asked: Transfer, seed: int, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> list[Found]:
    """What a sampler of Optuna's has found, a study for each model, after 1, 2, … distinct runs of each model."""
    curves: dict[str, list[float]] = {}
    for number, (model, rows) in enumerate(asked.table.groupby("model")):
        curves[str(model)] = _one_model(rows, asked.setting[str(model)], sampler(1000 * seed + number))
    longest = max(len(curve) for curve in curves.values())
    return [Found(sum(min(n, len(curve)) for curve in curves.values()),
                  {model: curve[min(n, len(curve)) - 1] for model, curve in curves.items()})
            for n in range(1, longest + 1)]


def _one_model(rows: pd.DataFrame, first: tuple[int, int], sampler: optuna.samplers.BaseSampler) -> list[float]:
    """The best throughput after each distinct run, `first` on, until the paper's number of evaluations is spent."""
    held = {(int(n), int(b)): float(t) for n, b, t in zip(
        rows["n_gpus"], rows["batch_size"], rows["throughput"], strict=True)}
    counts, batches = (sorted({key[i] for key in held}) for i in (0, 1))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(dict(zip(("n_gpus", "batch_size"), first, strict=True)))
    curve: list[float] = []
    done: set[tuple[int, int]] = set()
    for _ in range(EVALUATIONS):
        trial = study.ask()
        key = (trial.suggest_categorical("n_gpus", counts), trial.suggest_categorical("batch_size", batches))
        value = held.get(key, np.nan)
        study.tell(trial, value if np.isfinite(value) else 0.0)
        if key in held and key not in done:
            done.add(key)
            curve.append(float(np.nanmax([value, *curve[-1:], -np.inf])))
    return [value if np.isfinite(value) else np.nan for value in curve]


METHODS: Final[Mapping[str, Callable[[Transfer, int, Sequence[float]], list[Found]]]] = {
    "sweepwise": by_study,
    "tpe": lambda asked, seed, _: by_tpe(
        asked, seed, lambda number: optuna.samplers.TPESampler(seed=number)),
    "random": lambda asked, seed, _: by_tpe(
        asked, seed, lambda number: optuna.samplers.RandomSampler(seed=number)),
}


def mean_gain(asked: Transfer, best: Mapping[str, float]) -> float:
    """As the paper has it: the mean over models, without those whose possible gain is an outlier."""
    return float(np.mean(gains(asked, best)[_possible(asked) < _OUTLIER]))


def _most(asked: Transfer) -> dict[str, float]:
    """The highest throughput of each model in the table."""
    return {str(model): float(value) for model, value in asked.table.groupby("model")["throughput"].max().items()}


def _possible(asked: Transfer) -> FloatArray:
    return gains(asked, _most(asked))


def main(arguments: list[str] | None = None) -> None:
    """Print a table for each engine and direction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path, help="a clone of github.com/UPCBarcelonaTech/infpop")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    parser.add_argument("--leaving", choices=GPUS, default=GPUS[1], help="tesla (a V100): an upgrade")
    parser.add_argument("--method", choices=tuple(METHODS), help="one of them; all by default")
    parser.add_argument("--shares", default="0.1,0.2", help="of the grid's points, that may be run")
    given = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = transfer(read(given.clone), given.engine, given.leaving)
    shares = [float(share) for share in given.shares.split(",")]
    print(f"{given.engine}, leaving {given.leaving}: {len(asked.old)} models, {len(asked.table)} points; mean gain "
          f"published {PUBLISHED[given.engine, given.leaving]:.2f} %, of the best in the table "
          f"{mean_gain(asked, _most(asked)):.2f} %\n")
    print(f"| mean gain, at runs / points | {' | '.join(f'{share:.0%}' for share in shares)} |")
    print("| --- |" + " --- |" * len(shares))
    for name in [given.method] if given.method else METHODS:
        played = [METHODS[name](asked, seed, shares) for seed in range(given.seeds)]
        print(f"| {name} | {' | '.join(_cell(asked, played, share) for share in shares)} |", flush=True)


def _cell(asked: Transfer, played: Sequence[Sequence[Found]], share: float) -> str:
    """The median over seeds and, in brackets, the range of the mean gain within a share of the points."""
    within = [[one for one in curve if one.runs <= share * len(asked.table) + 1] for curve in played]
    if not all(within):
        return "–"
    found = [mean_gain(asked, curve[-1].best) for curve in within]
    return f"{np.median(found):.1f} [{min(found):.1f}–{max(found):.1f}]"


if __name__ == "__main__":
    main()
