"""Export of the measurements, a row for each repeat of each point: the form of a recorded grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from planner.analysis.placements import placements
from planner.analysis.spending import kind_of
from planner.ledger.observations import Observations, Run
from planner.space.expressions import suggestion
from planner.space.text import printable
from planner.space.types import Measurement, Status, StudyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measurement_table"]


def measurement_table(observations: Observations, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """A row for each repeat of each point; a failed run is one row.

    Columns: the axes, repeat, status ("ok", or why it failed), failure (the kind of a failed run), seconds (of a
    separate run of the point, with all repeats and warm-ups), start_s (of the engine, before the run), accelerators,
    environment, run; where runs were made side by side, the host, the devices of each and the runs beside it; then the
    metrics (default: all). Raises StudyError if no run gave one of `metrics`.
    """
    import pandas as pd

    for metric in metrics or ():
        if metric not in observations.metrics:
            raise StudyError(f"--metrics: nothing measured '{metric}'{suggestion(metric, observations.metrics)}")

    wanted = observations.metrics if metrics is None else list(metrics)
    head = [axis.name for axis in observations.grid.axes]
    head += ["repeat", "status", "failure", "seconds", "start_s", "accelerators", "environment", "run"]
    placed = placements(observations)
    head += ["host", "devices", "beside"] if placed else []
    wanted = [metric for metric in wanted if metric not in head]  # a replayed table may have columns of these names
    rows = [{**row, **(asdict(placed[run.number]) if run.number in placed else {})}
            for run in observations.runs for row in _rows(run, wanted)]
    return pd.DataFrame(rows, columns=[*head, *wanted])


def _rows(run: Run, metrics: list[str]) -> list[dict[str, Any]]:
    measurement = run.measurement
    common = {"start_s": measurement.cost.start_s, "accelerators": measurement.cost.accelerators,
              "environment": measurement.environment, "run": run.number}
    if measurement.status is Status.FAILED:
        return [{**run.point, "repeat": 0, "status": _reason(measurement), "failure": kind_of(run).value,
                 "seconds": measurement.cost.run_s, **common}]
    if measurement.status is Status.SATURATED and not measurement.readings:
        return [{**run.point, "repeat": 0, "status": measurement.status.value,
                 "seconds": measurement.cost.run_s, **common}]
    status = "saturated" if measurement.status is Status.SATURATED else "ok"
    rows = []
    for reading in measurement.readings:
        repeats = max((len(values) for values in reading.metrics.values()), default=0)
        for repeat in range(repeats):
            values = {m: reading.metrics[m][repeat] for m in metrics if repeat < len(reading.metrics.get(m, ()))}
            rows.append({**reading.point, "repeat": repeat, "status": status, "seconds": reading.seconds, **common,
                         **values})
    return rows


def _reason(measurement: Measurement) -> str:
    """Why a run failed: other programs' words, without what a terminal that shows the file would obey."""
    return " ".join(printable(measurement.reason).split()) or "failed"
