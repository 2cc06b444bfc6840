"""Measures servers: starts one or finds it, drives it with a real client, reads the steady state off its requests."""
