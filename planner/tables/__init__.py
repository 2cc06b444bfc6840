"""Recorded tables: read from files, matched to a grid once, and priced."""
