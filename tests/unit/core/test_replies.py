"""`limpet.core.replies`: answers leave in the order of the requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.errors import LimitExceeded
from limpet.core.replies import MAX_PENDING_REPLIES, OrderedReplies


def test_an_answer_known_at_once_leaves_at_once() -> None:
    replies: OrderedReplies[str] = OrderedReplies()
    assert replies.settle(replies.ask(), "yes") == ["yes"]
    assert len(replies) == 0


def test_an_early_answer_waits_for_those_before_it() -> None:
    replies: OrderedReplies[str] = OrderedReplies()
    first, second = replies.ask(), replies.ask()
    assert replies.settle(second, "second") == []
    assert replies.settle(first, "first") == ["first", "second"]


def test_the_first_answer_to_a_request_counts() -> None:
    replies: OrderedReplies[str] = OrderedReplies()
    first, second = replies.ask(), replies.ask()
    assert replies.settle(second, "yes") == []
    assert replies.settle(second, "no") == []
    assert replies.settle(first, "first") == ["first", "yes"]
    assert replies.settle(first, "again") == []


def test_too_many_requests_at_once() -> None:
    replies: OrderedReplies[str] = OrderedReplies()
    for _ in range(MAX_PENDING_REPLIES):
        replies.ask()
    with pytest.raises(LimitExceeded):
        replies.ask()


@given(st.permutations(range(12)))
def test_any_order_of_answers_gives_the_order_of_requests(order: list[int]) -> None:
    replies: OrderedReplies[int] = OrderedReplies()
    tickets = [replies.ask() for _ in order]
    left: list[int] = []
    for index in order:
        left += replies.settle(tickets[index], index)
        assert left == list(range(len(left)))
    assert left == list(range(12))
