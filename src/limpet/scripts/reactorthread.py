"""A reactor in a thread of its own, for commands whose main thread reads what a person types.

Rule: the main thread never touches what belongs to the reactor; it hands over a coroutine and waits
for its result. Ctrl-C, which reaches the main thread alone, cancels that coroutine and is raised
once it has tidied up.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import defer, process
from twisted.python.failure import Failure

GRACE_SECONDS = 5.0
"""How long what was interrupted may take to tidy up (ours)."""

_T = TypeVar("_T")


class ReactorThread:
    """Runs a reactor beside the main thread.

    Args:
        reactor: The reactor; it is not running.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._main, name="reactor", daemon=True)

    def start(self) -> None:
        """Start it; returns when it runs. Call it from the main thread."""
        # Without this nobody learns that a ProxyCommand has ended.
        signal.signal(signal.SIGCHLD, self._childEnded)
        self._thread.start()
        self._started.wait()

    def _main(self) -> None:
        # What concerns the person's line interrupts the thread that reads it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGWINCH})
        self.reactor.callWhenRunning(self._started.set)
        self.reactor.run(installSignalHandlers=False)

    def _childEnded(self, *_: Any) -> None:
        self.reactor.callFromThread(process.reapAllProcesses)

    def call(self, begin: Callable[..., Coroutine[Any, Any, _T]], *arguments: Any) -> _T:
        """Run the coroutine that `begin` makes, and wait for what it returns or raises.

        Raises:
            KeyboardInterrupt: The person pressed Ctrl-C. The coroutine was cancelled.
        """
        done = threading.Event()
        results: list[Any] = []
        tasks: list[defer.Deferred[Any]] = []

        def ended(result: Any) -> None:
            results.append(result)
            done.set()

        def start() -> None:
            task = defer.Deferred.fromCoroutine(begin(*arguments))
            tasks.append(task)
            task.addBoth(ended)

        self.reactor.callFromThread(start)
        try:
            done.wait()
        except KeyboardInterrupt:
            self.reactor.callFromThread(lambda: tasks[0].cancel())
            done.wait(GRACE_SECONDS)
            raise
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[no-any-return]
