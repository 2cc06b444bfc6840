"""Runners: what measures a point, one file for each backend."""
