"""The question: axes, points, grid, study file, expressions, metrics, and the terms that every other room uses."""
