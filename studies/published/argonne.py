"""Argonne's table (arXiv 2411.00136) with one device left out in turn: `python -m studies.published.argonne TABLE`.

TABLE is Plots/All_results.csv of github.com/argonne-lcf/LLM-Inference-Bench (BSD-3-Clause; fetch it yourself). Of it
the vLLM rows are used: input as long as output, one latency of a batch a row. What stands twice is taken at its median.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from planner.space.types import StudyError
from studies.published.baselines import BASELINES
from studies.published.leave_out import Case, predict_by_study, predictions
from studies.published.scoring import markdown, scores_of

__all__ = ["FOUR", "SIX", "case", "main", "read"]

FOUR: Final = ("A100", "MI250", "MI300X", "PVC")
"""The devices on which these studies were developed."""
SIX: Final = (*FOUR, "GH200", "H100")
"""With two devices that were looked at afterwards."""

# GB, GB/s and dense 16-bit TFLOP/s of a whole device; written down before anything was scored. Source: data sheets of
# A100 40 GB SXM, MI250, MI300X, Max 1550 (called PVC in the table), H100 SXM, GH200 with HBM3.
_DEVICES: Final[Mapping[str, tuple[float, float, float]]] = {
    "A100": (40, 1555, 312), "MI250": (128, 3277, 362), "MI300X": (192, 5300, 1307), "PVC": (128, 3277, 839),
    "H100": (80, 3350, 989), "GH200": (96, 4000, 989)}
# Billions of parameters, those that a token uses, layers, width, and bytes of cache that a token takes at 16 bits.
# Source: each config.json.
_MODELS: Final[Mapping[str, tuple[float, float, float, float, float]]] = {
    "DeciLM-7B": (7.04, 7.04, 32, 4096, 34304), "Llama-2-7b-hf": (6.74, 6.74, 32, 4096, 524288),
    "Meta-Llama-3-8B": (8.03, 8.03, 32, 4096, 131072), "Mistral-7B-v0.1": (7.24, 7.24, 32, 4096, 131072),
    "Mixtral-8x7B-v0.1": (46.7, 12.88, 32, 4096, 131072), "Qwen2-7B": (7.62, 7.62, 28, 3584, 57344),
    "Llama-2-70b-hf": (68.98, 68.98, 80, 8192, 327680), "Meta-Llama-3-70B": (70.55, 70.55, 80, 8192, 327680),
    "Qwen2-72B": (72.71, 72.71, 80, 8192, 327680)}
_COLUMNS: Final = {"Num of Hardware": "n_gpus", "Input Output Length": "io_len", "Batch Size": "batch_size",
                   "Latency": "latency_s"}


def read(file: Path, devices: tuple[str, ...] = FOUR) -> pd.DataFrame:
    """The vLLM rows of some devices, a row for each point. Raises StudyError if a column is missing."""
    rows = pd.read_csv(file)
    for column in ("Hardware", "Framework", "Model", *_COLUMNS):
        if column not in rows:
            raise StudyError(f"{file}: no column '{column}'; give Plots/All_results.csv of LLM-Inference-Bench")
    rows = rows[rows["Framework"] == "vLLM"].rename(columns=_COLUMNS)
    rows["hardware"] = rows["Hardware"].str.split().str[1]
    rows["model"] = rows["Model"].str.split("/").str[-1]
    rows = rows[rows["hardware"].isin(devices) & rows["model"].isin(list(_MODELS))]
    axes = ["hardware", "model", "n_gpus", "io_len", "batch_size"]
    return rows.groupby(axes)["latency_s"].median().reset_index()


def case(table: pd.DataFrame) -> Case:
    """The table as a study."""
    return Case(
        table,
        {
            "hardware": {"scale": "category", "scope": "engine", "descriptors": _described(
                ("memory_gb", "bandwidth_gb_s", "tflops"), _DEVICES, table["hardware"])},
            "model": {"scale": "category", "scope": "engine", "descriptors": _described(
                ("params_b", "active_b", "layers", "width", "kv_bytes"), _MODELS, table["model"])},
            "n_gpus": {"scale": "log", "scope": "engine", "role": "accelerators"},
            "io_len": {"scale": "log", "role": ["input_tokens", "output_tokens"]},
            "batch_size": {"scale": "log"},
        },
        {"latency_s": {"metric": "latency_s", "kind": "whole", "direction": "minimize"}},
        "hardware", {"cost_s": 1, "accelerators": "n_gpus"})


def _described(
    names: tuple[str, ...], held: Mapping[str, tuple[float, ...]], used: pd.Series[str]
) -> dict[str, dict[str, float]]:
    return {name: {value: held[value][i] for value in sorted(used.unique())} for i, name in enumerate(names)}


def main(arguments: list[str] | None = None) -> None:
    """Print a table for all devices and one for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="Plots/All_results.csv of LLM-Inference-Bench")
    parser.add_argument("--six", action="store_true", help="with H100 and GH200, which no choice here has seen")
    parser.add_argument("--saved", type=Path, help="a folder that keeps the study's predictions, device by device")
    parser.add_argument("--only", help="predict this device alone")
    given = parser.parse_args(arguments)
    studied = case(read(given.table, SIX if given.six else FOUR))
    found = {name: predictions(studied, baseline, only=given.only) for name, baseline in BASELINES.items()}
    found["sweepwise"] = predictions(studied, predict_by_study, given.saved, given.only)
    print(f"latency_s, all devices\n\n{_table(found)}")
    for device in sorted(studied.table["hardware"].unique()) if given.only is None else []:
        part = {name: table[table["hardware"] == device] for name, table in found.items()}
        print(f"\nlatency_s, {device} left out\n\n{_table(part)}")


def _table(found: Mapping[str, pd.DataFrame]) -> str:
    rows = []
    for name, table in found.items():
        ends = tuple(table[f"latency_s_{end}"].to_numpy() for end in ("low", "high")) if (
            "latency_s_low" in table) else None
        groups = (table["hardware"] + " " + table["model"]).tolist()
        rows.append((name, scores_of(table["latency_s_true"].to_numpy(), table["latency_s"].to_numpy(), groups,
                                     None if ends is None else (ends[0], ends[1]))))
    return markdown(rows)


if __name__ == "__main__":
    main()
