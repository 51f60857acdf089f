"""Doing several things at a time, and not more.

Rule: who submits waits until there is room, so that nothing is queued; when one of them fails, the
others are cancelled and nothing new begins.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet import defer
from twisted.python.failure import Failure


class Pool:
    """Runs coroutines, up to `limit` at a time.

    Attributes:
        failure: The first failure of one of them.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: set[defer.Deferred[Any]] = set()
        self._waiting: list[defer.Deferred[None]] = []
        self.failure: Failure | None = None

    async def submit(self, begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin one more, once there is room."""
        while len(self._running) >= self._limit:
            await self._wait()
        if self.failure is not None:
            return
        task = defer.Deferred.fromCoroutine(begin())
        self._running.add(task)
        task.addBoth(self._ended, task)

    def _wait(self) -> defer.Deferred[None]:
        waiting: defer.Deferred[None] = defer.Deferred()
        self._waiting.append(waiting)
        return waiting

    def _ended(self, result: Any, task: defer.Deferred[Any]) -> None:
        self._running.discard(task)
        if isinstance(result, Failure) and self.failure is None:
            self.failure = result
            self.cancel()
        waiting, self._waiting = self._waiting, []
        for waits in waiting:
            if not waits.called:
                waits.callback(None)

    def cancel(self) -> None:
        """Cancel all that run."""
        for task in list(self._running):
            task.cancel()

    async def drain(self) -> None:
        """Wait until none runs; raises what the first failed with, or cancels all if cancelled."""
        while self._running:
            try:
                await self._wait()
            except defer.CancelledError:
                if self.failure is None:
                    self.failure = Failure(defer.CancelledError())
                self.cancel()
        if self.failure is not None:
            self.failure.raiseException()
