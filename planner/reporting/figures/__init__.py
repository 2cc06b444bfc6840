"""Figures of a study, self-contained: each has its own controls. Importing them loads Plotly."""

from __future__ import annotations

from planner.reporting.figures.course import course
from planner.reporting.figures.surface import surface
from planner.reporting.figures.tradeoff import tradeoff

__all__ = ["course", "surface", "tradeoff"]
