"""What a written value means: 8, 8.0 and '8' are one number, true and 'True' one truth value, inf one rate.

One rule for every reader: a recorded table, another tool's file, --set, --point. An axis has values as the study file
or the table writes them; a cell, or a word of the command line, is matched to one of them by `match`:

own value    is meant by
number       every spelling of that number
true, false  true and false in any case, never a number
None         None, null, and a blank
text         the same text. So '1.10' is not '1.1', and '007' is not 7. A number that a file holds as a number (JSON,
             Parquet) also means the text of that number
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from planner.space.types import Value

__all__ = ["Matcher", "as_number", "as_truth", "is_blank", "is_none", "match", "named_values", "plain_value", "same"]

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITE: Final = re.compile(r"([+-]?)(inf|infinity)", re.IGNORECASE)
_TRUTH: Final = {"true": True, "false": False}
_NONE: Final = frozenset({"none", "null"})
_LARGEST: Final = 2**53  # above it, floating point cannot represent every whole number


def as_number(value: Value | None) -> float:
    """The number that a value is or writes; NaN if it is none. A truth value is no number."""
    if isinstance(value, str):
        text = value.strip()
        if found := _INFINITE.fullmatch(text):
            return -math.inf if found[1] == "-" else math.inf
        return float(text) if _NUMBER.fullmatch(text) else math.nan
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def as_truth(value: Value | None) -> bool | None:
    """The truth value that a value is or writes, in any case; None if it is none."""
    if isinstance(value, bool):
        return value
    return _TRUTH.get(value.strip().lower()) if isinstance(value, str) else None


def is_blank(value: Value | None) -> bool:
    """Whether there is nothing: no value, empty text, or a number that is none (NaN)."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def is_none(value: Value | None) -> bool:
    """Whether a text is None or null, in any case: a value of an axis, where a blank may be a gap."""
    return isinstance(value, str) and value.strip().lower() in _NONE


def same(own: Value, value: Value | None) -> bool:
    """Whether `value`, as a file or a user writes it, means `own`."""
    if isinstance(own, bool):
        return as_truth(value) is own
    if isinstance(own, int | float):
        return as_number(value) == own
    word = own.strip()
    if is_none(word):
        return is_blank(value) or is_none(value)
    if is_blank(value):
        return not word
    if isinstance(value, str):
        return value.strip() == word or (as_truth(own) is not None and as_truth(own) is as_truth(value)) or (
            math.isinf(as_number(own)) and as_number(own) == as_number(value))
    return as_truth(own) is value if isinstance(value, bool) else as_number(own) == value


def match(values: Sequence[Value], value: Value | None) -> Value | None:
    """The one of an axis' `values` that `value` means; None if it means none of them. The same spelling comes first:
    of the versions 1.1 and '1.10', the text 1.10 means the second."""
    written = str(value).strip()
    for own in values:
        if isinstance(own, str) and own.strip() == written and not is_blank(value):
            return own
    return next((own for own in values if same(own, value)), None)


class Matcher:
    """`match` for many cells: each is found without going through all values."""

    def __init__(self, values: Iterable[Value]) -> None:
        self._texts: dict[str, Value] = {}
        self._numbers: dict[float, Value] = {}  # of values that are numbers
        self._typed: dict[float, Value] = {}  # of these, and of text that writes a number
        self._others: list[Value] = []  # what is meant by more than its spelling or its number
        for own in values:
            number = as_number(own)
            if isinstance(own, str):
                self._texts.setdefault(own.strip(), own)
            elif math.isfinite(number):
                self._numbers.setdefault(number, own)
            if math.isfinite(number):
                self._typed.setdefault(number, own)
            elif not isinstance(own, str) or math.isinf(number) or as_truth(own) is not None or (
                    is_none(own) or is_blank(own)):
                self._others.append(own)

    def __call__(self, value: Value | None) -> Value | None:
        """The value that `value` means; None if it means none of them."""
        if not is_blank(value) and (own := self._texts.get(str(value).strip())) is not None:
            return own
        own = (self._numbers if isinstance(value, str) else self._typed).get(as_number(value))
        return next((other for other in self._others if same(other, value)), None) if own is None else own


def named_values(text: str) -> dict[str, Value] | None:
    """The values in 'axis=value,axis=value'; None where the text is not written so, or says an axis twice. A word
    without '=' belongs to the value before it: a category may have a comma."""
    found: dict[str, Value] = {}
    for word in re.split(r",(?=[^,=]*=)", text):
        name, equals, value = (part.strip() for part in word.partition("="))
        if not (name and equals and value) or name in found:
            return None
        found[name] = plain_value(value)
    return found


def plain_value(text: str) -> Value:
    """The text as a number if that is how the number is usually written ('8', '0.5'), as a truth value if it is one;
    else the text as it stands ('1.10', '007', '1e5')."""
    text = text.strip()
    if (truth := as_truth(text)) is not None:
        return truth
    number = as_number(text)
    if not math.isfinite(number) or abs(number) > _LARGEST:
        return text
    if str(int(number)) == text:
        return int(number)
    return number if repr(number) == text else text
