"""Strategies: the contract, sweepwise's own, fixed designs, baselines and ablations, and their registry."""
