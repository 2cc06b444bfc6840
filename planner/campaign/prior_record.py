"""Priors of the command line, kept with the study: a resume, and every other verb, uses them too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from planner.ledger.ledger import Ledger
from planner.space.prior_spec import PriorSpec

__all__ = ["keep_priors", "recorded_priors"]

_PRIORS: Final = "priors"


def recorded_priors(ledger: Ledger) -> tuple[PriorSpec, ...]:
    """The entries that the record keeps, in order."""
    return tuple(PriorSpec.model_validate(entry) for entry in ledger.study.user_attrs.get(_PRIORS, []))


def keep_priors(ledger: Ledger, entries: Sequence[PriorSpec]) -> None:
    """Add the entries to those that the record keeps."""
    known = recorded_priors(ledger)
    if any(entry not in known for entry in entries):
        together = [*known, *(entry for entry in entries if entry not in known)]
        ledger.study.set_user_attr(_PRIORS, [entry.model_dump(exclude_defaults=True) for entry in together])
