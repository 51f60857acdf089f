"""Twisted's TCP connections, with a shorter way for the bytes; for both ends.

Rule: to the protocol it is the transport that Twisted documents (ITCPTransport, IConsumer, its
producer paused and resumed as always); only when the system is called differs.

    write, nothing pending      send at once
    write, socket full          wait; pause the producer above HIGH_WATER, resume it at none
    gather() … release()        hold what is written between, then one sendmsg for all of it

Twisted's own connection sends in the next turn of the reactor, joins what is pending for each
send, and reads 64 KiB at a time. Here what a protocol writes while it handles one read leaves in
one call, and so does what one read from a child or from a terminal gives.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from twisted.internet import main, tcp

from limpet._memory import keepLargeBlocks

SMALL_READ_SIZE = 65536
"""How much is read at a time from a peer that sends little, in bytes."""

LARGE_READ_SIZE = 262144
"""How much is read at a time from a peer that sends much, in bytes (measured)."""

HIGH_WATER = 65536
"""Pending bytes above which the producer is paused; Twisted's own number."""

GATHER_LIMIT = 262144
"""Held bytes that are sent before `release`."""

SEND_PIECES = 64
"""How many pieces one sendmsg takes; POSIX promises 16, Linux and the BSDs take 1024."""


class PromptConnection(tcp.Connection):
    """What a connection does once it is one; the server's and the client's are.

    It stands before Twisted's class among the bases.
    """

    producer: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._pending: deque[bytes | memoryview] = deque()
        self._pendingBytes = 0
        self._gathering = 0
        self._isReading = False
        self._afterRead: list[Callable[[], object]] = []
        self._isFull = False
        self._readSize = SMALL_READ_SIZE
        super().__init__(*args, **kwargs)

    # In.

    def doRead(self) -> Any:
        """Read once, and send what the protocol answers in one go."""
        try:
            data = self.socket.recv(self._readSize)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        size = len(data)
        if size == self._readSize == SMALL_READ_SIZE:
            self._readSize = LARGE_READ_SIZE
            keepLargeBlocks()
        elif size < SMALL_READ_SIZE // 4:
            self._readSize = SMALL_READ_SIZE
        self._gathering += 1
        self._isReading = True
        try:
            self.protocol.dataReceived(data)
        finally:
            self._isReading = False
            for action in self._afterRead:
                action()
            self._afterRead.clear()
            self.release()
        return None

    def whenRead(self, action: Callable[[], object]) -> bool:
        """Call `action` when what is just being read is dealt with; False if nothing is."""
        if self._isReading:
            self._afterRead.append(action)
        return self._isReading

    # Out.

    def gather(self) -> None:
        """Hold what is written until `release`; may be nested."""
        self._gathering += 1

    def release(self) -> None:
        """Send what was held since `gather`."""
        self._gathering -= 1
        if not self._gathering and self._pending and not self._isFull:
            self._sendPending()

    def write(self, data: bytes) -> None:
        """Send as much as the socket takes, and the rest when it takes more."""
        if not data or not self.connected or self._writeDisconnected:
            return
        if self._gathering or self._isFull:
            self._pending.append(data)
            self._pendingBytes += len(data)
            if self._isFull:
                self._pauseAboveHighWater()
            elif self._pendingBytes >= GATHER_LIMIT:
                self._sendPending()
            return
        try:
            sent = self.socket.send(data)
        except OSError:
            # Full, or lost; which of them, `doWrite` finds out in a turn of its own.
            sent = 0
        if sent != len(data):
            self._pending.append(memoryview(data)[sent:] if sent else data)
            self._pendingBytes += len(data) - sent
            self._wait()
        else:
            self._askForMore()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write several pieces."""
        self.gather()
        try:
            for data in iovec:
                self.write(data)
        finally:
            self.release()

    def _sendPending(self) -> None:
        if not self.connected or self._aborting:
            self._pending.clear()
            self._pendingBytes = 0
            return
        with suppress(OSError):
            # Full, or lost; which of them, `doWrite` finds out in a turn of its own.
            self._sendOnce()
        if self._pending:
            self._wait()
        else:
            self._askForMore()

    def _sendOnce(self) -> None:
        pending = self._pending
        sent = (
            self.socket.send(pending[0])
            if len(pending) == 1
            else self.socket.sendmsg(islice(pending, SEND_PIECES))
        )
        self._pendingBytes -= sent
        if not self._pendingBytes:
            pending.clear()
            return
        while sent:
            size = len(pending[0])
            if size > sent:
                pending[0] = memoryview(pending[0])[sent:]
                return
            sent -= size
            pending.popleft()

    def _askForMore(self) -> None:
        """All is sent: a producer that is pulled from is due in the next turn."""
        if self.producer is not None and not self.streamingProducer:
            self.startWriting()  # type: ignore[no-untyped-call]

    def _wait(self) -> None:
        self._isFull = True
        if not self._aborting:
            self.startWriting()  # type: ignore[no-untyped-call]
        self._pauseAboveHighWater()

    def _pauseAboveHighWater(self) -> None:
        if (
            self._pendingBytes > HIGH_WATER
            and self.producer is not None
            and self.streamingProducer
            and not self.producerPaused
        ):
            self.producerPaused = True
            self.producer.pauseProducing()

    def doWrite(self) -> Any:
        """The socket takes more: send, then do what waited for the last byte to be sent."""
        if self._pending:
            try:
                self._sendOnce()
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as failure:
                return None if failure.errno == errno.ENOBUFS else main.CONNECTION_LOST
            if self._pending:
                return None
        self._isFull = False
        self.stopWriting()  # type: ignore[no-untyped-call]
        producer = self.producer
        if producer is not None and (self.producerPaused or not self.streamingProducer):
            self.producerPaused = False
            self._gathering += 1
            try:
                producer.resumeProducing()
            finally:
                self.release()
        elif self.disconnecting:
            return self._postLoseConnection()  # type: ignore[no-untyped-call]
        elif self._writeDisconnecting:
            self._writeDisconnected = True
            return self._closeWriteConnection()
        return None

    def connectionLost(self, reason: Any) -> None:
        """Drop what can no longer be sent, and tell the protocol."""
        self._pending.clear()
        self._pendingBytes = 0
        super().connectionLost(reason)

    def startTLS(self, *args: Any, **kwargs: Any) -> None:
        """Not here: SSH brings its own protection, and TLS would have to go around `write`."""
        raise NotImplementedError("this transport does not do TLS")


class AcceptedConnection(PromptConnection, tcp.Server):
    """A connection that the other end opened; it sends small pieces at once, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # BSD refuses this for a connection that the peer has reset already. It ends as any other,
        # and not here, where a factory would count it for ever.
        with suppress(OSError):
            self.setTcpNoDelay(True)


class DialledConnection(PromptConnection, tcp.Client):
    """A connection that this end opens; it sends small pieces at once, too."""

    def createInternetSocket(self) -> socket.socket:
        """The socket before it is connected."""
        made: socket.socket = super().createInternetSocket()  # type: ignore[no-untyped-call]
        with suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


class Dialling(tcp.Connector):
    """An attempt to connect, which makes a `DialledConnection`."""

    def _makeTransport(self) -> tcp.Client:
        return DialledConnection(self.host, self.port, self.bindAddress, self, self.reactor)


def dial(
    reactor: Any,
    host: str,
    port: int,
    factory: Any,
    timeout: float = 30.0,
    bindAddress: tuple[str, int] | None = None,
) -> Dialling:
    """Connect to the numeric address `host`; the arguments are those of Twisted's `connectTCP`.

    Args:
        reactor: Provides IReactorFDSet and IReactorTime.
        host: An IPv4 or IPv6 address, the latter with a scope where it needs one.
        port: The port.
        factory: An `IProtocolFactory` of a client; hears of failure by `clientConnectionFailed`.
        timeout: Seconds after which the attempt fails.
        bindAddress: (host, port) to connect from.
    """
    connector = Dialling(host, port, factory, timeout, bindAddress, reactor)
    connector.connect()
    return connector


@contextmanager
def gathered(transport: Any) -> Iterator[None]:
    """Hold what is written within, on a transport that can, and send it in one go."""
    if not isinstance(transport, PromptConnection):
        yield
        return
    transport.gather()
    try:
        yield
    finally:
        transport.release()
