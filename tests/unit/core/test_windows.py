"""`limpet.core.windows`: the largest window, and when credit is due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.errors import LimitExceeded
from limpet.core.windows import (
    GROWN_WINDOW,
    LONG_PATH_SECONDS,
    MAX_WINDOW,
    creditDue,
    enlarged,
    grownWindow,
)


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


MIB = 1 << 20


@pytest.mark.parametrize(
    ("taken", "seconds", "roundTripSeconds", "size"),
    [
        # As much as the window lets through: two grants of a half in a round trip of 100 ms.
        (MIB, 0.05, 0.1, 4 * MIB),
        # All of it at once, and then silence.
        (MIB, 0.0001, 0.1, 4 * MIB),
        # The path or the peer brings no more: 5 MB a second.
        (MIB, 0.2, 0.1, 2 * MIB),
        # A short path, however fast.
        (MIB, 0.0001, LONG_PATH_SECONDS * 0.99, 2 * MIB),
        # Not known.
        (MIB, 0.0001, 0.0, 2 * MIB),
        # No time has passed at all.
        (MIB, 0.0, 0.1, 4 * MIB),
    ],
)
def test_a_window_grows_where_the_path_brings_more(
    taken: int, seconds: float, roundTripSeconds: float, size: int
) -> None:
    assert grownWindow(2 * MIB, GROWN_WINDOW, taken, seconds, roundTripSeconds) == size


def test_a_window_grows_to_its_limit_and_never_shrinks() -> None:
    assert grownWindow(2 * MIB, 3 * MIB, MIB, 0.01, 0.1) == 3 * MIB
    assert grownWindow(3 * MIB, 3 * MIB, MIB, 0.01, 0.1) == 3 * MIB
    assert grownWindow(3 * MIB, 2 * MIB, MIB, 0.01, 0.1) == 3 * MIB
