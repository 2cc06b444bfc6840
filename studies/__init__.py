"""Example studies, small recorded grids, model configurations, and comparison studies."""
