"""The reactor on a loop that somebody else runs.

Rule: no reactor is installed for the process. Names are looked up by the loop, and threads are its
executor's, begun only where something has to wait.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any
from weakref import ReferenceType

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IHostnameResolver
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet import _reactor


@implementer(IHostnameResolver)
class _LoopResolver:
    """Looks names up by the loop's own `getaddrinfo`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Look a name up; `resolutionReceiver` is told the addresses."""
        wanted = (IPv4Address, IPv6Address) if addressTypes is None else tuple(addressTypes)
        task = self._loop.create_task(self._look(resolutionReceiver, hostName, portNumber, wanted))
        # The loop itself keeps no strong reference to its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return resolutionReceiver

    async def _look(self, receiver: Any, name: str, port: int, wanted: tuple[type, ...]) -> None:
        receiver.resolutionBegan(None)
        kinds = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}
        try:
            found = await self._loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        for family, _, _, _, where in found:
            kind = kinds.get(socket.AddressFamily(family))
            if kind is not None and kind in wanted:
                receiver.addressResolved(kind("TCP", *where))
        receiver.resolutionComplete()


class _LoopThreads:
    """The loop's own executor, as a thread pool of Twisted's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def callInThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a function in a thread."""
        self.callInThreadWithCallback(None, function, *args, **kwargs)

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        function: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Call a function in a thread, and there tell whether it succeeded, and its result."""

        def work() -> None:
            try:
                result, succeeded = function(*args, **kwargs), True
            except Exception:  # noqa: BLE001 whatever it is belongs to who is told
                result, succeeded = Failure(), False
            if onResult is not None:
                onResult(succeeded, result)

        self._loop.run_in_executor(None, work)


class _LoopReactor(AsyncioSelectorReactor):
    """A reactor on a loop that somebody else runs.

    It needs no pipe to wake itself up, which nobody would close: the loop has its own. So it has
    threads: a pool of the reactor's would begin when the reactor is run, which it never is.
    """

    def installWaker(self) -> None:
        """See above."""

    def getThreadPool(self) -> Any:
        """See above."""
        return _LoopThreads(self._asyncioEventloop)


def reactor_for(loop: asyncio.AbstractEventLoop) -> Any:
    """The reactor on a loop: the process's, where that runs on it, else one of the loop's own."""
    installed = sys.modules.get("twisted.internet.reactor")
    if getattr(installed, "_asyncioEventloop", None) is loop:
        return installed
    known = _reactor.onLoops.get(loop)
    reactor = None if known is None else known()
    if reactor is None:
        reactor = _LoopReactor(loop)
        reactor.installNameResolver(_LoopResolver(loop))
        _reactor.onLoops[loop] = ReferenceType(reactor)
    return reactor
