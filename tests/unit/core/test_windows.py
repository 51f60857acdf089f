"""`limpet.core.windows`: the largest window, and when credit is due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.errors import LimitExceeded
from limpet.core.windows import MAX_WINDOW, creditDue, enlarged


def test_a_window_may_be_as_large_as_the_rfc_allows() -> None:
    assert enlarged(MAX_WINDOW - 5, 5) == MAX_WINDOW


def test_and_no_larger() -> None:
    with pytest.raises(LimitExceeded):
        enlarged(MAX_WINDOW - 5, 6)


@pytest.mark.parametrize(
    ("size", "left", "due"),
    [(6, 2, 4), (6, 3, 0), (6, 6, 0), (131072, 65536, 0), (131072, 65535, 65537), (1, 0, 1)],
)
def test_credit_is_due_below_half(size: int, left: int, due: int) -> None:
    assert creditDue(size, left) == due


@given(st.integers(2, MAX_WINDOW), st.data())
def test_credit_fills_the_window_or_is_nothing(size: int, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, size))
    due = creditDue(size, left)
    assert left + due == (size if due else left)
    assert left + due >= size // 2
