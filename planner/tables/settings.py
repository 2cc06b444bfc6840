"""The keys of a runner that replays a recorded table."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from planner.tables.machine import MachineSettings
from planner.tables.table_file import one_line

__all__ = ["TableSettings"]


def _amount(value: Any) -> str | float:
    if isinstance(value, str) and value.strip():
        return one_line(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError("give a column, a number from 0, or an expression over columns")
    return float(value)


Amount = Annotated[str | float, BeforeValidator(_amount)]
Text = Annotated[str, AfterValidator(one_line), Field(min_length=1)]


class TableSettings(BaseModel):
    """The keys of a replay runner: which file, and what its rows cost."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    table: str = Field(min_length=1)
    """CSV, Parquet, JSON Lines or a JSON list of records, relative to the study file."""
    cost_s: Amount
    """Seconds of the run of a row: a column (converted by the unit in its header), a number or an expression."""
    accelerators: Amount = 1.0
    """Devices that the run occupied: a column, a number or an expression."""
    failed_cost_s: Amount | None = None
    """Seconds of the run of a failed row. Default: cost_s."""
    engine_start_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds, charged for each change of an engine-scope axis."""
    run_overhead_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds, charged for each run."""
    status: Text | None = None
    """Column with 'ok' for rows with metrics, and the reason for rows without. With `ok`, only the reason."""
    ok: Text | None = None
    """Condition over columns that the rows with metrics meet, for tables that say success in other words."""
    map: dict[str, Text] = Field(default_factory=dict)
    """Axis or metric → the column that has it, or an expression over columns. A unit in a header is converted."""
    where: Text | None = None
    """Condition over columns; only rows that meet it are used."""
    repeat: Text | None = None
    """Column that names the reading of each row."""
    trajectory: Text | None = None
    """Axis along which a run also measures every smaller value, for the price of the largest."""
    repeats: int = Field(default=1, ge=1)
    """Number of rows that a run reads; all rows if a point has fewer."""
    adaptive_repeats: bool = False
    """Whether a run reads fewer rows where another tells less, for its seconds, than the next point would."""
    machine: MachineSettings = MachineSettings()
    """The simulated faults of the machine. Default: none."""
