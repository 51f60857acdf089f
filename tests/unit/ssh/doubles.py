"""Connections without a network: one that records what it sends, and two that talk."""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from limpet.ssh.channel import SSHChannel
from limpet.ssh.connection import SSHConnection, messages
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.numbers import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
)

REMOTE = 255
"""The number that the imagined peer gives its end of a channel."""


class LoggingTestCase(SynchronousTestCase):
    """A test that looks at logged errors; those it does not look at make it fail."""

    def logged(self, *types: type[Exception]) -> int:
        """How many errors of these types (of any, without) were logged since the last call."""
        return len(self.flushLoggedErrors(*types))  # type: ignore[no-untyped-call]


class RecordingTransport:
    """Keeps what is sent.

    Attributes:
        packets: (number, payload), oldest first.
        clock: The connection's time.
    """

    isClient = False

    def __init__(self) -> None:
        self.packets: list[tuple[int, bytes]] = []
        self.clock = Clock()

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        assert type(payload) is bytes
        self.packets.append((messageType, payload))

    def sent(self) -> list[str]:
        """What was sent since the last call, in words: "DATA abc", "REQUEST exit-status"."""
        said = [inWords(number, payload) for number, payload in self.packets]
        self.packets.clear()
        return said


def inWords(number: int, payload: bytes) -> str:
    """One message of the connection protocol, short enough to compare."""
    name = messages[number].removeprefix("MSG_").removeprefix("CHANNEL_")
    if number == MSG_CHANNEL_DATA:
        return f"{name} {payload[8:].decode('latin-1')}"
    if number == MSG_CHANNEL_EXTENDED_DATA:
        return f"{name} {payload[12:].decode('latin-1')}"
    if number == MSG_CHANNEL_REQUEST:
        reader = Reader(payload)
        reader.u32()
        return f"{name} {reader.string().decode('latin-1')}"
    return name


class RecordingChannel(SSHChannel):
    """Keeps what it is told, in words, in `events`."""

    name = b"recording"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.events: list[str] = []
        self.answers: dict[bytes, Any] = {}

    def channelOpen(self, specificData: bytes) -> None:
        self.events.append("open")

    def openFailed(self, reason: Any) -> None:
        self.events.append(f"openFailed {type(reason).__name__}")

    def requestReceived(self, requestType: bytes, data: bytes) -> Any:
        self.events.append(f"request {requestType.decode()}")
        answer = self.answers.get(requestType, 0)
        return answer() if callable(answer) else answer

    def dataReceived(self, data: bytes) -> None:
        assert type(data) is bytes
        self.events.append(f"data {data.decode('latin-1')}")

    def extReceived(self, dataType: int, data: bytes) -> None:
        assert type(data) is bytes
        self.events.append(f"ext {dataType} {data.decode('latin-1')}")

    def eofReceived(self) -> None:
        self.events.append("eof")

    def closeReceived(self) -> None:
        self.events.append("close")

    def closed(self) -> None:
        self.events.append("closed")

    def stopWriting(self) -> None:
        self.events.append("stop")

    def startWriting(self) -> None:
        self.events.append("start")


class RecordingConnection(SSHConnection):
    """A connection whose peer may open channels of the type "recording", and "session" too.

    Attributes:
        made: The channels that the peer opened.
        toOpen: What to make instead, once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Any] = []
        self.toOpen: list[Any] = []
        self.transport = RecordingTransport()

    def channel_recording(self, window: int, maxPacket: int, data: bytes) -> Any:
        channel = self.toOpen.pop(0) if self.toOpen else RecordingChannel()
        channel.remoteWindowLeft = window
        channel.remoteMaxPacket = maxPacket
        self.made.append(channel)
        return channel

    channel_session = channel_recording


def started() -> RecordingConnection:
    """A connection that is up."""
    connection = RecordingConnection()
    connection.serviceStarted()
    return connection


def openMessage(
    channelType: bytes = b"recording",
    sender: int = REMOTE,
    window: int = 2**20,
    maxPacket: int = 32768,
    extra: bytes = b"",
) -> bytes:
    """The payload of MSG_CHANNEL_OPEN."""
    return NS(channelType) + struct.pack(">3L", sender, window, maxPacket) + extra


def confirmation(number: int, window: int = 2**20, maxPacket: int = 32768) -> bytes:
    """The payload of MSG_CHANNEL_OPEN_CONFIRMATION."""
    return struct.pack(">4L", number, REMOTE, window, maxPacket)


def dataMessage(number: int, data: bytes) -> bytes:
    """The payload of MSG_CHANNEL_DATA."""
    return u32(number) + NS(data)


def extendedMessage(number: int, dataType: int, data: bytes) -> bytes:
    """The payload of MSG_CHANNEL_EXTENDED_DATA."""
    return u32(number) + u32(dataType) + NS(data)


def requestMessage(
    number: int, requestType: bytes, data: bytes = b"", wantReply: bool = True
) -> bytes:
    """The payload of MSG_CHANNEL_REQUEST."""
    return u32(number) + NS(requestType) + (b"\1" if wantReply else b"\0") + data


def opened(connection: RecordingConnection, channel: Any = None, **details: Any) -> Any:
    """A channel that the peer has opened, by default a `RecordingChannel`; nothing sent since."""
    if channel is not None:
        connection.toOpen.append(channel)
    connection.ssh_CHANNEL_OPEN(openMessage(**details))
    connection.transport.packets.clear()
    return connection.made[-1]


def resultOf(deferred: Deferred[Any] | None) -> Any:
    """What a Deferred has fired with; a Failure if it failed; "nothing yet" if it has not."""
    assert deferred is not None
    results: list[Any] = []
    deferred.addBoth(results.append)
    return results[0] if results else "nothing yet"


class PairTransport:
    """One end of a pair: what is sent waits in `queue` until `Pair.deliver`."""

    def __init__(self, isClient: bool, clock: Clock) -> None:
        self.isClient = isClient
        self.clock = clock
        self.queue: deque[tuple[int, bytes]] = deque()

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        self.queue.append((messageType, payload))


class Pair:
    """Two connections; the messages of each reach the other in order, when they are let.

    Args:
        client: The one end.
        server: The other end.
    """

    def __init__(self, client: SSHConnection, server: SSHConnection) -> None:
        self.clock = Clock()
        self.client = client
        self.server = server
        client.transport = PairTransport(True, self.clock)
        server.transport = PairTransport(False, self.clock)
        client.serviceStarted()
        server.serviceStarted()
        self.log: list[tuple[str, int, bytes]] = []

    def deliverOne(self, sender: SSHConnection) -> bool:
        """Let one message of `sender` arrive. Returns whether there was one."""
        if not sender.transport.queue:
            return False
        number, payload = sender.transport.queue.popleft()
        receiver, who = (
            (self.server, "client") if sender is self.client else (self.client, "server")
        )
        self.log.append((who, number, payload))
        receiver.packetReceived(number, payload)
        return True

    def deliver(self) -> None:
        """Let everything arrive, and the answers to it, until nobody has anything to say."""
        while self.deliverOne(self.client) | self.deliverOne(self.server):
            pass

    def said(self, who: str) -> list[str]:
        """All that one end has said and the other has heard, in words."""
        return [inWords(number, payload) for each, number, payload in self.log if each == who]
