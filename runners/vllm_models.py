"""The models that a study measures: names, folders, hashes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from planner.space.types import Axis, Role, StudyError
from runners import environment

__all__ = ["Models", "argument_of"]


def argument_of(axis: Axis) -> str:
    """The engine argument that an engine axis sets: `model` if that is its role, else the axis's name."""
    return "model" if Role.MODEL in axis.roles else axis.name


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a study: those of its axis, or the one that its settings name.

    directory: the study file's. Raises StudyError, where it is used, for a folder that does not exist.
    """

    directory: Path
    named: str | None
    axes: tuple[Axis, ...]

    def names(self) -> tuple[str, ...]:
        """Their names, as the study writes them. Raises StudyError if there is none."""
        for axis in self.axes:
            if argument_of(axis) == "model":
                return tuple(str(value) for value in axis.values)
        if self.named is None:
            raise StudyError("runner.model: missing; name a model directory or a hub model, or sweep it as "
                             "space.axes.model")
        return (self.named,)

    def argument(self, name: str) -> str:
        """The full path of a model directory; a hub name unchanged."""
        path = self.path(name)
        return name if path is None else str(path)

    def path(self, name: str) -> Path | None:
        """The model's directory; None for a hub name. Raises StudyError."""
        for path in (self.directory / name, Path(name)):
            if (path.is_absolute() or path == self.directory / name) and path.is_dir():
                if not (path / "config.json").is_file():
                    raise StudyError(f"runner.model: the directory {name} has no config.json")
                return path.resolve()
        if name.startswith((".", os.sep, "~")) or name.count("/") > 1:
            raise StudyError(f"runner.model: no directory {name}; write it relative to the study file")
        return None

    def facts(self, revision: str, loaded: bool) -> dict[str, str]:
        """Their part of the fingerprint. loaded: whether weights are read from files."""
        facts = {}
        for name in self.names():
            path = self.path(name)
            facts[f"model:{name}"] = (
                f"{name}@{revision}" if path is None else environment.model_digest(path, weights=loaded))
        return facts
