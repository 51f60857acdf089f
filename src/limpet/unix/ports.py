"""Listening on a Unix socket that was made and bound by somebody else, and leaving its path alone.

Rule: who made the socket says who may connect to it, and removes it. Twisted's own port sets the
mode of an adopted socket's path to 0666 and unlinks that path at the end, both by name: where the
path lies in a directory of a user's, and the server is root's, that user chooses what is meant.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import unix


class AdoptedUnixPort(unix.Port):
    """A listening Unix socket whose path is not touched."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A name outside the file system, as Twisted takes it, has neither a mode nor an end.
        self._bindPath = b"\0" + os.fsencode(self._bindPath or b"")


def adoptPort(reactor: Any, made: socket.socket, factory: Any) -> AdoptedUnixPort:
    """Accept connections on a Unix socket that is bound already.

    Args:
        reactor: Provides IReactorFDSet.
        made: The socket, not blocking; it may be closed afterwards, the port has a duplicate.
        factory: Makes the protocols.
    """
    port: AdoptedUnixPort = AdoptedUnixPort._fromListeningDescriptor(  # type: ignore[no-untyped-call]
        reactor, made.fileno(), factory
    )
    port.startListening()  # type: ignore[no-untyped-call]
    return port
