"""Descriptors that every child of this process has open too: locks that shall last as long as the last of them."""

from __future__ import annotations

from typing import Final

__all__ = ["held"]

held: Final[set[int]] = set()
"""Who adds one removes it before closing it."""
