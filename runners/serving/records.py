"""What happened to each request of one client run, and its compressed form.

A window can be computed again from the records at any time (steady_state.py): the study keeps them with the run.
"""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from planner.space.types import BoolArray, FloatArray, IntArray

__all__ = ["Records"]

_TIMES: Final = ("due", "sent", "first", "end")
_COUNTS: Final = ("input_tokens", "output_tokens")


@dataclass(frozen=True, eq=False)
class Records:
    """Requests in the order in which they were due, (n,) each. Times are seconds on one clock.

    due: when the load generator meant to send it; sent: when it did, later by what a concurrency limit of the client
    held it back. In a closed loop both are equal: a request is due when a place is free. first, end: its first and last
    token, NaN where there was none. output_tokens: 0 where there was none. errors: empty for a good request.
    """

    due: FloatArray
    sent: FloatArray
    first: FloatArray
    end: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    errors: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.due)

    def __getitem__(self, rows: BoolArray | IntArray) -> Records:
        kept = np.arange(len(self))[rows]
        return Records(self.due[kept], self.sent[kept], self.first[kept], self.end[kept], self.input_tokens[kept],
                       self.output_tokens[kept], tuple(self.errors[row] for row in kept))

    @property
    def good(self) -> BoolArray:
        """Whether each request gave tokens and no error, (n,). An answer without a token is a failed request, whatever
        its HTTP status."""
        return np.array([not error for error in self.errors], dtype=bool) & (self.output_tokens > 0)

    def pack(self) -> str:
        """The records as text, some 20 bytes a request: times to 0.1 ms, errors as no more than "failed"."""
        begins = np.concatenate([self.due, self.sent])
        start = float(begins[np.isfinite(begins)].min()) if len(self) else 0.0
        columns = {name: np.where(np.isfinite(column := getattr(self, name)), np.round((column - start) * 1e4), -1)
                   .astype(np.int64) for name in _TIMES}
        columns |= {name: getattr(self, name) for name in _COUNTS}
        columns["failed"] = np.array([bool(error) for error in self.errors], dtype=np.int64)
        stream = io.BytesIO()
        np.save(stream, np.array([np.diff(column, prepend=0) for column in columns.values()]), allow_pickle=False)
        return base64.b85encode(zlib.compress(stream.getvalue(), 9)).decode()

    @classmethod
    def unpack(cls, text: str) -> Self:
        """The records that `pack` wrote; times start at 0. Raises ValueError for any other text."""
        try:
            stream = io.BytesIO(zlib.decompress(base64.b85decode(text)))
        except zlib.error as error:
            raise ValueError(f"these are no packed records: {error}") from error
        table = np.load(stream, allow_pickle=False).cumsum(axis=1)
        due, sent, first, end = (np.where(row < 0, np.nan, row / 1e4) for row in table[:4].astype(np.float64))
        errors = tuple("failed" if failed else "" for failed in table[6])
        return cls(due, sent, first, end, table[4], table[5], errors)
