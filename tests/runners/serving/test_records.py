"""Records: what happened to each request is kept, small, to a tenth of a millisecond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.serving.records import Records
from tests.runners.serving.queues import mm

TIMES = ("due", "sent", "first", "end")
seconds = st.floats(0, 3600)


@st.composite
def some_records(draw: Any) -> Records:
    """Requests in any order: late, early by the clock's grain, failed, empty."""
    rows = draw(st.lists(st.tuples(
        seconds, st.floats(-1e-3, 100), seconds, seconds, st.integers(0, 10**6), st.integers(0, 10**6),
        st.sampled_from(("", "", "HTTP 500", "an answer without tokens"))), max_size=40))
    start = draw(st.floats(-1e5, 1e9))
    due = np.array([row[0] for row in rows]) + start
    sent = due + np.array([row[1] for row in rows])
    bad = np.array([bool(row[6]) for row in rows], dtype=bool)
    first = np.where(bad, np.nan, sent + np.array([row[2] for row in rows]))
    end = np.where(bad, np.nan, first + np.array([row[3] for row in rows]))
    tokens = np.array([row[5] for row in rows], dtype=np.int64)
    return Records(due, sent, first, end, np.array([row[4] for row in rows], dtype=np.int64), np.where(bad, 0, tokens),
                   tuple(row[6] for row in rows))


@given(some_records())
def test_packed_records_come_back_to_a_tenth_of_a_millisecond(records: Records) -> None:
    back = Records.unpack(records.pack())
    assert len(back) == len(records)
    begin = min((min(records.due.min(), records.sent.min()),)) if len(records) else 0.0
    for name in TIMES:
        # Half a grain, and what a double holds of a moment counted from long ago.
        assert np.allclose(getattr(back, name), getattr(records, name) - begin, rtol=0, atol=1e-4, equal_nan=True)
    assert (back.input_tokens == records.input_tokens).all() and (back.output_tokens == records.output_tokens).all()
    assert (back.good == records.good).all()
    assert [bool(error) for error in back.errors] == [bool(error) for error in records.errors]


def test_a_request_takes_some_twenty_bytes() -> None:
    records = mm(np.random.default_rng(0), 0.7, 8, 2000)
    assert len(records.pack()) < 25 * len(records)


@pytest.mark.parametrize("text", ["", "no records", "c-n=H0"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Records.unpack(text)


def test_an_answer_without_tokens_is_no_good_request() -> None:
    """HTTP 200 and no error, but nothing came."""
    five = mm(np.random.default_rng(0), 0.5, 1, 5)
    tokens = np.array([2, 0, 2, 2, 2])
    errors = ("", "", "HTTP 500", "", "")
    records = Records(five.due, five.sent, five.first, five.end, five.input_tokens, tokens, errors)
    assert records.good.tolist() == [True, False, False, True, True]
    assert len(records[records.good]) == 3
    assert records[np.array([3])].due == five.due[3]
