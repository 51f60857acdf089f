"""A session channel with an SFTP client at its end (RFC 4254 section 6.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from limpet.client.errors import RequestRefused, shown
from limpet.core.windows import GROWN_WINDOW
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.ssh.filetransfer.client import FileTransferClient
from limpet.wire.fields import NS

SUBSYSTEM = b"sftp"

WINDOW = 8 * 1024 * 1024
"""How much the server may send at a time, in bytes (ours): a long path has to be filled, and what
arrives is written at once."""

DRAFT_SYMLINK_SERVERS = (b"SSH-2.0-AsyncSSH", b"SSH-2.0-Twisted", b"SSH-2.0-libssh")
"""Servers that take SYMLINK from us in the draft's order, the link before its target. They take it
the other way round from clients that call themselves OpenSSH or Paramiko."""


class SFTPChannel(SSHChannel):
    """A session that runs the SFTP subsystem, or a command that speaks SFTP.

    Args:
        client: What speaks it.
        subsystem: The name of the subsystem; a path is run as a command instead, as ssh does.
        told: Called with what the server's side says on standard error.
    """

    name = b"session"

    def __init__(
        self,
        client: FileTransferClient,
        subsystem: bytes = SUBSYSTEM,
        told: Callable[[bytes], object] | None = None,
    ) -> None:
        super().__init__(localWindow=WINDOW)
        self.localWindowLimit = GROWN_WINDOW
        self.client = client
        self.subsystem = subsystem
        self.started: defer.Deferred[FileTransferClient] = defer.Deferred(
            lambda _: self.abortConnection()
        )
        self._told = told

    def channelOpen(self, specificData: bytes) -> None:
        if self.started.called:
            self.loseConnection()
            return
        request = b"exec" if b"/" in self.subsystem else b"subsystem"
        reply = self.conn.sendRequest(self, request, NS(self.subsystem), wantReply=1)
        reply.addCallbacks(self._subsystemRuns, self._refused)

    def _subsystemRuns(self, _: Any) -> None:
        if self.started.called:
            return
        peer = getattr(self.conn.transport, "otherVersionString", b"")
        if peer.startswith(DRAFT_SYMLINK_SERVERS):
            self.client.symlinkTargetFirst = False
        self.client.makeConnection(self)  # type: ignore[no-untyped-call]
        self.started.callback(self.client)

    def _refused(self, failure: Failure) -> None:
        name = shown(self.subsystem)
        text = f"the server offers no file transfer: it refused the subsystem '{name}'"
        self._fail(RequestRefused(f"{text}. Another may be named with -s"))
        self.loseConnection()

    def openFailed(self, reason: Any) -> None:
        words = reason.value if isinstance(reason, ConchError) else str(reason)
        self._fail(RequestRefused(f"the server opens no session: {shown(words)}"))

    def _fail(self, error: Exception) -> None:
        if not self.started.called:
            self.started.errback(error)

    def dataReceived(self, data: bytes) -> None:
        self.client.dataReceived(data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        if self._told is not None:
            self._told(data)

    def eofReceived(self) -> None:
        self.loseConnection()

    def closed(self) -> None:
        self._fail(RequestRefused("the server closed the session before file transfer began"))
        if self.client.connected:
            self.client.connectionLost(Failure(ConnectionDone()))


def openSFTP(
    connection: Any,
    subsystem: bytes = SUBSYSTEM,
    told: Callable[[bytes], object] | None = None,
) -> defer.Deferred[FileTransferClient]:
    """Start the SFTP subsystem on a connection that is logged in.

    Args:
        connection: The `SSHConnection`.
        subsystem: The subsystem's name, or the path of a program at the server that speaks SFTP.
        told: Called with what the server's side says on standard error, as bytes.

    Returns:
        A Deferred of the `FileTransferClient`. It fails with `RequestRefused`. It may be cancelled,
        which closes the session.
    """
    channel = SFTPChannel(FileTransferClient(), subsystem, told)
    connection.openChannel(channel)
    return channel.started
