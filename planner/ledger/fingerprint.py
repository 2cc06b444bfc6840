"""Which measurements may be mixed: the fingerprint of engine, device, models and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from planner.space.types import StudyError

__all__ = ["check_resumable", "differences"]

_MODEL: Final = "model:"


def differences(recorded: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """The differences, one phrase for each key. A model on one side only is not a difference: the axis grew."""
    keys = sorted(set(recorded) | set(present))
    return [
        f"{key} was {recorded.get(key, 'absent')}, is {present.get(key, 'absent')}"
        for key in keys
        if recorded.get(key) != present.get(key)
        and not (key.startswith(_MODEL) and (key not in recorded or key not in present))
    ]


def check_resumable(
    name: str, recorded: Mapping[str, Any], targets: list[str], fingerprint: Mapping[str, str] | None
) -> None:
    """Raises StudyError if the study, with these user attributes, has other targets or another fingerprint."""
    fix = "give the new study another name (study.name or --name)"
    if recorded.get("targets") != targets:
        raise StudyError(f"targets: study '{name}' was begun for {', '.join(recorded['targets'])}; {fix}")
    if fingerprint is None or "fingerprint" not in recorded:
        return
    if different := differences(recorded["fingerprint"], fingerprint):
        raise StudyError(f"study '{name}': its measurements do not fit what would run now "
                         f"({'; '.join(different)}); restore that, or {fix}")
