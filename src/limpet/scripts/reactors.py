"""The reactor of Limpet's own commands.

Rule: it is Twisted's, but for one thing. Twisted's notes for each event whose it is, for lines in
the log that say nothing of it by themselves; ours do. For small messages that was an eighth of the
server's processor time. An application has the reactor that it chose.
"""

from __future__ import annotations

import select
import sys
from typing import Any

from limpet._reactor import getReactor


def commandReactor() -> Any:
    """The reactor of this process, which is one of our commands; one is installed if none is."""
    if "twisted.internet.reactor" not in sys.modules and hasattr(select, "epoll"):
        from twisted.internet.main import installReactor

        installReactor(_makeReactor())
    return getReactor()


def _makeReactor() -> Any:
    # Where there is no epoll, the module is not to be had.
    from twisted.internet.epollreactor import EPollReactor

    class DirectReactor(EPollReactor):
        """Goes from an event to its reader or writer by the shortest way."""

        def doPoll(self, timeout: float | None) -> None:
            """Wait for events, at most so many seconds, and deal with each."""
            selectables = self._selectables
            wait = -1 if timeout is None else timeout
            for descriptor, event in self._poller.poll(wait, len(selectables)):
                # What was dealt with before it may have ended it.
                selectable = selectables.get(descriptor)
                if selectable is not None:
                    self._doReadOrWrite(selectable, descriptor, event)  # type: ignore[no-untyped-call]

        doIteration = doPoll

    return DirectReactor()  # type: ignore[no-untyped-call]
