"""The text of a study file as the record and reports keep it: whole, but without passwords."""

from __future__ import annotations

import json
import re
from typing import Final

from planner.space.address import hidden, shown, without_passwords
from planner.space.spec import parse_spec
from planner.space.types import StudyError
from planner.space.yaml_text import compose, scalars

__all__ = ["text_to_keep"]

_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")
"""An anchor or a tag before a scalar."""


def text_to_keep(text: str, *addresses: str) -> str:
    """The valid text of a study file without the passwords of these addresses, and of all that look like addresses.

    What is kept is a valid study file of the same axes, targets and service levels: it is read again. Text is unchanged
    where there is no password.
    """
    kept = _hidden_scalars(text, addresses)
    for candidate in (hidden(kept, *addresses), without_passwords(kept)):
        if candidate == kept or _is_valid(candidate):
            return candidate
    return kept


def _hidden_scalars(text: str, addresses: tuple[str, ...]) -> str:
    """The text with each scalar that holds one of the addresses, in whatever style it is written, quoted anew."""
    secret = [address for address in addresses if shown(address) != address]
    if not secret:
        return text
    kept = text
    found = {node.start_mark.index: node for node in scalars(compose(text))
             if any(address in node.value for address in secret)}
    for start, node in sorted(found.items(), reverse=True):  # from the end: earlier places stay where they are
        written = text[start:node.end_mark.index]
        before = _PROPERTIES.match(written)
        after = written[len(written.rstrip()):]
        kept = (kept[:start] + (before[0] if before else "") + json.dumps(hidden(node.value, *addresses)) + after
                + kept[node.end_mark.index:])
    return kept


def _is_valid(text: str) -> bool:
    try:
        parse_spec(text)
    except StudyError:
        return False
    return True
