"""Checks that can block, in a few of the reactor's threads and each source in its turn.

Rule: however many connections wait for a slow disk, directory or password hash, the reactor's pool
keeps threads for everybody else, and who connects a hundred times waits behind himself
(attacks.md M5). A check whose connection is gone before its turn is never made (M4).

    run(source, …) ──▶ waiting: {source: deque} ── in turns ──▶ a thread ──▶ Deferred
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet import defer, threads

from limpet._reactor import getReactor

Result = TypeVar("Result")

MAX_RUNNING = 6
"""Checks at a time: Twisted's pool has ten threads, and names are looked up there too (ours)."""

MAX_RUNNING_PER_SOURCE = 3
"""How many of these may be for one source (ours)."""


class FairWorkers:
    """Runs functions in threads: some at a time, a share of them for each source.

    Args:
        maxRunning: Functions at a time.
        maxRunningPerSource: Those of one source.
    """

    def __init__(
        self,
        maxRunning: int = MAX_RUNNING,
        maxRunningPerSource: int = MAX_RUNNING_PER_SOURCE,
    ) -> None:
        self._maxRunning = maxRunning
        self._maxRunningPerSource = maxRunningPerSource
        # Sources in the order of their turns; none has an empty queue.
        self._waiting: OrderedDict[object, deque[_Check]] = OrderedDict()
        self._running: dict[object, int] = {}

    def run(
        self, source: object, function: Callable[..., Result], *arguments: Any
    ) -> defer.Deferred[Result]:
        """Call a function in a thread when its turn comes.

        Args:
            source: Whom it is for, for example the peer's address; None is a source like others.
            function: What may block.
            arguments: Its arguments.

        Returns:
            A Deferred of its result, or failing with what it raised. Cancelled before its turn, the
            function is not called; cancelled later, its result is dropped.
        """
        check = _Check(source, function, arguments)
        check.done = defer.Deferred(lambda _: self._forget(check))
        self._waiting.setdefault(source, deque()).append(check)
        self._startNext()
        return check.done

    def _forget(self, check: _Check) -> None:
        queue = self._waiting.get(check.source)
        if queue is not None and check in queue:
            queue.remove(check)
            if not queue:
                del self._waiting[check.source]

    def _startNext(self) -> None:
        while sum(self._running.values()) < self._maxRunning:
            source = next(
                (
                    source
                    for source in self._waiting
                    if self._running.get(source, 0) < self._maxRunningPerSource
                ),
                _NOBODY,
            )
            if source is _NOBODY:
                return
            queue = self._waiting.pop(source)
            check = queue.popleft()
            if queue:
                # To the end: its next one waits until the other sources have had theirs.
                self._waiting[source] = queue
            self._start(check)

    def _start(self, check: _Check) -> None:
        self._running[check.source] = self._running.get(check.source, 0) + 1
        reactor = getReactor()
        running = threads.deferToThreadPool(
            reactor, reactor.getThreadPool(), check.function, *check.arguments
        )
        running.addBoth(self._ended, check)

    def _ended(self, result: Any, check: _Check) -> None:
        left = self._running[check.source] - 1
        if left:
            self._running[check.source] = left
        else:
            del self._running[check.source]
        self._startNext()
        if not check.done.called:
            # A Failure goes on as one.
            check.done.callback(result)


class _Check:
    """One call that waits or runs."""

    done: defer.Deferred[Any]

    def __init__(
        self, source: object, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        self.source = source
        self.function = function
        self.arguments = arguments


_NOBODY = object()


def sourceOf(credentials: Any) -> object:
    """Where credentials come from: the peer's address, None where there is none."""
    context = getattr(credentials, "context", None)
    return None if context is None else context.peerHost


checks = FairWorkers()
"""Those of this process: all servers in it share the reactor's threads."""
