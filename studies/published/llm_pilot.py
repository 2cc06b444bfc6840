"""LLM-Pilot's table (arXiv 2410.02425) with one model left out in turn: `python -m studies.published.llm_pilot`.

The table, `data/llm_pilot.csv`, has the medians over requests of 528 load tests: 10 models, 14 GPU profiles, 1 to 128
users. `--upstream` takes a clone of github.com/IBM/LLM-performance-prediction, and scores the predictions there too.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from studies.published.baselines import BASELINES
from studies.published.leave_out import Case, predict_by_study, predictions
from studies.published.scoring import Scores, markdown, scores_of

__all__ = ["case", "main", "published"]

_TABLE: Final = Path(__file__).parent / "data" / "llm_pilot.csv"
_REFERENCES: Final = ("1 x T4", "4 x H100")
"""PARIS, Selecta and Morphling measure the left-out model on these two profiles; others measure nothing of it."""

# Of the paper's numeric features of a model those that say how much work it is, and what the latency model takes;
# written down before anything was scored with them. kv_bytes: of a token, at 16 bits. Zero and one are no and yes.
# Source: llm_features.csv of the paper's repository, and each config.json.
_MODELS: Final[Mapping[str, tuple[float, ...]]] = {
    #                          params_b, layers, width, kv_bytes, encoder_decoder, flash_attention
    "google/flan-t5-xl":       (3.0, 24, 2048, 196608, 1, 0),
    "google/flan-t5-xxl":      (11.0, 24, 4096, 393216, 1, 0),
    "google/flan-ul2":         (20.0, 32, 4096, 524288, 1, 0),
    "ibm/mpt-7b-instruct2":    (6.7, 32, 4096, 524288, 0, 0),
    "bigscience/mt0-xxl":      (13.0, 24, 4096, 393216, 1, 0),
    "Salesforce/codegen2-16B": (16.0, 34, 6144, 835584, 0, 0),
    "llama-7b":                (7.0, 32, 4096, 524288, 0, 1),
    "llama-13b":               (13.0, 40, 5120, 819200, 0, 1),
    "EleutherAI/gpt-neox-20b": (20.6, 44, 6144, 1081344, 0, 1),
    "bigcode/starcoder":       (15.5, 40, 6144, 20480, 0, 1),
}
# GB, GB/s and dense 16-bit TFLOP/s. Source: NVIDIA's data sheets of T4, V100 SXM2, A10, A100 40 GB SXM, H100 SXM.
_DEVICES: Final[Mapping[str, tuple[float, float, float]]] = {
    "T4": (16, 320, 65), "V100": (16, 900, 125), "A10": (24, 600, 125), "A100": (40, 1555, 312),
    "H100": (80, 3350, 989)}


def case(table: pd.DataFrame, size_alone: bool = False) -> Case:
    """The table as a study. size_alone: a model has its parameter count, and nothing else."""
    names = ("params_b", "layers", "width", "kv_bytes", "encoder_decoder", "flash_attention")
    return Case(
        table[["model", "gpu", "n_gpus", "num_users", "itl_ms", "nttft_ms"]],
        {
            "model": {"scale": "category", "scope": "engine", "descriptors": _columns(
                names[:1] if size_alone else names, _MODELS, table["model"])},
            "gpu": {"scale": "category", "scope": "engine", "descriptors": _columns(
                ("memory_gb", "bandwidth_gb_s", "tflops"), _DEVICES, table["gpu"])},
            "n_gpus": {"scale": "log", "scope": "engine", "role": "accelerators"},
            "num_users": {"scale": "log", "role": "concurrency"},
        },
        {"itl_ms": "itl_ms", "nttft_ms": {"metric": "nttft_ms", "kind": "first", "direction": "minimize"}},
        "model", {"cost_s": 120, "accelerators": "n_gpus"})  # every load test took two minutes


def _columns(
    names: tuple[str, ...], held: Mapping[str, tuple[float, ...]], used: pd.Series[str]
) -> dict[str, dict[str, float]]:
    return {name: {value: held[value][i] for value in sorted(used.unique())} for i, name in enumerate(names)}


def published(clone: Path, target: str) -> list[tuple[str, Scores]]:
    """Scores of the predictions in the paper's repository, of all points and of those of profiles never measured."""
    rows = []
    column = {"itl_ms": "median_itl", "nttft_ms": "median_nttft"}[target]
    for file in sorted((clone / "predict_performance" / "expected_results").glob("expected_predictions_*.csv")):
        table = pd.read_csv(file)
        name = file.stem.removeprefix("expected_predictions_")
        for label, part in ((name, table), (f"{name}, not on 1 x T4 or 4 x H100",
                                            table[~table["gpu"].isin(_REFERENCES)])):
            rows.append((label, scores_of(
                part[column].to_numpy(), part[f"prediction_{column}"].to_numpy(), part["model"].tolist())))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print a table for each target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path, default=_TABLE, help="the medians; those that come with it")
    parser.add_argument("--upstream", type=Path, help="a clone of the paper's repository")
    parser.add_argument("--saved", type=Path, help="a folder that keeps the study's predictions, model by model")
    parser.add_argument("--only", help="predict this model alone")
    parser.add_argument("--size-alone", action="store_true", help="a model is described by its parameter count alone")
    given = parser.parse_args(arguments)
    studied = case(pd.read_csv(given.table), given.size_alone)
    found = {name: predictions(studied, baseline, only=given.only) for name, baseline in BASELINES.items()}
    found["sweepwise"] = predictions(studied, predict_by_study, given.saved, given.only)
    for target in studied.targets:
        rows = published(given.upstream, target) if given.upstream else []
        for name, table in found.items():
            interval = (table[f"{target}_low"].to_numpy(), table[f"{target}_high"].to_numpy()) if (
                f"{target}_low" in table) else None
            rows.append((name, scores_of(
                table[f"{target}_true"].to_numpy(), table[target].to_numpy(), table["model"].tolist(), interval)))
        print(f"\n{target}\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
