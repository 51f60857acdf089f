"""SFTP on the connection of a master (ControlPath): a session at a socket that is ours.

Rule: the master is asked before anything is read or written, by calls that wait; from then on all
is the reactor's. What the server's side says on standard error comes here, and not to the terminal.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from twisted.internet.protocol import Factory

from limpet.client.sharing import Master
from limpet.client.stdio import StandardInput
from limpet.core.multiplexing import SessionWish
from limpet.ssh.filetransfer.client import FileTransferClient


class SharedSFTP:
    """A session of a master's that speaks SFTP.

    Args:
        master: Whose; it is left alone by `close`, which ends the session.
        subsystem: The name of the subsystem; a path is run as a command instead, as ssh does.
        environment: Variables, `NAME=value`.

    Raises:
        SharingFailed: The master opens none.
    """

    def __init__(self, master: Master, subsystem: bytes, environment: Iterable[bytes] = ()) -> None:
        self._master = master
        self._socket, theirs = socket.socketpair()
        self._errors, theirErrors = os.pipe()
        wish = SessionWish(
            subsystem, isSubsystem=b"/" not in subsystem, environment=tuple(environment)
        )
        try:
            master.openSession(wish, (theirs.fileno(), theirs.fileno(), theirErrors))
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(theirErrors)

    def connect(self, reactor: Any, told: Callable[[bytes], object]) -> FileTransferClient:
        """Speak SFTP with it, in the reactor's thread.

        Args:
            reactor: Provides IReactorSocket and IReactorFDSet.
            told: Called with what the server's side says on standard error.

        Returns:
            A client that is connected to it.
        """
        client = FileTransferClient()
        factory = Factory.forProtocol(lambda: client)
        factory.noisy = False
        self._socket.setblocking(False)
        reactor.adoptStreamConnection(self._socket.fileno(), socket.AF_UNIX, factory)
        self._socket.close()
        StandardInput(reactor, told, lambda: None, self._errors).resumeProducing()
        self._closeErrors()
        return client

    def close(self) -> None:
        """End the session."""
        self._master.close()
        self._socket.close()
        self._closeErrors()

    def _closeErrors(self) -> None:
        errors, self._errors = self._errors, -1
        if errors >= 0:
            with suppress(OSError):
                os.close(errors)
