"""Answers in the order of the questions, however late each one is known (RFC 4254 sections 4, 5.4).

Rule: requests carry no number, so that the n-th answer belongs to the n-th request. An answer that
is known early waits for those before it.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from limpet.core.errors import LimitExceeded

MAX_PENDING_REPLIES = 1024
"""How many requests may wait for an answer at once; a peer that asks more has gone astray."""

_T = TypeVar("_T")


class Ticket(Generic[_T]):
    """The place of one request in the row; `answer` is set once it is known."""

    __slots__ = ("answer", "settled")

    def __init__(self) -> None:
        self.settled = False
        self.answer: _T | None = None


class OrderedReplies(Generic[_T]):
    """The requests of one peer that are not answered yet, oldest first."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Ticket[_T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self) -> Ticket[_T]:
        """A request came in. Raises LimitExceeded beyond `MAX_PENDING_REPLIES`."""
        if len(self._waiting) >= MAX_PENDING_REPLIES:
            raise LimitExceeded(f"more than {MAX_PENDING_REPLIES} requests wait for an answer")
        ticket: Ticket[_T] = Ticket()
        self._waiting.append(ticket)
        return ticket

    def settle(self, ticket: Ticket[_T], answer: _T) -> list[_T]:
        """The answer to one request is known.

        Returns:
            The answers that can go out now, in the order of their requests; often just this one,
            none while an older request has no answer. A ticket that is settled already changes
            nothing.
        """
        if not ticket.settled:
            ticket.settled = True
            ticket.answer = answer
        ready: list[_T] = []
        waiting = self._waiting
        while waiting and waiting[0].settled:
            ready.append(waiting.popleft().answer)  # type: ignore[arg-type]
        return ready
