"""Which measurements may be mixed: the fingerprint of engine, device, models and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["differences"]

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
