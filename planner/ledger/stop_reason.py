"""Why a study's last campaign ended: a fact of the study, which several workers share, and not of any one of them.

It is absent while a campaign is under way. A worker that starts does not touch it; its first run does. A worker that
ends writes it, unless its reason holds only while others are still measuring: the last of them will know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import optuna

from planner.ledger.optuna_private import change_user_attrs

__all__ = ["record_stop", "stop_reason", "under_way_again"]

_STOPPED: Final = "stopped"


def stop_reason(study: optuna.Study) -> str | None:
    """Why the last campaign ended; None if none did, or one is under way."""
    reason: str | None = study.user_attrs.get(_STOPPED)
    return reason


def under_way_again(study: optuna.Study) -> None:
    """A run has begun."""
    if stop_reason(study) is not None:
        study.set_user_attr(_STOPPED, None)


def record_stop(study: optuna.Study, reason: str) -> None:
    """A worker has ended. That it was stopped by hand says nothing if another has found a reason meanwhile."""
    def kept(recorded: Mapping[str, Any]) -> dict[str, Any]:
        known = recorded.get(_STOPPED)
        return {_STOPPED: known if reason == "interrupted" and known is not None else reason}

    change_user_attrs(study, kept)
