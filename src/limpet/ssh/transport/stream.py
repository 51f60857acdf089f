"""From the byte stream to messages and back: all of the transport but the key exchange (RFC 4253).

Rule: no message reaches a handler that the phase table (`limpet.core.phases`) does not allow at
that moment, because nothing but `_nextMessage` takes messages from the packets; and no exception
of a handler leaves `dataReceived`, the one place where a violation becomes MSG_DISCONNECT.

    in    dataReceived → identification │ PacketReceiver → _nextMessage (phase) → dispatchMessage
                                              → ssh_NAME of the transport │ service.packetReceived
    out   service → sendPacket → held back during a key exchange │ PacketSender → transport.write

`base` adds the key exchange, `server` and `client` what differs between the roles.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from twisted.internet import protocol
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet._version import __version__
from limpet.core.errors import (
    ConnectionTimedOut,
    LimitExceeded,
    MalformedMessage,
    ProtocolViolation,
    UnexpectedMessage,
)
from limpet.core.identification import IdentificationReader
from limpet.core.packets import MAX_PACKET, SEQUENCE_MASK, PacketReceiver, PacketSender
from limpet.core.phases import PHASES, SERVICE_PHASES, Phase, Verdict
from limpet.crypto.compression import Deflater, Inflater
from limpet.ssh.address import SSHTransportAddress
from limpet.ssh.service import SSHService
from limpet.ssh.transport.ciphers import SSHCiphers
from limpet.ssh.transport.numbers import (
    DISCONNECT_BY_APPLICATION,
    DISCONNECT_CONNECTION_LOST,
    DISCONNECT_PROTOCOL_ERROR,
    DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED,
    MSG_DEBUG,
    MSG_DISCONNECT,
    MSG_EXT_INFO,
    MSG_IGNORE,
    MSG_PING,
    MSG_PONG,
    MSG_UNIMPLEMENTED,
    messages,
)
from limpet.ssh.transport.paths import tcpRoundTripSeconds
from limpet.ssh.transport.timers import Timers
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader
from limpet.wire.messages import Debug, Disconnect, ExtInfo, Unimplemented

MAX_UNIMPLEMENTED = 1000
"""Messages that we do not know, answered before the connection ends (ours, attacks.md B12)."""

MAX_UNREAD_OUTPUT = 1 << 20
"""Bytes written for a peer that does not read, before we stop reading from it (ours, B11)."""

MESSAGES_PER_TURN = 512
"""Messages of one peer that are handled before others have their turn (ours, attacks.md V4, G5):
5 ms of work at most, where one read may hold 7,000 of the smallest."""

MAX_DESCRIPTION = 256
"""Most bytes of a text of the peer's that go into a log line or into MSG_DISCONNECT (ours)."""

_ACCEPT = Verdict.ACCEPT


@implementer(IPushProducer)
class MessageTransport(protocol.Protocol):
    """A connection that carries SSH's messages; `SSHTransportBase` adds the exchange of keys.

    Attributes:
        isClient: Whether this is the client's end.
        ourVersionString: Our identification string, without line end.
        otherVersionString: The peer's, once `gotVersion` is true.
        gotVersion: Whether the peer's identification string has arrived.
        sessionID: The exchange hash of the first key exchange; None before its end.
        service: The service that runs on top, or None.
        peerExtensions: What the peer said in MSG_EXT_INFO: name to value.
        currentEncryptions: The ciphers and MACs in use, an `SSHCiphers`.
        hostKeyBlob: The server's public host key of this connection, once agreed; both roles.
        violation: What the peer did that made us end the connection; None while it did nothing.
        avatar: On a server, who is logged in; set by user authentication and absent before.
        keepaliveSeconds: After so many seconds without a byte from the peer it is asked for a sign
            of life; 0 never asks.
        keepaliveMisses: Unanswered questions after which the connection is given up.
    """

    protocolVersion: bytes = b"2.0"
    version: bytes = b"Limpet_" + __version__.encode("ascii")
    comment: bytes = b""
    ourVersionString: bytes = b"SSH-" + protocolVersion + b"-" + version
    otherVersionString: bytes = b""

    supportedVersions: tuple[bytes, ...] = (b"1.99", b"2.0")
    isClient: bool = False
    gotVersion: bool = False
    sessionID: bytes | None = None
    service: SSHService | None = None
    peerExtensions: Mapping[bytes, bytes] = {}
    hostKeyBlob: bytes = b""
    violation: ProtocolViolation | None = None
    factory: Any
    transport: Any = None
    logoutFunction: Callable[[], Any] | None = None

    keepaliveSeconds: float = 0.0
    keepaliveMisses: int = 3
    stallSeconds: float = 60.0
    """How long a peer may leave `MAX_UNREAD_OUTPUT` unread."""
    abortSeconds: float = 2.0
    """How long the last words to a peer that broke the protocol may take to leave."""
    lingerSeconds: float = 60.0
    """How long what was written before `loseConnection` may take to leave."""

    # What `loseConnection` allows; of any other end `abortSeconds` speaks.
    _lastWordsSeconds: float = 0.0

    # The number of the peer's messages when `_keepalive` last looked, and whether it asked then.
    _heardBefore: int = 0
    _keepalivesAsked: int = 0

    outgoingCompressionType: bytes = b"none"
    incomingCompressionType: bytes = b"none"

    messages: ClassVar[Mapping[int, str]] = messages
    _log = ClassLogger()

    # Set here and not in __init__ or connectionMade, because applications replace both without
    # calling them.
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the connection's own state."""
        self = super().__new__(cls)
        self.currentEncryptions = SSHCiphers(b"none", b"none", b"none", b"none")
        self.timers = Timers()
        self._receiver = PacketReceiver()
        self._sender = PacketSender()
        self._identification = None
        self._over = False
        self._waiting = False
        self._dispatching = False
        self._dispatchedSequence = None
        self._unimplementedSent = 0
        self._unimplementedReceived = 0
        self._extInfosReceived = 0
        self._outputPaused = False
        self._serviceHeld = False
        self._stalled = False
        self._leaving = False
        self._unreadOutput = 0
        self._missedKeepalives = 0
        self._servicePhase = Phase.SERVICE
        self._enterPhase(Phase.KEXINIT)
        return self

    currentEncryptions: SSHCiphers
    timers: Timers
    phase: Phase
    _receiver: PacketReceiver
    _sender: PacketSender
    _identification: IdentificationReader | None
    _over: bool
    _waiting: bool
    _dispatching: bool
    _dispatchedSequence: int | None
    _unimplementedSent: int
    _unimplementedReceived: int
    _extInfosReceived: int
    _outputPaused: bool
    _serviceHeld: bool
    _stalled: bool
    _leaving: bool
    _unreadOutput: int
    _missedKeepalives: int
    _servicePhase: Phase
    _verdicts: tuple[Verdict, ...]

    # ── State that Conch documents and that lives in the parts ────────────────────────────────

    @property
    def buf(self) -> bytes:
        """What has been received and not yet been consumed."""
        return self._receiver.buf

    @buf.setter
    def buf(self, data: bytes) -> None:
        self._receiver.buf = data

    @property
    def incomingPacketSequence(self) -> int:
        """The sequence number of the next packet from the peer."""
        return self._receiver.sequence

    @incomingPacketSequence.setter
    def incomingPacketSequence(self, number: int) -> None:
        self._receiver.sequence = number

    @property
    def outgoingPacketSequence(self) -> int:
        """The sequence number of our next packet."""
        return self._sender.sequence

    @outgoingPacketSequence.setter
    def outgoingPacketSequence(self, number: int) -> None:
        self._sender.sequence = number & SEQUENCE_MASK

    @property
    def outgoingCompression(self) -> Deflater | None:
        """What compresses our payloads; None while nothing does."""
        return self._sender.deflater

    @outgoingCompression.setter
    def outgoingCompression(self, deflater: Any) -> None:
        # Applications set what `zlib.compressobj` made, for a stream that is about to begin.
        whole = deflater is None or isinstance(deflater, Deflater)
        self._sender.deflater = deflater if whole else Deflater()

    @property
    def incomingCompression(self) -> Inflater | None:
        """What inflates the peer's payloads; None while nothing does."""
        return self._receiver.inflater

    @incomingCompression.setter
    def incomingCompression(self, inflater: Any) -> None:
        # Likewise: the limits to what a payload may inflate to are not left to `zlib`.
        whole = inflater is None or isinstance(inflater, Inflater)
        self._receiver.inflater = inflater if whole else Inflater()

    @property
    def clock(self) -> IReactorTime | None:
        """What this connection's timers run on: the reactor that runs its transport."""
        return self.timers.clock

    @clock.setter
    def clock(self, clock: IReactorTime | None) -> None:
        self.timers.clock = clock

    def roundTripSeconds(self) -> float:
        """How long a message and its answer take on this path, at the least; 0 if unknown."""
        return tcpRoundTripSeconds(self.transport)

    @property
    def ending(self) -> bool:
        """Whether the connection is over or about to be: nothing is sent or handled any more."""
        return self._over

    # ── The connection's life ─────────────────────────────────────────────────────────────────

    def makeConnection(self, transport: ITransport) -> None:
        """Take the transport, learn from it what runs our timers, and be its producer."""
        if self.timers.clock is None:
            self.timers.clock = getattr(transport, "reactor", None)
        if IConsumer.providedBy(transport):
            # Somebody else may be its producer already: then nobody tells us that it is full.
            with contextlib.suppress(RuntimeError):
                transport.registerProducer(self, True)
        protocol.Protocol.makeConnection(self, transport)

    def connectionMade(self) -> None:
        """Send our identification string and our MSG_KEXINIT."""
        self.transport.write(self.ourVersionString + b"\r\n")
        self.sendKexInit()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """End the service and log the user out; nothing of this connection stays behind."""
        self._over = True
        self.timers.stopAll()
        self._exchangeAbandoned(reason)
        service, self.service = self.service, None
        try:
            if service is not None:
                service.serviceStopped()
        finally:
            logout, self.logoutFunction = self.logoutFunction, None
            if logout is not None:
                logout()

    def loseConnection(self) -> None:
        """Say goodbye with MSG_DISCONNECT and close the connection, after what was written.

        A peer that does not take that within `lingerSeconds` loses it with the connection.
        """
        if self._blockedByKeyExchange is not None and self.sessionID is not None:
            # What was written waits for new keys, and so do the last words.
            self._leaving = True
            return
        self._lastWordsSeconds = self.lingerSeconds
        self.sendDisconnect(DISCONNECT_CONNECTION_LOST, b"user closed connection")

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        """Send MSG_DISCONNECT, if it can still be sent, and close the connection.

        Nothing that arrives from here on is looked at, even if it is in the buffer already. What
        cannot leave within `abortSeconds` is lost with the connection.

        Args:
            reason: One of DISCONNECT_* (RFC 4253 section 11.1).
            desc: Words for a person at the other end.
        """
        if self._over or self.transport is None:
            return
        self._log.info(
            "{prefix}: disconnecting, reason {reason}: {text}",
            prefix=self.logPrefix(),
            reason=reason,
            text=_shown(desc),
        )
        self.sendPacket(MSG_DISCONNECT, Disconnect(reason, desc).encode())
        self._close()

    def _close(self) -> None:
        """Close after what was written; cut the connection if that takes too long."""
        self._over = True
        self.timers.stopAll()
        transport = self.transport
        if transport is None:
            return
        # A registered producer would keep a Twisted transport open until it is unregistered.
        if IConsumer.providedBy(transport):
            transport.unregisterProducer()
        transport.loseConnection()
        if hasattr(transport, "abortConnection"):
            seconds = self._lastWordsSeconds or self.abortSeconds
            self.timers.start("abort", seconds, transport.abortConnection)

    def _abort(self) -> None:
        """Cut the connection without a word."""
        self._over = True
        self.timers.stopAll()
        transport = self.transport
        if transport is None:
            return
        abort = getattr(transport, "abortConnection", None)
        if abort is not None:
            abort()
        else:
            transport.loseConnection()

    # ── In ────────────────────────────────────────────────────────────────────────────────────

    def dataReceived(self, data: bytes) -> None:
        """Take the next bytes of the stream, in any portions, and handle every whole message."""
        if self._over:
            return
        if not self.gotVersion:
            self._guarded(self._receiveIdentification, data)
            return
        self._missedKeepalives = 0
        self._receiver.feed(data)
        if not self._dispatching:
            self._guarded(self._dispatchPackets)

    def _guarded(self, call: Callable[..., None], *args: Any) -> None:
        """Call something that handles the peer's input; whatever it raises ends this connection."""
        try:
            call(*args)
        except ProtocolViolation as violation:
            self._violated(violation)
        except WireError as malformed:
            self._violated(MalformedMessage(f"malformed message: {malformed}"))
        except Exception:  # noqa: BLE001 - a bug in a handler may end its own connection only
            self._log.failure("{prefix}: unhandled error", prefix=self.logPrefix())
            self.sendDisconnect(DISCONNECT_PROTOCOL_ERROR, b"internal error")

    def _violated(self, violation: ProtocolViolation) -> None:
        self.violation = violation
        if not self.gotVersion and not isinstance(violation, ConnectionTimedOut):
            # Whoever does not speak SSH gets no answer in it.
            self._log.info(
                "{prefix}: {text}", prefix=self.logPrefix(), text=_shown(violation.description)
            )
            self._close()
            return
        self.sendDisconnect(violation.reasonCode, violation.description.encode("utf-8"))

    def _receiveIdentification(self, data: bytes) -> None:
        if self._identification is None:
            versions = self.supportedVersions
            if not self.isClient:
                # RFC 4253 section 5.1: "1.99" is what a server says; a client has no use for it.
                versions = tuple(version for version in versions if version != b"1.99")
            self._identification = IdentificationReader(self.isClient, versions)
        line, rest = self._identification.feed(data)
        if line is None:
            return
        self._identification = None
        self.otherVersionString = line
        self.gotVersion = True
        self._receiver.feed(rest)
        self._dispatchPackets()

    def _unsupportedVersionReceived(self, remoteVersion: bytes) -> None:
        """The peer speaks another version of the protocol; end the connection."""
        self.sendDisconnect(
            DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED, b"bad version " + remoteVersion
        )

    def _dispatchPackets(self) -> None:
        self._dispatching = True
        left = MESSAGES_PER_TURN
        try:
            while not (self._over or self._waiting):
                message = self._nextMessage()
                if message is None:
                    break
                self.dispatchMessage(*message)
                left -= 1
                if not left:
                    left = MESSAGES_PER_TURN
                    self._endTurn()
        finally:
            self._dispatching = False
            self._dispatchedSequence = None
        if not self._over:
            self._checkReceivedVolume()

    def getPacket(self) -> bytes | None:
        """The next whole message that may be handled: its number, then its payload.

        For applications that read the stream themselves; our own loop takes the two apart.

        Returns:
            None when more bytes are needed, and when the connection is over: a packet that is
            damaged, or a message that is not allowed now, ends it here.
        """
        if self._over or self._waiting:
            return None
        try:
            message = self._nextMessage()
        except ProtocolViolation as violation:
            self._violated(violation)
            return None
        return None if message is None else bytes((message[0],)) + message[1]

    def _nextMessage(self) -> tuple[int, Any] | None:
        """The next message's number and payload; the one place that asks the phase table."""
        receiver = self._receiver
        while True:
            self._dispatchedSequence = receiver.sequence
            message = receiver.nextMessage()
            if message is None:
                return None
            number = message[0]
            verdict = self._verdicts[number]
            if verdict is _ACCEPT:
                return message
            if verdict is Verdict.VIOLATION:
                name = messages.get(number, "message")
                raise UnexpectedMessage(f"{name} ({number}) while {self.phase.value}")
            if verdict is Verdict.UNIMPLEMENTED:
                self.sendUnimplemented()

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        """Hand a message to the transport's own handler or to the service.

        Args:
            messageNum: The message's number.
            payload: What follows the number.
        """
        if not self._dispatching:
            self._dispatchForApplication(messageNum, payload)
            return
        name = messages.get(messageNum)
        if name is not None:
            handler = getattr(self, sys.intern("ssh_" + name[4:]), None)
            if handler is not None:
                handler(payload)
            else:
                self.sendUnimplemented()
        elif self.service is not None:
            self.service.packetReceived(messageNum, payload)
        else:
            self.sendUnimplemented()

    def _dispatchForApplication(self, messageNum: int, payload: bytes) -> None:
        """Handle a message for an application that reads the stream by itself.

        Its loop need not know our errors: they end the connection here, as they do in our own.
        """
        self._dispatching = True
        try:
            self._guarded(MessageTransport.dispatchMessage, self, messageNum, payload)
        finally:
            self._dispatching = False

    def _wait(self) -> None:
        """Handle no further message until `_goOn`: somebody else has to decide something first."""
        self._waiting = True
        if hasattr(self.transport, "pauseProducing"):
            self.transport.pauseProducing()

    def _goOn(self) -> None:
        """Handle what came in the meantime, and what comes."""
        self._waiting = False
        if self._over:
            return
        # From a peer that does not read nothing is taken, whoever else has decided by now.
        if hasattr(self.transport, "resumeProducing") and not self._stalled:
            self.transport.resumeProducing()
        if not self._dispatching:
            self._guarded(self._dispatchPackets)

    def _endTurn(self) -> None:
        """Handle the rest of what came in the reactor's next turn; now, where there is no clock."""
        if not (self._over or self._waiting) and self.timers.soon("turn", self._beginTurn):
            self._wait()

    def _beginTurn(self) -> None:
        gather = getattr(self.transport, "gather", None)
        if gather is None:
            self._goOn()
            return
        # As in the transport's own reads: what is answered to many messages leaves in one piece.
        gather()
        try:
            self._goOn()
        finally:
            self.transport.release()

    # ── Out ───────────────────────────────────────────────────────────────────────────────────

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """Send a message; during a key exchange, as soon as it is over.

        After the connection has ended this does nothing.

        Args:
            messageType: The message's number.
            payload: What follows the number.
        """
        if self._over or self.transport is None:
            return
        if self._blockedByKeyExchange is not None:
            if not self._allowedKeyExchangeMessageType(messageType):
                self._hold(messageType, payload)
                return
        self._sendNow(messageType, payload)

    def sendWithData(self, messageType: int, head: bytes, data: bytes | memoryview) -> None:
        """Send a message as `sendPacket` does, from its head and its data.

        It saves the copy that joins the two. Where an application has put a `sendPacket` of its own
        in place, that one gets the message, whole.

        Args:
            messageType: The message's number.
            head: What follows the number.
            data: What follows `head`; never empty.
        """
        if (
            self._blockedByKeyExchange is not None
            or self._over
            or self.transport is None
            or getattr(self.sendPacket, "__func__", None) is not MessageTransport.sendPacket
        ):
            self.sendPacket(messageType, b"".join((head, data)))
        else:
            self._sendNow(messageType, head, data)

    def _sendNow(self, messageType: int, payload: bytes, data: bytes | memoryview = b"") -> None:
        """Send a message whether or not others wait for the end of a key exchange."""
        packet = self._sender.pack(messageType, payload, data)
        self.transport.write(packet)
        if self._outputPaused:
            self._countUnread(len(packet))
        if self._sender.bytesSinceKeys >= self._checkSentAt:
            self._checkSentVolume()

    def _countUnread(self, size: int) -> None:
        self._unreadOutput += size
        if self._unreadOutput >= MAX_UNREAD_OUTPUT and not self._stalled:
            # It makes us write and does not read: take nothing more from it until it does.
            self._stalled = True
            if hasattr(self.transport, "pauseProducing"):
                self.transport.pauseProducing()
            self.timers.start("stall", self.stallSeconds, self._abort)

    def pauseProducing(self) -> None:
        """The transport below is full: what can wait, waits (IPushProducer)."""
        self._outputPaused = True
        self._unreadOutput = 0
        self._updateService()

    def resumeProducing(self) -> None:
        """The transport below takes data again (IPushProducer)."""
        if not self._outputPaused:
            return
        self._outputPaused = False
        if getattr(self.transport, "disconnecting", False):
            # An application closed the transport below by itself; as long as it has a producer, it
            # waits for more.
            self.transport.unregisterProducer()
            return
        if self._stalled:
            self._stalled = False
            self.timers.stop("stall")
            if hasattr(self.transport, "resumeProducing") and not self._waiting:
                self.transport.resumeProducing()
        self._updateService()

    def stopProducing(self) -> None:
        """The transport below is gone; `connectionLost` follows (IPushProducer)."""

    def _updateService(self) -> None:
        """Tell the service whether to hold its data back."""
        held = self._outputPaused or self._blockedByKeyExchange is not None
        if held is self._serviceHeld:
            return
        self._serviceHeld = held
        tell = getattr(self.service, "pauseProducing" if held else "resumeProducing", None)
        if tell is not None:
            tell()

    def sendIgnore(self, message: bytes) -> None:
        """Send MSG_IGNORE, which the peer drops: traffic that hides other traffic."""
        self.sendPacket(MSG_IGNORE, _string(message))

    def sendDebug(self, message: bytes, alwaysDisplay: bool = False, language: bytes = b"") -> None:
        """Send MSG_DEBUG, words that the peer may log or show."""
        self.sendPacket(MSG_DEBUG, Debug(bool(alwaysDisplay), message, language).encode())

    def sendUnimplemented(self) -> None:
        """Answer the message under way with MSG_UNIMPLEMENTED.

        Raises:
            LimitExceeded: The peer has sent `MAX_UNIMPLEMENTED` of them.
        """
        self._unimplementedSent += 1
        if self._unimplementedSent > MAX_UNIMPLEMENTED:
            raise LimitExceeded(f"over {MAX_UNIMPLEMENTED} messages that are not implemented")
        sequence = self._dispatchedSequence
        if sequence is None:
            sequence = self.incomingPacketSequence
        self.sendPacket(MSG_UNIMPLEMENTED, Unimplemented(sequence).encode())

    def sendExtInfo(self, extensions: list[tuple[bytes, bytes]]) -> None:
        """Send MSG_EXT_INFO (RFC 8308): pairs of an extension's name and value.

        It is not held back by a key exchange, as it has to be the first message under new keys.
        """
        self._sendNow(MSG_EXT_INFO, ExtInfo(dict(extensions)).encode())

    # ── Handlers ──────────────────────────────────────────────────────────────────────────────

    def ssh_DISCONNECT(self, packet: bytes) -> None:
        """MSG_DISCONNECT: uint32 reason, string description, string language."""
        message = Disconnect.decode(packet)
        if message.reasonCode != DISCONNECT_BY_APPLICATION:  # which is how every session ends
            self._log.info(
                "{prefix}: the peer disconnects, reason {reason}: {text}",
                prefix=self.logPrefix(),
                reason=message.reasonCode,
                text=_shown(message.description),
            )
        self.receiveError(message.reasonCode, message.description)
        self._close()

    def ssh_IGNORE(self, packet: bytes) -> None:
        """MSG_IGNORE: string data, which nobody looks at."""

    def ssh_UNIMPLEMENTED(self, packet: bytes) -> None:
        """MSG_UNIMPLEMENTED: uint32 sequence number of a packet of ours."""
        self._unimplementedReceived += 1
        if self._unimplementedReceived > MAX_UNIMPLEMENTED:
            raise LimitExceeded(f"over {MAX_UNIMPLEMENTED} times MSG_UNIMPLEMENTED")
        self.receiveUnimplemented(Unimplemented.decode(packet).sequence)

    def ssh_DEBUG(self, packet: bytes) -> None:
        """MSG_DEBUG: boolean always display, string message, string language."""
        message = Debug.decode(packet)
        self.receiveDebug(message.alwaysDisplay, message.message, message.language)

    def ssh_EXT_INFO(self, packet: bytes) -> None:
        """MSG_EXT_INFO (RFC 8308): uint32 count, then name and value so many times.

        It may be the first message under the first keys, and a server may send one more before the
        authentication succeeds. What a later one says takes the place of the earlier.
        """
        self._extInfosReceived += 1
        first = self._receiver.packetsSinceKeys == 1
        if not first and (not self.isClient or self._extInfosReceived > 2):
            raise UnexpectedMessage("MSG_EXT_INFO out of its place")
        self.peerExtensions = ExtInfo.decode(packet).extensions

    def ssh_PING(self, packet: bytes) -> None:
        """PING of OpenSSH (PROTOCOL section 1.9): string data, returned as PONG."""
        reader = Reader(packet)
        data = reader.string()
        reader.end()
        self.sendPacket(MSG_PONG, _string(data))

    def sendPing(self, data: bytes = b"") -> None:
        """Send a PING that the peer answers by a PONG with the same data.

        Only to one whose MSG_EXT_INFO names `ping@openssh.com` with the value "0".
        """
        self.sendPacket(MSG_PING, _string(data))

    def ssh_PONG(self, packet: bytes) -> None:
        """PONG: an answer to a PING of ours, a sign of life and no more."""

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """The peer ended the connection; for applications to override.

        Args:
            reasonCode: One of DISCONNECT_*.
            description: The peer's words; they can hold anything, so escape them before showing.
        """

    def receiveUnimplemented(self, seqnum: int) -> None:
        """The peer does not know the packet with this sequence number; for applications."""

    def receiveDebug(self, alwaysDisplay: bool, message: bytes, lang: bytes) -> None:
        """The peer sent words for a person; for applications. They can hold anything."""

    # ── Services ──────────────────────────────────────────────────────────────────────────────

    def setService(self, service: SSHService) -> None:
        """Let `service` take the place of the one before it, and begin its phase."""
        if self.service is not None:
            self.service.serviceStopped()
        self.service = service
        service.transport = self
        self._servicePhase = SERVICE_PHASES.get(service.name, Phase.APPLICATION)
        if self.phase in (Phase.SERVICE, Phase.AUTHENTICATION, Phase.CONNECTION, Phase.APPLICATION):
            self._enterPhase(self._servicePhase)
        if self._servicePhase is not Phase.AUTHENTICATION:
            self._authenticated()
        self._serviceHeld = False
        # An application's own `dispatchMessage` gets bytes, as documented.
        plain = getattr(self.dispatchMessage, "__func__", None) is MessageTransport.dispatchMessage
        self._receiver.viewed = getattr(service, "viewedMessage", -1) if plain else -1
        service.serviceStarted()
        self._updateService()

    def _authenticated(self) -> None:
        """What begins when authentication is over: big packets, delayed compression, keepalives.

        And small pieces leave at once: what somebody types would wait for the peer's system to
        acknowledge the letter before.
        """
        if ITCPTransport.providedBy(self.transport):
            # Refused for a connection that the peer has reset already; its end is on its way.
            with contextlib.suppress(OSError):
                self.transport.setTcpNoDelay(True)
        self._receiver.maxPacketLength = max(self._receiver.maxPacketLength, MAX_PACKET)
        self.timers.stop("grace")
        if self.outgoingCompressionType == b"zlib@openssh.com" and not self._sender.deflater:
            self._sender.deflater = Deflater()
        if self.incomingCompressionType == b"zlib@openssh.com" and not self._receiver.inflater:
            self._receiver.inflater = Inflater()
        self._startRekeyTimer()
        self._heardBefore = self._receiver.sequence
        self.timers.start("keepalive", self.keepaliveSeconds, self._keepalive)

    def _enterPhase(self, phase: Phase) -> None:
        self.phase = phase
        self._verdicts = PHASES[phase][self.isClient]

    def _keepalive(self) -> None:
        """Ask a silent peer for a sign of life; give up on one that stays silent."""
        if self._missedKeepalives >= self.keepaliveMisses > 0:
            self._violated(ConnectionTimedOut("the peer does not answer"))
            return
        heard = self._receiver.sequence
        # One that answers what it was asked, and says nothing else, is silent all the same.
        isSilent = (heard - self._heardBefore) & SEQUENCE_MASK <= self._keepalivesAsked
        self._heardBefore, self._keepalivesAsked = heard, int(isSilent)
        ask = getattr(self.service, "sendGlobalRequest", None)
        if isSilent:
            self._missedKeepalives += 1
            if ask is not None:
                ask(b"keepalive@openssh.com", b"", wantReply=True).addErrback(lambda failure: None)
        self.timers.start("keepalive", self.keepaliveSeconds, self._keepalive)

    # ── What the connection is ────────────────────────────────────────────────────────────────

    def logPrefix(self) -> str:
        """What this connection is called in a log: its class."""
        return type(self).__name__

    def getPeer(self) -> SSHTransportAddress:
        """The address of the other end."""
        return SSHTransportAddress(self.transport.getPeer())

    def getHost(self) -> SSHTransportAddress:
        """The address of this end."""
        return SSHTransportAddress(self.transport.getHost())

    def isEncrypted(self, direction: str = "out") -> bool:
        """Whether what is sent ("out"), received ("in") or both ("both") is encrypted.

        Raises:
            TypeError: `direction` is none of the three.
        """
        encryptions = self.currentEncryptions
        return self._inDirection(
            direction, encryptions.outCipType != b"none", encryptions.inCipType != b"none"
        )

    def isVerified(self, direction: str = "out") -> bool:
        """Whether what is sent, received or both is protected from change; as `isEncrypted`."""
        encryptions = self.currentEncryptions
        return self._inDirection(direction, encryptions.isOutVerified, encryptions.isInVerified)

    @staticmethod
    def _inDirection(direction: str, out: bool, into: bool) -> bool:
        if direction == "out":
            return out
        if direction == "in":
            return into
        if direction == "both":
            return out and into
        raise TypeError('direction must be "out", "in", or "both"')

    # ── What the key exchange hooks into ──────────────────────────────────────────────────────

    _blockedByKeyExchange: list[tuple[int, bytes]] | None = None
    """Messages that wait for new keys; None while no key exchange is under way."""

    _checkSentAt: int = 1 << 28
    """The count of bytes sent at which `_checkSentVolume` is due."""

    def sendKexInit(self) -> None:
        """Begin a key exchange."""
        raise NotImplementedError

    def _allowedKeyExchangeMessageType(self, messageType: int) -> bool:
        raise NotImplementedError

    def _hold(self, messageType: int, payload: bytes) -> None:
        raise NotImplementedError

    def _checkSentVolume(self) -> None:
        raise NotImplementedError

    def _checkReceivedVolume(self) -> None:
        raise NotImplementedError

    def _startRekeyTimer(self) -> None:
        raise NotImplementedError

    def _exchangeAbandoned(self, reason: Failure) -> None:
        raise NotImplementedError


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _shown(text: bytes | str) -> str:
    """Words of the peer's as one line that no terminal acts on (attacks.md J5, M7)."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return text[:MAX_DESCRIPTION].encode("unicode_escape").decode("ascii")
