"""One channel of an SSH connection: a stream both ways, each way under a window (RFC 4254 section
5).

Rule: what is written goes out in order and none of it is lost. What cannot go out at once waits,
and EOF, exit status and CLOSE wait behind it.

    write ──► fits the window, nothing waits ──────────────► conn.sendData, at once
      │
      └─► _outbound ──► window, transport and replies allow ► conn.sendData, in pieces
                └─► _afterOutput: EOF, exit-status ─► then CLOSE, if `closing`

Output is held back for three reasons: the peer's window is used up; the transport is full or
exchanges keys (`HOLD_TRANSPORT`); a request is not answered yet, and the answer has to come first
(`HOLD_REPLY`). EOF and CLOSE wait for data and for answers; a full transport alone does not delay
them.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITransport
from twisted.logger import Logger
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.core.outbound import OutboundBuffer
from limpet.core.windows import DEFAULT_MAX_PACKET, DEFAULT_WINDOW, MAX_PIECE, creditDue
from limpet.wire.fields import MAX_NAME_LENGTH

HOLD_TRANSPORT = 1
HOLD_REPLY = 2

_REMEMBERED_NAMES = 64
"""Names of requests whose methods' names are kept; peers use a dozen."""


@functools.lru_cache(maxsize=_REMEMBERED_NAMES)
def _methodFor(requestType: bytes) -> str:
    """The name of the method for a request of the peer's.

    The same object each time, by which the interpreter finds a method faster. It is not interned:
    some versions keep for ever what is, and peers can make up any number of names.
    """
    return "request_" + requestType.replace(b"-", b"_").decode("ascii", "backslashreplace")


@implementer(ITransport, IConsumer, IPushProducer)
class SSHChannel:
    """A channel, as the program at one end of it sees it.

    Subclasses override `channelOpen`, `dataReceived`, `closed` and their like, without upcalls: the
    base methods keep no state. Requests of the peer go to `request_<name>` methods.

    As an `IConsumer` the channel pauses the producer of its output while output waits; as an
    `IPushProducer` of what it receives it withholds window from the peer while it is paused.

    Args:
        localWindow: How many bytes the peer may have under way to us; 0 for the default.
        localMaxPacket: The largest piece of data the peer may send; 0 for the default.
        remoteWindow: How many bytes we may send, where the peer has said so already.
        remoteMaxPacket: The largest piece of data we may send, likewise.
        conn: The `SSHConnection`, where it is known already.
        data: What the peer's request to open the channel carried for its type.
        avatar: The logged-in user, where there is one.

    Attributes:
        name: The channel's type, as bytes, b"session".
        id: Our number for the channel; None until it is being opened.
        specificData: What our confirmation carries for the type.
        areWriting: Whether writes go out at once; false after `stopWriting` was called.
        closing: Whether the channel closes as soon as its output is gone.
        localClosed: Whether we sent CLOSE.
        remoteClosed: Whether the peer did.
        inputPaused: Whether window is withheld because the consumer asked for a pause.
        inputEnded: Whether the peer sent EOF.
        localWindowLimit: How far `localWindowSize` may grow on a long path, in bytes; 0 for not at
            all.
        localWindowGrowth: How far it has.
        lastGrant: When the peer was last granted more, by the transport's clock; None before.
    """

    name: bytes | None = None
    localWindowLimit = 0
    localWindowGrowth = 0
    lastGrant: float | None = None
    _log: ClassVar[Logger] = ClassLogger()

    def __init__(
        self,
        localWindow: int = 0,
        localMaxPacket: int = 0,
        remoteWindow: int = 0,
        remoteMaxPacket: int = 0,
        conn: Any = None,
        data: Any = None,
        avatar: Any = None,
    ) -> None:
        self.localWindowSize = localWindow or DEFAULT_WINDOW
        self.localWindowLeft = self.localWindowSize
        self.localMaxPacket = localMaxPacket or DEFAULT_MAX_PACKET
        self.remoteWindowLeft = remoteWindow
        self.remoteMaxPacket = remoteMaxPacket
        self.areWriting: int | bool = 1
        self.conn = conn
        self.data = data
        self.avatar = avatar
        self.specificData = b""
        self.closing: int | bool = 0
        self.localClosed: int | bool = 0
        self.remoteClosed: int | bool = 0
        self.id: int | None = None
        self.inputPaused = False
        self.inputEnded = False

        self._outbound = OutboundBuffer()
        # The same for extended data, per run of one type; never an empty run.
        self._extended: deque[tuple[int, OutboundBuffer]] = deque()
        self._afterOutput: deque[Callable[[], object]] = deque()
        self._held = 0
        # No output is accepted any more: EOF is on its way, or what waits was given up.
        self._outputEnded = False
        self._outputDropped = False
        self._producer: Any = None
        self._producerStreams = False
        self._producerPaused = False
        self._pulling = False

    # ── who it is ─────────────────────────────────────────────────────────────────────────────

    def __str__(self) -> str:
        return self.__bytes__().decode("utf-8", "backslashreplace")

    def __bytes__(self) -> bytes:
        # An application may have called its type a text, which goes to the wire all the same.
        name: Any = b"None" if self.name is None else self.name
        return b"<SSHChannel %b (lw %d rw %d)>" % (
            name.encode() if isinstance(name, str) else name,
            self.localWindowLeft,
            self.remoteWindowLeft,
        )

    def logPrefix(self) -> str:
        """What identifies the channel in a log: its type, its number, the connection's prefix."""
        name = "None" if self.name is None else self.name.decode("utf-8", "backslashreplace")
        number = "unknown" if self.id is None else self.id
        under = self.conn.logPrefix() if self.conn is not None else "no connection"
        return f"SSHChannel {name} ({number}) on {under}"

    def getPeer(self) -> IAddress:
        """The address of the other end of the SSH transport, an `SSHTransportAddress`."""
        address: IAddress = self.conn.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """The address of this end of the SSH transport, an `SSHTransportAddress`."""
        address: IAddress = self.conn.transport.getHost()
        return address

    # ── what the connection tells the channel: for subclasses to override ─────────────────────

    def prepareToOpen(self, specificData: bytes) -> Any:
        """The peer asks for the channel: get ready what it needs, before that is confirmed.

        The channel has its `conn` already and no `id` yet; what is written to it waits.

        Args:
            specificData: What the peer's request carries for the type.

        Returns:
            None for a channel that can open at once. Otherwise a Deferred: the open is confirmed
            when it fires, refused when it fails (a `ConchError` says why and with which reason),
            and the Deferred is cancelled if the connection ends before.

        Raises:
            ConchError: The channel is refused.
        """
        return None

    def channelOpen(self, specificData: bytes) -> None:
        """The channel is open and may be written to.

        Args:
            specificData: What the peer's request or confirmation carries for the type.
        """
        self._log.debug("channel {channel} open", channel=str(self))

    def openFailed(self, reason: Any) -> None:
        """The channel does not come about.

        Args:
            reason: A `ConchError` (words of the peer as bytes, reason `OPEN_*`) or a
                `ConnectionLost`.
        """
        self._log.debug(
            "channel {channel} not opened: {reason}", channel=str(self), reason=repr(reason)
        )

    def requestReceived(self, requestType: bytes, data: bytes) -> Any:
        """The peer asks for something on this channel: `request_<type>(data)` decides.

        Args:
            requestType: The request's name; its "-" are "_" in the method's.
            data: Its body, not decoded.

        Returns:
            What the method returns: true for success, or a Deferred of it. 0 where there is none.
        """
        if len(requestType) > MAX_NAME_LENGTH:
            return 0
        handler = getattr(self, _methodFor(requestType), None)
        if handler is None:
            return 0
        return handler(data)

    def dataReceived(self, data: bytes) -> None:
        """Data came in; never empty."""

    def extReceived(self, dataType: int, data: bytes) -> None:
        """Data of another type came in: 1 is standard error, the only one the RFC names."""

    def eofReceived(self) -> None:
        """The peer sends no more data. Called once; the channel stays open the other way."""
        self._log.debug("channel {channel}: end of input", channel=str(self))

    def closeReceived(self) -> None:
        """The peer closes the channel. Our CLOSE follows in any case when this returns."""
        self.loseConnection()

    def closed(self) -> None:
        """The channel is closed both ways, or the connection is gone. Called once, as the last."""
        self._log.debug("channel {channel} closed", channel=str(self))

    def stopWriting(self) -> None:
        """Output begins to wait: better write nothing until `startWriting`."""

    def startWriting(self) -> None:
        """What waits is about to go out, all of it; write again."""

    # ── output ────────────────────────────────────────────────────────────────────────────────

    @property
    def buf(self) -> bytes:
        """A copy of the data that waits."""
        return bytes(self._outbound)

    @buf.setter
    def buf(self, data: bytes) -> None:
        self._outbound = OutboundBuffer(data)

    @property
    def extBuf(self) -> list[list[Any]]:
        """A copy of the extended data that waits: [type, bytes], oldest first."""
        return [[dataType, bytes(data)] for dataType, data in self._extended]

    @extBuf.setter
    def extBuf(self, entries: Iterable[Iterable[Any]]) -> None:
        self._extended = deque((dataType, OutboundBuffer(data)) for dataType, data in entries)

    @property
    def bufferedBytes(self) -> int:
        """How many bytes of both kinds wait."""
        size = self._outbound.size
        for _, data in self._extended:
            size += data.size
        return size

    @property
    def outputPending(self) -> bool:
        """Whether something has to go out before a CLOSE may."""
        if self._outputDropped:
            return False
        return bool(
            self._outbound.size or self._extended or self._afterOutput or self._held & HOLD_REPLY
        )

    def write(self, data: bytes | str) -> None:
        """Send `data`, or what the window allows of it now and the rest later."""
        if isinstance(data, str):  # as Conch let pass
            data = data.encode("utf-8")
        size = len(data)
        if self._outbound.size or self._held or self._outputEnded:
            self._writeLater(data)
        elif size <= self.remoteWindowLeft and size <= self.remoteMaxPacket and size <= MAX_PIECE:
            if size:
                self.remoteWindowLeft -= size
                self.conn.sendData(self, data)
        else:
            self._writeInPieces(data)

    def _writeLater(self, data: bytes) -> None:
        if self._outputEnded or self.localClosed:
            return
        wasEmpty = not self._outbound.size
        self._outbound.append(data)
        if wasEmpty and data:
            self._outputWaits()

    def _writeInPieces(self, data: bytes) -> None:
        # By way of the buffer, so that what is written from within `sendData` comes after it.
        self._outbound.append(data)
        self._sendOutbound()
        if self._outbound.size:
            self._outputWaits()
        elif self.closing and not self.outputPending:
            self.conn.sendClose(self)

    def _sendOutbound(self) -> None:
        """Send what the window allows of the data that waits."""
        outbound = self._outbound
        take = outbound.takeView if getattr(self.conn, "takesViews", False) else outbound.take
        # The window and the hold may change while a piece is sent: both are looked up every time.
        while outbound.size and self.remoteWindowLeft > 0 and not self._held:
            piece = take(min(self.remoteWindowLeft, self.remoteMaxPacket, MAX_PIECE))
            if not piece:
                return
            self.remoteWindowLeft -= len(piece)
            self.conn.sendData(self, piece)

    def writeExtended(self, dataType: int, data: bytes | str) -> None:
        """Send `data` as extended data of `dataType` (1 is standard error), as `write` does.

        Data and extended data wait apart, so that either may overtake the other.
        """
        if self._outputEnded or self.localClosed or not data:
            return
        if isinstance(data, str):
            data = data.encode("utf-8")
        if self._extended:
            if self._extended[-1][0] == dataType:
                self._extended[-1][1].append(data)
            else:
                self._extended.append((dataType, OutboundBuffer(data)))
            return
        self._extended.append((dataType, OutboundBuffer(data)))
        self._sendExtended()
        if self._extended:
            self._outputWaits()
        elif self.closing and not self.outputPending:
            self.conn.sendClose(self)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send the pieces of `data` as one."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the channel once all that was written is on its way."""
        self.closing = 1
        if self.conn is None:
            return
        if self.remoteMaxPacket <= 0 and self.bufferedBytes and self.id is not None:
            # The peer takes no data at all, so what waits would wait for ever.
            self.dropOutput()
        if not self.outputPending:
            self.conn.sendClose(self)

    def abortConnection(self) -> None:
        """Close the channel at once; what still waits is given up."""
        self.dropOutput()
        self.loseConnection()

    def addWindowBytes(self, count: int) -> None:
        """The peer takes `count` bytes more; send what waits."""
        self.remoteWindowLeft += count
        self._resumeOutput()

    def whenOutputIsSent(self, action: Callable[[], object]) -> None:
        """Call `action` once everything written so far is on its way: now, if nothing waits.

        What was not called when the channel closes is never called.
        """
        if self.outputPending:
            self._afterOutput.append(action)
        elif not self._outputDropped:
            action()

    def endOutput(self) -> bool:
        """No more output is accepted; what waits still goes out. Returns False the second time."""
        first = not self._outputEnded
        self._outputEnded = True
        return first

    def dropOutput(self) -> None:
        """Give up what waits, and all output from now on."""
        self._outputEnded = self._outputDropped = True
        self._outbound.clear()
        self._extended.clear()
        self._afterOutput.clear()

    def holdOutput(self, reason: int) -> None:
        """Let output wait, until `releaseOutput` is called for the same HOLD_* reason."""
        self._held |= reason
        if reason == HOLD_TRANSPORT:
            # Not with its next write: hundreds of channels with one read each are a heap.
            self._pauseProducer()

    def releaseOutput(self, reason: int) -> None:
        """A reason to hold output is gone; send what no other reason holds."""
        if self._held & reason:
            self._held &= ~reason
            self._resumeOutput()

    def _outputWaits(self) -> None:
        """Something has just begun to wait: whoever writes should pause."""
        self.areWriting = 0
        self.stopWriting()
        self._pauseProducer()

    def _pauseProducer(self) -> None:
        if self._producer is not None and self._producerStreams and not self._producerPaused:
            self._producerPaused = True
            self._producer.pauseProducing()

    def _resumeOutput(self) -> None:
        """A window, a transport or an answer came free: send what waits, in order."""
        if self._held & HOLD_TRANSPORT and not self._outbound.size and not self._extended:
            self._outputIsSent()
            return
        if self._held:
            return
        # Not before all of it can go out: one who writes at every chance would only add to the
        # heap.
        if (
            not self.areWriting
            and not self.closing
            and self.remoteMaxPacket > 0
            and self.bufferedBytes <= self.remoteWindowLeft
        ):
            self.areWriting = True
            self.startWriting()
        self._flush()

    def _flush(self) -> None:
        self._sendOutbound()
        self._sendExtended()
        if not self._outbound.size and not self._extended:
            self._outputIsSent()
        elif self.areWriting:
            self._outputWaits()

    def _sendExtended(self) -> None:
        """Send what the window allows of the extended data that waits."""
        while self._extended and self.remoteWindowLeft > 0 and not self._held:
            dataType, data = self._extended[0]
            piece = data.take(min(self.remoteWindowLeft, self.remoteMaxPacket, MAX_PIECE))
            if not piece:
                break
            if not data.size:
                self._extended.popleft()
            self.remoteWindowLeft -= len(piece)
            self.conn.sendExtendedData(self, dataType, piece)

    def _outputIsSent(self) -> None:
        """No data waits any more: what had to come after it may go, and the producer may go on."""
        if self._held & HOLD_REPLY:
            return
        while self._afterOutput and not self._outbound.size and not self._extended:
            self._afterOutput.popleft()()
        if self.outputPending:
            return
        if self.closing:
            self.conn.sendClose(self)
        elif not self._held:
            self._resumeProducer()

    # ── IConsumer: the producer of our output ─────────────────────────────────────────────────

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause `producer` while output waits.

        Args:
            producer: An `IPushProducer` if `streaming`; otherwise an `IPullProducer`, which is
                asked for more, once per turn of the reactor, whenever nothing waits.
            streaming: Which of the two it is.

        Raises:
            RuntimeError: Another producer is registered.
        """
        if self._producer is not None:
            raise RuntimeError(f"{self} has a producer already: {self._producer!r}")
        if self.localClosed:
            producer.stopProducing()
            return
        self._producer = producer
        self._producerStreams = bool(streaming)
        self._producerPaused = False
        if not streaming:
            self._resumeProducer()
        elif self._outbound.size or self._extended or self._held & HOLD_TRANSPORT:
            self._producerPaused = True
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """The producer has produced all it has."""
        self._producer = None

    def _resumeProducer(self) -> None:
        if self._producer is None:
            return
        if not self._producerStreams:
            if not self._pulling:
                self._pulling = True
                clock = getattr(getattr(self.conn, "transport", None), "clock", None)
                if clock is None:
                    self._pull()
                else:
                    clock.callLater(0, self._pull)
        elif self._producerPaused:
            self._producerPaused = False
            self._producer.resumeProducing()

    def _pull(self) -> None:
        self._pulling = False
        if self._producer is None or self._producerStreams:
            return
        if self.bufferedBytes or self._held:
            return  # asked again when that is gone
        self._producer.resumeProducing()
        if self._producer is not None and not self.bufferedBytes and not self._held:
            self._resumeProducer()

    # ── IPushProducer: what we receive ────────────────────────────────────────────────────────

    def pauseProducing(self) -> None:
        """The consumer of what we receive is full: grant the peer no more window.

        What the peer may send already, at most one window, still comes.
        """
        self.inputPaused = True

    def resumeProducing(self) -> None:
        """The consumer takes more: grant the peer what is due."""
        if not self.inputPaused:
            return
        self.inputPaused = False
        due = creditDue(self.localWindowSize, self.localWindowLeft)
        adjust = getattr(self.conn, "adjustWindow", None)
        if due and adjust is not None and not self.inputEnded and not self.remoteClosed:
            adjust(self, due)

    def stopProducing(self) -> None:
        """The consumer is gone. The peer may go on to send, so that it does not hang: to nobody."""
        self.resumeProducing()

    def connectionEnded(self) -> None:
        """The connection has closed the channel; it calls this before `closed`."""
        self.dropOutput()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
