"""Measures servers: starts one or finds it, drives it with a real client, and reads the steady state off its requests."""
