"""Fixtures of views: a study that has run, and a browser."""

from __future__ import annotations

from tests.played import browser, ran

__all__ = ["browser", "ran"]
