"""Observers of simulations."""

from __future__ import annotations

from typing import Any

__all__ = ["SimulationObserver"]


class SimulationObserver:
    """Hears how the simulations go on. Every method may be overridden; none may raise or take long."""

    def begun(self, total: int, found: int) -> None:
        """`total` simulations are asked for, `found` of which an earlier call has done."""

    def finished(self, runs: list[dict[str, Any]]) -> None:
        """One more is done; `runs` has its entry for each target."""
