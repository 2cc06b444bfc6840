"""A plan as a table."""

from __future__ import annotations

from rich.table import Table

from planner.analysis.plan import Plan
from planner.space.text import duration

__all__ = ["plan_table"]


def plan_table(plan: Plan) -> Table:
    """The sizes, and the costs of the whole grid and of an adaptive study."""
    table = Table(box=None, show_header=False, title="Plan", title_justify="left")
    sizes = " × ".join(f"{name} {count}" for name, count in plan.axes.items())
    table.add_row("grid", f"{plan.grid_points:,} points ({sizes})")
    table.add_row("engine configurations", f"{plan.engine_configurations:,}")
    table.add_row("plain sweep", f"{plan.grid_points:,} runs, {duration(plan.full_cost_s)} of accelerator time")
    ends = " to ".join(dict.fromkeys(duration(seconds) for seconds in plan.adaptive_cost_s))
    table.add_row("adaptive study",
                  f"{plan.first_runs} runs to start with; in all about {ends} of accelerator time")
    if plan.budget_s is not None:
        table.add_row("stop.cost", duration(plan.budget_s))
    table.add_row("basis", plan.basis)
    if plan.warning:
        table.add_row("note", plan.warning)
    return table
