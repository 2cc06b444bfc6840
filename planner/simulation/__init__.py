"""Simulations: a strategy played on a recorded grid, and scored against its truth."""
