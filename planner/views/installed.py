"""Installed packages as a table."""

from __future__ import annotations

from rich.table import Table

from planner.analysis.installed import Installed

__all__ = ["installed_table"]


def installed_table(found: Installed) -> Table:
    """A line for each package."""
    table = Table(box=None, title="Installed", title_justify="left", show_header=False)
    for package, version in found.versions.items():
        table.add_row(package, version or "not installed")
    table.add_row("clients of servers", ", ".join(found.clients) or "none")
    return table
