"""What was measured, a row for each repeat of each point: the form of a recorded grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planner.ledger.observations import Observations, Run
from planner.space.types import Status

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measurement_table"]


def measurement_table(seen: Observations, metrics: list[str] | None = None) -> pd.DataFrame:
    """Columns: the axes, repeat, status, seconds (what a run of the point alone would take, all its repeats and
    warm-ups), accelerators, environment, run, then the metrics (default: all). A failed run is one row."""
    import pandas as pd

    wanted = seen.metrics if metrics is None else metrics
    head = [axis.name for axis in seen.grid.axes]
    head += ["repeat", "status", "seconds", "accelerators", "environment", "run"]
    wanted = [metric for metric in wanted if metric not in head]  # a replayed table may have columns of these names
    rows = [row for run in seen.runs for row in _rows(run, wanted)]
    return pd.DataFrame(rows, columns=[*head, *wanted])


def _rows(run: Run, metrics: list[str]) -> list[dict[str, Any]]:
    measurement = run.measurement
    common = {"accelerators": measurement.cost.accelerators, "environment": measurement.environment, "run": run.number}
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
