"""InfPop's readings (arXiv 2408.01050) from a clone of github.com/UPCBarcelonaTech/infpop, which has no licence.

`allData.csv` has three readings a point, for 5, 10 and 20 new tokens, and does not say on which GPU. Rows of one model,
engine, number of GPUs and GPU stand together. Which GPU it was follows from the tables of the paper, RQ2/tables, which
show the first of the three, rounded to a tenth. The paper tunes the first; so do we.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from planner.space.types import StudyError

__all__ = ["ENGINES", "GPUS", "read"]

GPUS: Final = ("a100", "tesla")
ENGINES: Final = ("autohf", "vLLM")


def read(clone: Path) -> pd.DataFrame:
    """gpu, engine, model, n_gpus, batch_size, throughput (tokens/s; NaN where nothing ran). Raises StudyError."""
    if not (clone / "allData.csv").is_file():
        raise StudyError(f"{clone}: has no allData.csv; give a clone of github.com/UPCBarcelonaTech/infpop")
    rows = pd.read_csv(clone / "allData.csv", index_col=0)
    place = ["model", "engine", "nrGPUs", "batchSize"]
    first = rows[(rows[place] != rows[place].shift()).any(axis=1)]
    block = ["model", "engine", "nrGPUs"]
    # A block begins with another model, engine or number of GPUs, or where the batch size starts again.
    begins = (first[block] != first[block].shift()).any(axis=1) | (first["batchSize"] <= first["batchSize"].shift())
    tables = {(engine, gpu, count): _rounded(clone, engine, gpu, count)
              for engine in ENGINES for gpu in GPUS for count in (1, 2, 4, 8)}
    parts = []
    for _, part in first.groupby(begins.cumsum()):
        gpu = _gpu_of(part, tables)
        if gpu is not None:
            parts.append(part.assign(gpu=gpu))
    named = {"nrGPUs": "n_gpus", "batchSize": "batch_size"}
    table = pd.concat(parts).rename(columns=named)[
        ["gpu", "engine", "model", "n_gpus", "batch_size", "throughput"]]
    return table.drop_duplicates(["gpu", "engine", "model", "n_gpus", "batch_size"], ignore_index=True)


def _rounded(clone: Path, engine: str, gpu: str, count: int) -> pd.DataFrame:
    return pd.read_csv(clone / "RQ2" / "tables" / f"table_batchsizes_{gpu}_{engine}_gpu_{count}.csv", index_col="model")


def _gpu_of(part: pd.DataFrame, tables: dict[tuple[str, str, int], pd.DataFrame]) -> str | None:
    """The GPU whose table has these readings; None if none has."""
    row = part.iloc[0]
    for gpu in GPUS:
        table = tables[row["engine"], gpu, int(row["nrGPUs"])]
        if row["model"] not in table.index:
            continue
        shown = table.loc[[row["model"]]].iloc[0]
        pairs = [(float(shown.get(str(batch), np.nan)), value)
                 for batch, value in zip(part["batchSize"], part["throughput"], strict=True)]
        known = [(a, b) for a, b in pairs if np.isfinite(a) and np.isfinite(b)]
        if known and all(abs(a - b) <= _ROUNDED for a, b in known):
            return gpu
    return None


_ROUNDED: Final = 0.051  # a tenth, rounded either way
