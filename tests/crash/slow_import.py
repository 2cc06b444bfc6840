"""Stands for vLLM, whose import takes most of an engine's start."""

from __future__ import annotations

import time

time.sleep(0.2)
