"""Text of users and of other programs within Markdown."""

from __future__ import annotations

import re
from typing import Final

from planner.space.text import printable

__all__ = ["code", "escaped"]

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~&!])")


def escaped(text: str) -> str:
    """The text on one line, without markup: Markdown may hold HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(text).split()))


def code(text: str) -> str:
    """The text on one line as code, which it cannot end."""
    return f"`{' '.join(printable(text).replace('`', '').split())}`"
