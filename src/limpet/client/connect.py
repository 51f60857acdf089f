"""Connecting by whichever way there is: Conch's `client.connect`.

Rule: the ways are tried in order until one works; there is one, by TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer

from limpet.client import direct

connectTypes: dict[str, Callable[..., defer.Deferred[None]]] = {"direct": direct.connect}


def connect(
    host: str, port: int, options: Any, verifyHostKey: Any, userAuthObject: Any
) -> defer.Deferred[None]:
    """Connect to a host, and log in; the arguments and the Deferred are `direct.connect`'s."""
    ways = list(connectTypes.values())

    def tryNext(failure: Any) -> Any:
        if not ways:
            return failure
        way = ways.pop(0)
        connecting = way(host, port, options, verifyHostKey, userAuthObject)
        return connecting.addErrback(tryNext)

    connected: defer.Deferred[None] = tryNext(None)
    return connected
