"""Figures of a study, self-contained: each has its own controls. Importing them loads Plotly."""

from __future__ import annotations

from planner.views.figures.history import history
from planner.views.figures.surface import surface
from planner.views.figures.tradeoff import tradeoff

__all__ = ["history", "surface", "tradeoff"]
