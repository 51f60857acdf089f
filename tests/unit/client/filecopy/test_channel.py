"""The channel that SFTP runs on: started, refused, ended."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import defer
from twisted.python.failure import Failure

from limpet.client.errors import RequestRefused
from limpet.client.filecopy import SFTPChannel, openSFTP
from limpet.client.filecopy.pipes import PipeTransport
from limpet.client.filecopy.remotetree import Session
from limpet.error import ConchError
from limpet.ssh.filetransfer.client import FileTransferClient
from limpet.wire import sftp
from limpet.wire.fields import NS


class Connection:
    """What a channel needs of its connection."""

    def __init__(self, version: bytes = b"SSH-2.0-OpenSSH_9.9") -> None:
        self.transport = SimpleNamespace(otherVersionString=version)
        self.requests: list[tuple[bytes, bytes]] = []
        self.reply: defer.Deferred[Any] = defer.Deferred()
        self.sent = b""
        self.closes = 0
        self.channel: Any = None

    def openChannel(self, channel: SFTPChannel, data: bytes = b"") -> None:
        self.channel = channel
        channel.conn = self
        channel.id = 0
        channel.remoteWindowLeft = channel.remoteMaxPacket = 1 << 20

    def sendRequest(self, channel: Any, name: bytes, data: bytes, wantReply: int = 0) -> Any:
        self.requests.append((name, data))
        return self.reply

    def sendData(self, channel: Any, data: bytes) -> None:
        self.sent += data

    def sendClose(self, channel: Any) -> None:
        self.closes += 1

    def logPrefix(self) -> str:
        return "test"


def outcome(deferred: defer.Deferred[Any]) -> Any:
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results[0] if results else None


def test_the_session_begins_when_the_subsystem_runs() -> None:
    connection = Connection()
    opening = openSFTP(connection)
    connection.channel.channelOpen(b"")
    assert connection.requests == [(b"subsystem", NS(b"sftp"))]
    assert connection.sent == b""
    connection.reply.callback(b"")
    client = outcome(opening)
    assert isinstance(client, FileTransferClient)
    assert connection.sent == sftp.packFrame(1, sftp.packHello(3))
    ready = client.whenReady()
    connection.channel.dataReceived(sftp.packFrame(2, sftp.packHello(3)))
    assert outcome(ready) is client


def test_a_path_is_run_as_a_command() -> None:
    connection = Connection()
    openSFTP(connection, b"/usr/lib/sftp-server")
    connection.channel.channelOpen(b"")
    assert connection.requests == [(b"exec", NS(b"/usr/lib/sftp-server"))]


@pytest.mark.parametrize(
    ("version", "targetFirst"),
    [
        (b"SSH-2.0-OpenSSH_9.9", True),
        (b"SSH-2.0-Limpet_1", True),
        (b"SSH-2.0-paramiko_5", True),
        (b"SSH-2.0-AsyncSSH_2.24", False),
        (b"SSH-2.0-Twisted_26", False),
    ],
)
def test_the_order_of_symlinks_follows_the_server(version: bytes, targetFirst: bool) -> None:
    connection = Connection(version)
    opening = openSFTP(connection)
    connection.channel.channelOpen(b"")
    connection.reply.callback(b"")
    assert outcome(opening).symlinkTargetFirst is targetFirst


def test_refusals_are_told() -> None:
    connection = Connection()
    opening = openSFTP(connection)
    connection.channel.channelOpen(b"")
    connection.reply.errback(ConchError("no"))
    error = outcome(opening)
    assert isinstance(error, RequestRefused)
    assert "it refused the subsystem 'sftp'" in str(error)
    assert connection.closes == 1

    connection = Connection()
    opening = openSFTP(connection)
    connection.channel.openFailed(ConchError(b"too many\x1b", 4))
    assert str(outcome(opening)) == "the server opens no session: too many\\x1b"

    connection = Connection()
    opening = openSFTP(connection)
    connection.channel.closed()
    assert isinstance(outcome(opening), RequestRefused)


@pytest.mark.parametrize("when", ["opening", "asking", "greeting", "limits"])
def test_who_gives_up_leaves_no_session_behind(when: str) -> None:
    """A server has few of them for a connection (MaxSessions)."""
    connection = Connection()

    async def begin() -> Any:
        return await Session(await openSFTP(connection)).start()

    opening = defer.Deferred.fromCoroutine(begin())
    channel = connection.channel

    def steps() -> Iterator[str]:
        yield "opening"
        channel.channelOpen(b"")
        yield "asking"
        connection.reply.callback(b"")
        yield "greeting"
        channel.dataReceived(sftp.packFrame(2, sftp.packHello(3, [(b"limits@openssh.com", b"1")])))
        yield "limits"

    for step in steps():
        if step == when:
            opening.cancel()
            # In the middle of opening, the close waits for the server's word.
            assert step == "opening" or connection.closes == 1
    assert isinstance(outcome(opening), defer.CancelledError)
    assert connection.closes >= 1
    assert len(connection.requests) <= (0 if when == "opening" else 1)


def test_the_end_of_the_channel_ends_the_session() -> None:
    connection = Connection()
    told: list[bytes] = []
    opening = openSFTP(connection, told=told.append)
    connection.channel.channelOpen(b"")
    connection.reply.callback(b"")
    client = outcome(opening)
    connection.channel.extReceived(1, b"words")
    assert told == [b"words"]
    request = client.getAttrs("f")
    connection.channel.eofReceived()
    assert connection.closes == 1
    connection.channel.closed()
    assert client.ended
    assert outcome(request) is not None


def test_a_program_over_pipes() -> None:
    told: list[bytes] = []
    client = FileTransferClient()
    pipe = PipeTransport(client, told.append)
    written: list[bytes] = []
    transport = SimpleNamespace(write=written.append, loseConnection=lambda: None)
    pipe.makeConnection(transport)  # type: ignore[no-untyped-call]
    assert written == [sftp.packFrame(1, sftp.packHello(3))]
    pipe.outReceived(sftp.packFrame(2, sftp.packHello(3)))
    assert client.serverVersion == 3
    pipe.errReceived(b"words")
    assert told == [b"words"]
    pipe.writeSequence([b"a", b"b"])
    assert written[-1] == b"ab"
    pipe.loseConnection()
    pipe.outConnectionLost()
    pipe.processEnded(Failure(Exception()))
    assert client.ended
