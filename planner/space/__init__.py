"""The question: axes, points, grid, study file, expressions, metrics, and the words that every other room uses."""
