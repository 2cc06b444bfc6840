"""What was measured, a row for each repeat of each point: the form of a recorded grid. And tables into files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner.ledger.observations import Observations, Run
from planner.space.types import Status, StudyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measurement_table", "write_table"]


def measurement_table(observations: Observations, metrics: list[str] | None = None) -> pd.DataFrame:
    """Columns: the axes, repeat, status, seconds (what a run of the point alone would take, all its repeats and
    warm-ups), start_s (of the engine, before the run), accelerators, environment, run, then the metrics (default:
    all). A failed run is one row."""
    import pandas as pd

    wanted = observations.metrics if metrics is None else metrics
    head = [axis.name for axis in observations.grid.axes]
    head += ["repeat", "status", "seconds", "start_s", "accelerators", "environment", "run"]
    wanted = [metric for metric in wanted if metric not in head]  # a replayed table may have columns of these names
    rows = [row for run in observations.runs for row in _rows(run, wanted)]
    return pd.DataFrame(rows, columns=[*head, *wanted])


def _rows(run: Run, metrics: list[str]) -> list[dict[str, Any]]:
    measurement = run.measurement
    common = {"start_s": measurement.cost.start_s, "accelerators": measurement.cost.accelerators,
              "environment": measurement.environment, "run": run.number}
    if measurement.status is Status.FAILED:
        spent = measurement.cost.seconds - measurement.cost.start_s
        return [{**run.point, "repeat": 0, "status": measurement.reason or "failed", "seconds": spent, **common}]
    rows = []
    for reading in measurement.readings:
        repeats = max((len(values) for values in reading.metrics.values()), default=0)
        for repeat in range(repeats):
            values = {m: reading.metrics[m][repeat] for m in metrics if repeat < len(reading.metrics.get(m, ()))}
            rows.append({**reading.point, "repeat": repeat, "status": "ok", "seconds": reading.seconds, **common,
                         **values})
    return rows


def write_table(table: pd.DataFrame, path: Path) -> None:
    """CSV, Parquet or JSON Lines, as the ending says, with all digits: an axis' values must be found again."""
    try:
        if path.suffix == ".parquet":
            _of_one_type(table).to_parquet(path, index=False)
        elif path.suffix == ".jsonl":
            path.write_text(_json_lines(table), encoding="utf-8")
        else:
            table.to_csv(path, index=False)
    except OSError as error:
        raise StudyError(f"--output: cannot write {path} ({error.strerror}); give another path") from error


def _json_lines(table: pd.DataFrame) -> str:
    """An object a row, without the keys that are missing there."""
    records = table.to_dict(orient="records")
    return "".join(
        json.dumps({key: value for key, value in record.items()
                    if not (value is None or (isinstance(value, float) and math.isnan(value)))}) + "\n"
        for record in records)


def _of_one_type(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns that mix numbers and text as text: Parquet has no others."""
    mixed = [column for column in table if len({type(value) for value in table[column]}) > 1]
    return table.astype(dict.fromkeys(mixed, str))
