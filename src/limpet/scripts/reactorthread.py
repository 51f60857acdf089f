"""A reactor in a thread of its own, for commands whose main thread reads what a person types.

Rule: the main thread never touches what belongs to the reactor; it hands over a coroutine and waits
for its result. Ctrl-C, which reaches the main thread alone, cancels that coroutine and is raised
once it has tidied up.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet import defer, process
from twisted.python.failure import Failure

GRACE_SECONDS = 5.0
"""How long what was interrupted may take to tidy up (ours)."""

PATIENCE_SECONDS = 1.0
"""How long a person who types on can be taken to wait all the same (ours)."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals whose handlers raise something."""

_T = TypeVar("_T")


class GivenUp(Exception):
    """The person typed on instead of waiting."""


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
        # A signal that comes just before the main thread begins to wait for a lock would find it
        # asleep, and stay unheard until the next one. What it waits for is this.
        self._news, self._tell = os.pipe()
        os.set_blocking(self._news, False)
        os.set_blocking(self._tell, False)
        signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        self._thread.start()
        self._started.wait()

    def _main(self) -> None:
        # What concerns the person's line interrupts the thread that reads it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGWINCH})
        self.reactor.callWhenRunning(self._started.set)
        self.reactor.run(installSignalHandlers=False)

    def _childEnded(self, *_: Any) -> None:
        self.reactor.callFromThread(process.reapAllProcesses)

    def _waitFor(
        self,
        results: list[Any],
        seconds: float | None = None,
        keyboard: int | None = None,
        isEnding: bool = False,
    ) -> None:
        """Until there is one, or the time is up. Each signal is heard in between.

        Raises:
            BaseException: What the handler of a signal that ends things raises, unless `isEnding`.
            GivenUp: Something was typed at `keyboard`; it is still to be read.
        """
        watched = [self._news] if keyboard is None else [self._news, keyboard]
        deadline = None if seconds is None else time.monotonic() + seconds
        while not results:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            ready = select.select(watched, [], [], left)[0]
            if self._news in ready:
                for number in os.read(self._news, 4096):
                    # Its handler has raised already, and not got here, where that was in a __del__.
                    handler = signal.getsignal(number) if number in _ENDING else None
                    if callable(handler) and not isEnding:
                        handler(number, None)
            elif ready:
                raise GivenUp

    def call(
        self,
        begin: Callable[..., Coroutine[Any, Any, _T]],
        *arguments: Any,
        keyboard: int | None = None,
    ) -> _T:
        """Run the coroutine that `begin` makes, and wait for what it returns or raises.

        Args:
            begin: Makes it, in the reactor's thread.
            arguments: What `begin` is called with.
            keyboard: A terminal's descriptor, where nobody need wait longer than
                `PATIENCE_SECONDS` who types on.

        Raises:
            KeyboardInterrupt: The person pressed Ctrl-C. The coroutine was cancelled.
            GivenUp: The person typed on; likewise. What was typed is still to be read.
        """
        results: list[Any] = []
        tasks: list[defer.Deferred[Any]] = []

        def ended(result: Any) -> None:
            results.append(result)
            # A pipe that is full is told enough.
            with suppress(BlockingIOError):
                os.write(self._tell, b"\0")

        def start() -> None:
            task = defer.Deferred.fromCoroutine(begin(*arguments))
            tasks.append(task)
            task.addBoth(ended)

        def cancel() -> None:
            if not tasks:
                ended(None)  # It was not begun, and will not be.
            for task in tasks:
                task.cancel()

        with suppress(BlockingIOError):
            os.read(self._news, 65536)  # Of earlier calls.
        try:
            self.reactor.callFromThread(start)
            if keyboard is not None:
                self._waitFor(results, PATIENCE_SECONDS)
            self._waitFor(results, keyboard=keyboard)
        except (KeyboardInterrupt, GivenUp):
            self.reactor.callFromThread(cancel)
            self._waitFor(results, GRACE_SECONDS, isEnding=True)
            raise
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[no-any-return]
