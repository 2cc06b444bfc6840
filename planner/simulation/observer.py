"""Observers of simulations."""

from __future__ import annotations

from typing import Any

__all__ = ["SimulationObserver"]


class SimulationObserver:
    """Is notified of the progress of simulations. Every method may be overridden; none may raise or take long."""

    def begun(self, total: int, found: int) -> None:
        """`total` simulations are requested; an earlier call has finished `found` of them."""

    def finished(self, runs: list[dict[str, Any]]) -> None:
        """One more simulation is finished; `runs` has its entry for each target."""
