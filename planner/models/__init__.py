"""Surrogates: what the runs say of every grid point, of its cost, and of whether it can run."""
