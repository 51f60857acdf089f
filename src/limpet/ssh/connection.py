"""The connection protocol: many channels and global requests over one transport (RFC 4254).

Rule: a message names a channel by the number that its receiver gave it. A number that we gave and
that is closed by now is normal, the peer cannot know yet, and the message is ignored; a number that
we never gave, or whose channel is not open yet, breaks the protocol.

Sending keeps these promises, however small the window and however late an answer is known: replies
in the order of the requests; the reply to a request before the output that it caused; data before
EOF before exit status before CLOSE; one EOF, nothing after CLOSE.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from twisted.internet import defer
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from limpet.core.authorizedkeys import UNRESTRICTED, Restrictions
from limpet.core.errors import ProtocolViolation, UnexpectedMessage
from limpet.core.replies import OrderedReplies, Ticket
from limpet.core.restricting import (
    allowsChannel,
    allowsGlobalRequest,
    allowsRequest,
    forcedRequest,
)
from limpet.core.windows import GROWN_WINDOW, MAX_WINDOW, creditDue, enlarged, grownWindow
from limpet.error import ConchError
from limpet.ssh.channel import HOLD_REPLY, HOLD_TRANSPORT
from limpet.ssh.hostkeyproofs import HOST_KEYS, PROVE, HostKeyProofs
from limpet.ssh.service import SSHService
from limpet.wire import numbers
from limpet.wire.errors import BadField, Truncated, WireError
from limpet.wire.fields import NS, Reader, u32
from limpet.wire.numbers import (
    EXTENDED_DATA_STDERR,
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_FAILURE,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_SUCCESS,
    MSG_CHANNEL_WINDOW_ADJUST,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
    OPEN_UNKNOWN_CHANNEL_TYPE,
)

__all__ = [
    "EXTENDED_DATA_STDERR",
    "MSG_CHANNEL_CLOSE",
    "MSG_CHANNEL_DATA",
    "MSG_CHANNEL_EOF",
    "MSG_CHANNEL_EXTENDED_DATA",
    "MSG_CHANNEL_FAILURE",
    "MSG_CHANNEL_OPEN",
    "MSG_CHANNEL_OPEN_CONFIRMATION",
    "MSG_CHANNEL_OPEN_FAILURE",
    "MSG_CHANNEL_REQUEST",
    "MSG_CHANNEL_SUCCESS",
    "MSG_CHANNEL_WINDOW_ADJUST",
    "MSG_GLOBAL_REQUEST",
    "MSG_REQUEST_FAILURE",
    "MSG_REQUEST_SUCCESS",
    "OPEN_ADMINISTRATIVELY_PROHIBITED",
    "OPEN_CONNECT_FAILED",
    "OPEN_RESOURCE_SHORTAGE",
    "OPEN_UNKNOWN_CHANNEL_TYPE",
    "SSHConnection",
    "messages",
]

MAX_SESSIONS = 10
"""Session channels that one connection may have open (OpenSSH's MaxSessions)."""

MAX_CHANNELS = 128
"""Channels of all types that one connection may have open."""

CLOSE_TIMEOUT_SECONDS = 60.0
"""How long a peer may leave our CLOSE unanswered before the channel is freed."""

MAX_LOGGED_REFUSALS = 32
"""Refusals and faults of the peer's that one connection may put in the log, all kinds together; a
peer that goes on fills no disk."""

ALWAYS_ASKED_FOR = frozenset(
    {
        b"session",
        b"x11",
        b"auth-agent@openssh.com",
        b"direct-tcpip",
        b"forwarded-tcpip",
        b"direct-streamlocal@openssh.com",
        b"forwarded-streamlocal@openssh.com",
        b"tun@openssh.com",
    }
)
"""Channel types that exist. Where nothing handles them they are prohibited, rather than unknown."""

JOIN_BELOW = 1024
"""Shorter data is joined with the head of its message: that costs less than to go without."""

NO_MORE_SESSIONS = b"no-more-sessions@openssh.com"
"""A client's promise to open no further session (OpenSSH's PROTOCOL, section 2.2)."""

STATUS_REQUESTS = frozenset({b"exit-status", b"exit-signal"})
"""How a program ended (RFC 4254 section 6.10): said behind all of its output, never with a
reply."""

messages: dict[int, str] = {
    number: name
    for number, name in numbers.MESSAGE_NAMES.items()
    if MSG_GLOBAL_REQUEST <= number <= MSG_CHANNEL_FAILURE
}

_CHANNEL = struct.Struct(">L")
_CHANNEL_AND_NUMBER = struct.Struct(">2L")
_CHANNEL_TYPE_AND_LENGTH = struct.Struct(">3L")
_NOT_ALPHANUMERIC = re.compile(rb"[^a-zA-Z0-9]")


class SSHConnection(SSHService):
    """The service ssh-connection, for either role.

    Attributes:
        localChannelID: The number of the next channel, from 0; none is used twice.
        channels: Our number to the channel, those that are still being opened included.
        localToRemoteChannel: Our number to the peer's, for open channels.
        channelsToRemoteChannel: The channel to the peer's number, for open channels.
        deferreds: What waits for replies of the peer, oldest first: per number of a channel, and
            under "global".
        maxSessions: How many session channels the peer may have open at once.
        maxChannels: How many channels may be open when the peer asks for one more.
        closeTimeoutSeconds: See `CLOSE_TIMEOUT_SECONDS`.
        noMoreSessions: Whether the client has promised to open no further session.
    """

    name = b"ssh-connection"
    protocolMessages: ClassVar[Mapping[int, str]] = messages

    maxSessions = MAX_SESSIONS
    maxChannels = MAX_CHANNELS
    closeTimeoutSeconds = CLOSE_TIMEOUT_SECONDS
    noMoreSessions = False

    # Whether `sendData` may be given a memoryview. An application's own gets bytes, as documented.
    takesViews: ClassVar[bool] = True

    _outputPaused = False

    # By how much the windows of all channels together may still grow: what a peer may have under
    # way to a connection is bounded, however many channels it has.
    _windowGrowthLeft = GROWN_WINDOW
    _stopped = False

    # The message that may come in as a memoryview, likewise.
    viewedMessage: ClassVar[int] = MSG_CHANNEL_DATA

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "sendData" in vars(cls):
            cls.takesViews = False
        if "ssh_CHANNEL_DATA" in vars(cls) or "packetReceived" in vars(cls):
            cls.viewedMessage = -1

    def __init__(self) -> None:
        self.localChannelID = 0
        self.localToRemoteChannel: dict[int, Any] = {}
        self.channels: dict[int, Any] = {}
        self.channelsToRemoteChannel: dict[Any, Any] = {}
        self.deferreds: dict[Any, list[defer.Deferred[Any]]] = {"global": []}
        self.transport: Any = None
        self._sessionIds: set[int] = set()
        # What the peer asked for and is not ready yet: channel to the Deferred of its readiness.
        self._incoming: dict[Any, defer.Deferred[Any]] = {}
        self._atEnd: list[Callable[[], object]] = []
        self._globalReplies: OrderedReplies[tuple[int, bytes]] = OrderedReplies()
        self._channelReplies: dict[int, OrderedReplies[bool]] = {}
        self._closeTimers: dict[Any, Any] = {}
        self._refusals = 0
        self._hostKeyProofs: HostKeyProofs | None = None
        # Our number of the channel that is served first when the transport has room again.
        self._firstInTurn = 0

    # ── the service ───────────────────────────────────────────────────────────────────────────

    def serviceStarted(self) -> None:
        """The connection may be used; tell the user's avatar, if there is one."""
        self._stopped = False
        avatar = getattr(self.transport, "avatar", None)
        if avatar is not None:
            avatar.conn = self
        if getattr(getattr(self.transport, "factory", None), "announcesHostKeys", False):
            self._announceHostKeys()

    def _announceHostKeys(self) -> None:
        """Tell the client all of the server's keys, so that it can ask for proofs of them."""
        proofs = HostKeyProofs(self.transport)
        if proofs.isWelcome:
            self._hostKeyProofs = proofs
            self.sendGlobalRequest(HOST_KEYS, proofs.announcement)

    def serviceStopped(self) -> None:
        """The connection is gone: end every channel and fail all that waits. May be called twice.

        Open channels get `closed`. Those that were only being opened get `openFailed` with a
        `ConnectionLost`.
        """
        self._stopped = True
        actions, self._atEnd = self._atEnd, []
        for action in actions:
            self._guarded(action)
        for channel in list(self.channelsToRemoteChannel):
            self._guarded(self.channelClosed, channel)
        for number, channel in list(self.channels.items()):
            self.channels.pop(number, None)
            self._guarded(channel.openFailed, ConnectionLost())
        for deferred in tuple(self._incoming.values()):
            self._guarded(deferred.cancel)
        self._incoming.clear()
        for timer in self._closeTimers.values():
            timer.cancel()
        self._closeTimers.clear()
        self._channelReplies.clear()
        self._globalReplies = OrderedReplies()
        self._cleanupGlobalDeferreds()

    def atEnd(self, action: Callable[[], object]) -> None:
        """Call `action` when the connection ends; at once, if it has ended."""
        if self._stopped:
            self._guarded(action)
        else:
            self._atEnd.append(action)

    def _guarded(self, method: Any, *arguments: Any) -> None:
        """Call what belongs to one channel: its bug must not leave the other channels open."""
        try:
            method(*arguments)
        except Exception:  # noqa: BLE001 an application's bug: logged, and the cleaning up goes on
            self._log.failure("a channel failed as it ended")

    def _cleanupGlobalDeferreds(self) -> None:
        waiting = self.deferreds["global"]
        failed = list(waiting)
        waiting.clear()
        for deferred in failed:
            deferred.errback(ConchError("Connection stopped."))

    def packetReceived(self, messageNum: int, packet: bytes) -> Any:
        """Hand one message to its `ssh_` method; data first, there is most of it."""
        if messageNum == MSG_CHANNEL_DATA:
            return self.ssh_CHANNEL_DATA(packet)
        return super().packetReceived(messageNum, packet)

    def pauseProducing(self) -> None:
        """The transport is full, or exchanges keys: channels keep their data for now."""
        self._outputPaused = True
        # An application's own `__init__` may have left out ours: then there are no channels either.
        for channel in getattr(self, "channels", {}).values():
            channel.holdOutput(HOLD_TRANSPORT)

    def resumeProducing(self) -> None:
        """The transport takes more: let the channels send, in turn."""
        self._outputPaused = False
        channels = getattr(self, "channels", {})
        inTurn = sorted(channels, key=lambda number: (number < self._firstInTurn, number))
        for number in inTurn:
            channel = self.channels.get(number)
            if channel is None:
                continue
            channel.releaseOutput(HOLD_TRANSPORT)
            if self._outputPaused:
                # This one filled it. The next one comes first next time.
                self._firstInTurn = number + 1
                return

    # ── which channel a message is about ──────────────────────────────────────────────────────

    def _openChannel(self, number: int) -> Any:
        """The open channel to which we gave `number`, or None if it is closed by now.

        Raises:
            UnexpectedMessage: We never gave that number, or its channel is not open yet.
        """
        if number in self.localToRemoteChannel:
            return self.channels.get(number)
        if number in self.channels:
            raise UnexpectedMessage(f"a message for channel {number}, which is not open yet")
        if number >= self.localChannelID:
            raise UnexpectedMessage(f"a message for channel {number}, which does not exist")
        return None

    def _readChannel(self, packet: bytes) -> Any:
        """The open channel of a message that carries nothing but the channel's number."""
        try:
            (number,) = _CHANNEL.unpack(packet)
        except struct.error:
            raise BadField(f"{len(packet)} bytes where a channel's number is") from None
        return self._openChannel(number)

    # ── global requests ───────────────────────────────────────────────────────────────────────

    def ssh_GLOBAL_REQUEST(self, packet: bytes) -> None:
        """The peer asks for something that is about the whole connection.

        Payload: string name, boolean want reply, the rest depends on the name.
        """
        reader = Reader(packet)
        requestType = reader.string()
        wantReply = reader.boolean()
        data = reader.rest()
        ticket = self._globalReplies.ask() if wantReply else None
        if requestType == NO_MORE_SESSIONS and not getattr(self.transport, "isClient", False):
            self.noMoreSessions = True
            self._answerGlobalRequest(True, ticket)
            return
        if requestType == PROVE and ticket is not None and self._hostKeyProofs is not None:
            proving = defer.maybeDeferred(self._hostKeyProofs.prove, data)
            proving.addCallback(lambda proof: (True, proof))
            self._answerWhenKnown(proving, requestType, ticket)
            return
        restrictions = self._restrictions()
        if restrictions is not None and not allowsGlobalRequest(restrictions, requestType, data):
            self._answerGlobalRequest(False, ticket)
            return
        deciding = defer.maybeDeferred(self.gotGlobalRequest, requestType, data)
        self._answerWhenKnown(deciding, requestType, ticket)

    def _answerWhenKnown(
        self,
        deciding: defer.Deferred[Any],
        requestType: bytes,
        ticket: Ticket[tuple[int, bytes]] | None,
    ) -> None:
        deciding.addErrback(self._globalRequestFailed, requestType)
        deciding.addCallback(self._answerGlobalRequest, ticket)

    def _globalRequestFailed(self, failure: Failure, requestType: bytes) -> int:
        if failure.check(WireError) is None and self.mayLogRefusal():
            self._log.failure(
                "global request {requestType!r} failed", failure, requestType=requestType
            )
        return 0

    def _answerGlobalRequest(self, result: Any, ticket: Ticket[tuple[int, bytes]] | None) -> None:
        if ticket is None:
            return
        answer = (MSG_REQUEST_FAILURE, b"")
        if result:
            data = result[1] if isinstance(result, tuple | list) else b""
            answer = (MSG_REQUEST_SUCCESS, data)
        for messageNum, payload in self._globalReplies.settle(ticket, answer):
            self.transport.sendPacket(messageNum, payload)

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        """Decide about a global request: the avatar does if there is one, else `global_<name>`.

        Args:
            requestType: The request's name; its "-" are "_" in the method's.
            data: What it carries, not decoded.

        Returns:
            False to refuse, True to accept, a pair whose second item is the answer's data, or a
            Deferred of one of these.
        """
        avatar = getattr(self.transport, "avatar", None)
        if avatar is not None:
            return avatar.gotGlobalRequest(requestType, data)
        name = requestType.replace(b"-", b"_").decode("ascii", "backslashreplace")
        handler = getattr(self, "global_" + name, None)
        if handler is None:
            return 0
        return handler(data)

    def sendGlobalRequest(
        self, request: bytes, data: bytes, wantReply: int | bool = 0
    ) -> defer.Deferred[Any] | None:
        """Ask the peer for something that is about the whole connection.

        Returns:
            With `wantReply` a Deferred that fires with the answer's data, or fails with ConchError
            (`data` is the answer's); not cancellable. None otherwise.
        """
        if self._stopped:
            return defer.fail(ConchError("Connection stopped.")) if wantReply else None
        flag = b"\xff" if wantReply else b"\x00"
        self.transport.sendPacket(MSG_GLOBAL_REQUEST, NS(request) + flag + data)
        if not wantReply:
            return None
        deferred: defer.Deferred[Any] = defer.Deferred()
        self.deferreds["global"].append(deferred)
        return deferred

    def ssh_REQUEST_SUCCESS(self, packet: bytes) -> None:
        """The oldest of our global requests was accepted. Payload: what its name says.

        An answer to nothing is ignored.
        """
        waiting = self.deferreds["global"]
        if waiting:
            waiting.pop(0).callback(packet)

    def ssh_REQUEST_FAILURE(self, packet: bytes) -> None:
        """The oldest of our global requests was refused. Payload: nothing, by the RFC."""
        waiting = self.deferreds["global"]
        if waiting:
            waiting.pop(0).errback(ConchError("global request failed", packet))

    # ── opening channels ──────────────────────────────────────────────────────────────────────

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """The peer wants a channel.

        Payload: string type, uint32 the peer's number, uint32 window, uint32 largest piece of data,
        the rest depends on the type.

        Raises:
            UnexpectedMessage: A session, after the client said that there would be none.
        """
        reader = Reader(packet)
        channelType = reader.string()
        senderChannel = reader.u32()
        windowSize = reader.u32()
        maxPacket = reader.u32()
        data = reader.rest()
        if self.noMoreSessions and channelType == b"session":
            raise UnexpectedMessage("a session, after the client announced that there are no more")
        try:
            self._checkRoomFor(channelType, maxPacket)
            restrictions = self._restrictions()
            if restrictions is not None and not allowsChannel(restrictions, channelType, data):
                raise ConchError("not for this login", OPEN_ADMINISTRATIVELY_PROHIBITED)
            channel = self.getChannel(channelType, windowSize, maxPacket, data)
            prepare = getattr(channel, "prepareToOpen", None)
            deferred = None if prepare is None else prepare(data)
            if deferred is None:
                self._numberFor(channel)
        except ProtocolViolation:
            raise
        except Exception as error:  # noqa: BLE001 whatever went wrong, the peer gets its refusal
            self._refuseChannel(senderChannel, error)
            return
        if deferred is None:
            self._confirmChannel(channel, channelType, senderChannel, data)
            return
        # It has no number before the peer may use one.
        self._incoming[channel] = deferred
        channel.holdOutput(HOLD_REPLY)
        deferred.addCallbacks(
            lambda _: self._confirmLate(channel, channelType, senderChannel, data),
            lambda failure: self._refuseLate(channel, senderChannel, failure),
        )
        deferred.addErrback(lambda failure: self._log.failure("a channel was not opened", failure))

    def _confirmLate(
        self, channel: Any, channelType: bytes, senderChannel: int, data: bytes
    ) -> None:
        """What the channel needed before it could open is there."""
        if self._incoming.pop(channel, None) is None or self._stopped:
            return
        try:
            self._numberFor(channel)
        except ConchError as error:
            self._guarded(channel.openFailed, error)
            self._refuseChannel(senderChannel, error)
            return
        self._confirmChannel(channel, channelType, senderChannel, data, wasHeld=True)

    def _refuseLate(self, channel: Any, senderChannel: int, failure: Failure) -> None:
        if self._incoming.pop(channel, None) is not None and not self._stopped:
            self._refuseChannel(senderChannel, failure.value)

    def _confirmChannel(
        self,
        channel: Any,
        channelType: bytes,
        senderChannel: int,
        data: bytes,
        wasHeld: bool = False,
    ) -> None:
        if channelType == b"session":
            self._sessionIds.add(channel.id)
        self._addChannel(channel, senderChannel)
        self.transport.sendPacket(
            MSG_CHANNEL_OPEN_CONFIRMATION,
            struct.pack(
                ">4L", senderChannel, channel.id, channel.localWindowSize, channel.localMaxPacket
            )
            + channel.specificData,
        )
        try:
            if wasHeld:
                channel.releaseOutput(HOLD_REPLY)
            if not channel.localClosed:
                channel.channelOpen(data)
        except Exception:  # noqa: BLE001 its bug ends the channel, which is confirmed
            self._log.failure("channel {channel} failed as it opened", channel=str(channel))
            channel.dropOutput()
            self.sendClose(channel)

    def _checkRoomFor(self, channelType: bytes, maxPacket: int) -> None:
        if maxPacket == 0:
            raise ConchError("no data fits into no bytes", OPEN_ADMINISTRATIVELY_PROHIBITED)
        if len(self.channels) + len(self._incoming) >= self.maxChannels:
            raise ConchError("too many channels", OPEN_RESOURCE_SHORTAGE)
        if channelType == b"session" and len(self._sessionIds) >= self.maxSessions:
            # Those that we have closed wait for nothing but the peer's own word.
            alive = sum(not self.channels[number].localClosed for number in self._sessionIds)
            if alive >= self.maxSessions:
                raise ConchError("too many sessions", OPEN_RESOURCE_SHORTAGE)

    def _numberFor(self, channel: Any) -> int:
        """Give the channel its number."""
        if self.localChannelID > MAX_WINDOW:  # the same 2**32 - 1
            raise ConchError("the numbers for channels are used up", OPEN_RESOURCE_SHORTAGE)
        number = channel.id = self.localChannelID
        self.localChannelID += 1
        return number

    def _addChannel(self, channel: Any, remoteChannel: int) -> None:
        self.channels[channel.id] = channel
        self.localToRemoteChannel[channel.id] = remoteChannel
        self.channelsToRemoteChannel[channel] = remoteChannel
        if self._outputPaused:
            channel.holdOutput(HOLD_TRANSPORT)

    def mayLogRefusal(self) -> bool:
        """Whether one more thing that the peer can repeat at will may be logged."""
        self._refusals += 1
        if self._refusals == MAX_LOGGED_REFUSALS + 1:
            self._log.info("what else is refused on this connection is not logged")
        return self._refusals <= MAX_LOGGED_REFUSALS

    def _refuseChannel(self, senderChannel: int, error: BaseException | None) -> None:
        if self.mayLogRefusal():
            who = getattr(self.transport, "logPrefix", None)
            self._log.failure(
                "{who}: a channel was refused",
                Failure(error),
                # An application's refusal is no fault; anything else that was raised is one.
                level=LogLevel.info if isinstance(error, ConchError) else LogLevel.critical,
                who="-" if who is None else who(),
            )
        text: Any = "unknown failure"
        code: Any = OPEN_CONNECT_FAILED
        if isinstance(error, ConchError):
            text, code = error.value, error.data
            if isinstance(text, int):
                # Applications are known to give the two in the other order.
                text, code = code, text
            if not isinstance(code, int) or not 0 <= code <= 0xFFFFFFFF:
                code = OPEN_CONNECT_FAILED
            if not isinstance(text, bytes | str):
                text = str(text)
        self.transport.sendPacket(
            MSG_CHANNEL_OPEN_FAILURE,
            _CHANNEL_AND_NUMBER.pack(senderChannel, code) + NS(text) + NS(b""),
        )

    def getChannel(self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes) -> Any:
        """Make the channel that the peer asks for.

        The avatar does so if there is one, else `channel_<type>`.

        Args:
            channelType: Its type; what is not a letter or digit is "_" in the method's name.
            windowSize: How many bytes we may send on it.
            maxPacket: The largest piece of data we may send.
            data: What the request carries for the type.

        Raises:
            ConchError: There is no such type here.
        """
        avatar = getattr(self.transport, "avatar", None)
        if avatar is not None:
            channel = avatar.lookupChannel(channelType, windowSize, maxPacket, data)
        else:
            name = _NOT_ALPHANUMERIC.sub(b"_", channelType).decode("ascii")
            handler = getattr(self, "channel_" + name, None)
            channel = None if handler is None else handler(windowSize, maxPacket, data)
        if channel is None:
            if channelType in ALWAYS_ASKED_FOR:
                raise ConchError("not enabled", OPEN_ADMINISTRATIVELY_PROHIBITED)
            raise ConchError("unknown channel", OPEN_UNKNOWN_CHANNEL_TYPE)
        channel.conn = self
        return channel

    def openChannel(self, channel: Any, extra: bytes = b"") -> None:
        """Ask the peer for a channel.

        `channel.channelOpen` or `openFailed` tells the outcome. Until then `channel.conn` is
        not set, and what is written to the channel waits.

        Args:
            channel: An `SSHChannel` that was not opened before.
            extra: What the request carries for the type.

        Raises:
            ConchError: All 2**32 numbers were given already.
        """
        if self._stopped:
            channel.openFailed(ConnectionLost())
            return
        number = self._numberFor(channel)
        self.channels[number] = channel
        channel.holdOutput(HOLD_REPLY)
        self.transport.sendPacket(
            MSG_CHANNEL_OPEN,
            NS(channel.name)
            + struct.pack(">3L", number, channel.localWindowSize, channel.localMaxPacket)
            + extra,
        )

    def _awaitedChannel(self, number: int) -> Any:
        """The channel `number`, which has to be one that we are just opening."""
        channel = self.channels.get(number)
        if channel is None or number in self.localToRemoteChannel:
            raise UnexpectedMessage(f"an answer about channel {number}, which was not asked for")
        return channel

    def ssh_CHANNEL_OPEN_CONFIRMATION(self, packet: bytes) -> None:
        """The peer opened the channel that we asked for.

        Payload: uint32 our number, uint32 the peer's, uint32 window, uint32 largest piece of data,
        the rest depends on the type.
        """
        reader = Reader(packet)
        number = reader.u32()
        remoteChannel = reader.u32()
        windowSize = reader.u32()
        maxPacket = reader.u32()
        channel = self._awaitedChannel(number)
        channel.conn = self
        self._addChannel(channel, remoteChannel)
        channel.remoteWindowLeft = windowSize
        channel.remoteMaxPacket = maxPacket
        # What was written before now comes first. If it was closed before, it never was open.
        channel.releaseOutput(HOLD_REPLY)
        if not channel.localClosed:
            channel.channelOpen(reader.rest())

    def ssh_CHANNEL_OPEN_FAILURE(self, packet: bytes) -> None:
        """The peer does not open the channel that we asked for.

        Payload: uint32 our number, uint32 reason, string words, string language.
        """
        reader = Reader(packet)
        number = reader.u32()
        code = reader.u32()
        words = reader.string()
        channel = self._awaitedChannel(number)
        del self.channels[number]
        channel.conn = self
        channel.dropOutput()
        channel.openFailed(ConchError(words, code))

    # ── data ──────────────────────────────────────────────────────────────────────────────────

    def ssh_CHANNEL_WINDOW_ADJUST(self, packet: bytes) -> None:
        """The peer takes more. Payload: uint32 our number, uint32 bytes."""
        try:
            number, count = _CHANNEL_AND_NUMBER.unpack(packet)
        except struct.error:
            raise BadField(f"a window adjustment of {len(packet)} bytes") from None
        channel = self._openChannel(number)
        if channel is not None:
            enlarged(channel.remoteWindowLeft, count)
            channel.addWindowBytes(count)

    def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
        """Data. Payload: uint32 our number, string data."""
        try:
            number, length = _CHANNEL_AND_NUMBER.unpack_from(packet)
        except struct.error:
            raise Truncated("channel data without a channel") from None
        if length != len(packet) - 8:
            raise BadField(f"channel data of {length} bytes in a message of {len(packet)}")
        channel = self.channels.get(number)
        if channel is None or number not in self.localToRemoteChannel:
            self._openChannel(number)
            return
        left = channel.localWindowLeft - length
        if left < 0 or length > channel.localMaxPacket:
            self._tooMuchData(channel, length)
            return
        if channel.inputEnded or not length:
            return
        channel.localWindowLeft = left
        due = creditDue(channel.localWindowSize, left)
        if due and not channel.inputPaused:
            if channel.localWindowSize < channel.localWindowLimit:
                due += self._growWindow(channel, due)
            self.adjustWindow(channel, due)
        channel.dataReceived(bytes(packet[8:]))

    def ssh_CHANNEL_EXTENDED_DATA(self, packet: bytes) -> None:
        """Data of another kind. Payload: uint32 our number, uint32 type, string data."""
        try:
            number, dataType, length = _CHANNEL_TYPE_AND_LENGTH.unpack_from(packet)
        except struct.error:
            raise Truncated("extended data without a channel") from None
        if length != len(packet) - 12:
            raise BadField(f"extended data of {length} bytes in a message of {len(packet)}")
        channel = self._openChannel(number)
        if channel is None:
            return
        left = channel.localWindowLeft - length
        if left < 0 or length > channel.localMaxPacket:
            self._tooMuchData(channel, length)
            return
        if channel.inputEnded or not length:
            return
        channel.localWindowLeft = left
        due = creditDue(channel.localWindowSize, left)
        if due and not channel.inputPaused:
            self.adjustWindow(channel, due)
        channel.extReceived(dataType, bytes(packet[12:]))

    def _growWindow(self, channel: Any, taken: int) -> int:
        """How many bytes to grant beyond what was used: on a long path the window grows."""
        clock = getattr(self.transport, "clock", None)
        roundTripSeconds = getattr(self.transport, "roundTripSeconds", None)
        if clock is None or roundTripSeconds is None:
            return 0
        now = clock.seconds()
        before, channel.lastGrant = channel.lastGrant, now
        if before is None:
            return 0
        size: int = channel.localWindowSize
        limit = min(channel.localWindowLimit, size + self._windowGrowthLeft)
        more = grownWindow(size, limit, taken, now - before, roundTripSeconds()) - size
        channel.localWindowSize += more
        channel.localWindowGrowth += more
        self._windowGrowthLeft -= more
        return more

    def _tooMuchData(self, channel: Any, length: int) -> None:
        """The peer sent more than it may: the channel is of no use any more."""
        if channel.localClosed:
            return
        if self.mayLogRefusal():
            self._log.error(
                "channel {number}: {length} bytes of data, with {left} left of the window and at"
                " most {largest} in a message; closing it",
                number=channel.id,
                length=length,
                left=channel.localWindowLeft,
                largest=channel.localMaxPacket,
            )
        channel.dropOutput()
        self.sendClose(channel)

    def ssh_CHANNEL_EOF(self, packet: bytes) -> None:
        """The peer sends no more data on a channel. Payload: uint32 our number."""
        channel = self._readChannel(packet)
        if channel is not None and not channel.inputEnded:
            channel.inputEnded = True
            channel.eofReceived()

    def ssh_CHANNEL_CLOSE(self, packet: bytes) -> None:
        """The peer closes a channel; it takes no more data. Payload: uint32 our number."""
        channel = self._readChannel(packet)
        if channel is None:
            return
        channel.dropOutput()
        channel.closeReceived()
        channel.remoteClosed = True
        if channel.localClosed:
            self.channelClosed(channel)
        else:
            # RFC 4254 section 5.3: a CLOSE is answered, whatever the application does about it.
            self.sendClose(channel)

    def adjustWindow(self, channel: Any, bytesToAdd: int) -> None:
        """Let the peer send `bytesToAdd` bytes more on the channel."""
        if channel.localClosed or channel not in self.channelsToRemoteChannel:
            return
        self.transport.sendPacket(
            MSG_CHANNEL_WINDOW_ADJUST,
            _CHANNEL_AND_NUMBER.pack(self.channelsToRemoteChannel[channel], bytesToAdd),
        )
        channel.localWindowLeft += bytesToAdd

    def sendData(self, channel: Any, data: bytes) -> None:
        """Send one message of data, at once; `SSHChannel.write` minds the window."""
        if channel.localClosed:
            return
        head = _CHANNEL_AND_NUMBER.pack(self.channelsToRemoteChannel[channel], len(data))
        transport = self.transport
        if len(data) >= JOIN_BELOW and hasattr(transport, "sendWithData"):
            transport.sendWithData(MSG_CHANNEL_DATA, head, data)
        else:
            transport.sendPacket(MSG_CHANNEL_DATA, b"".join((head, data)))

    def sendExtendedData(self, channel: Any, dataType: int, data: bytes) -> None:
        """Send one message of extended data, at once and whatever the window."""
        if channel.localClosed:
            return
        remoteChannel = self.channelsToRemoteChannel[channel]
        self.transport.sendPacket(
            MSG_CHANNEL_EXTENDED_DATA,
            b"".join((_CHANNEL_TYPE_AND_LENGTH.pack(remoteChannel, dataType, len(data)), data)),
        )

    def sendEOF(self, channel: Any) -> None:
        """Say, once, that no more data comes; behind all that was written before."""
        if not channel.localClosed and channel.endOutput():
            channel.whenOutputIsSent(lambda: self._sendEOFNow(channel))

    def _sendEOFNow(self, channel: Any) -> None:
        if not channel.localClosed and channel in self.channelsToRemoteChannel:
            self.transport.sendPacket(
                MSG_CHANNEL_EOF, _CHANNEL.pack(self.channelsToRemoteChannel[channel])
            )

    # ── closing ───────────────────────────────────────────────────────────────────────────────

    def sendClose(self, channel: Any) -> None:
        """Close the channel from our side: at once, or when all that was written is on its way."""
        if channel.localClosed:
            return
        if channel not in self.channelsToRemoteChannel or channel.outputPending:
            # Not open yet, or not done yet. It comes back here when it is.
            channel.closing = 1
            return
        self.transport.sendPacket(
            MSG_CHANNEL_CLOSE, _CHANNEL.pack(self.channelsToRemoteChannel[channel])
        )
        channel.localClosed = True
        channel.dropOutput()
        if channel.remoteClosed:
            self.channelClosed(channel)
        else:
            self._awaitClose(channel)

    def _awaitClose(self, channel: Any) -> None:
        clock = getattr(self.transport, "clock", None)
        if clock is not None:
            self._closeTimers[channel] = clock.callLater(
                self.closeTimeoutSeconds, self._closeTimedOut, channel
            )

    def _closeTimedOut(self, channel: Any) -> None:
        self._closeTimers.pop(channel, None)
        if self.mayLogRefusal():
            self._log.info("channel {number}: CLOSE was never answered", number=channel.id)
        self.channelClosed(channel)

    def channelClosed(self, channel: Any) -> None:
        """The channel is closed both ways, or will never be: forget it, and tell it by `closed`.

        Requests that wait for an answer fail with ConchError. Nothing happens for a channel that is
        not open.
        """
        if channel not in self.channelsToRemoteChannel:
            return
        channel.localClosed = channel.remoteClosed = True
        number = channel.id
        del self.channelsToRemoteChannel[channel]
        self.localToRemoteChannel.pop(number, None)
        self.channels.pop(number, None)
        self._sessionIds.discard(number)
        self._channelReplies.pop(number, None)
        self._windowGrowthLeft += channel.localWindowGrowth
        timer = self._closeTimers.pop(channel, None)
        if timer is not None:
            timer.cancel()
        self._guarded(channel.connectionEnded)
        for deferred in self.deferreds.pop(number, []):
            deferred.errback(ConchError("Channel closed."))
        channel.closed()

    # ── requests on a channel ─────────────────────────────────────────────────────────────────

    def ssh_CHANNEL_REQUEST(self, packet: bytes) -> defer.Deferred[Any] | None:
        """The peer asks for something on a channel.

        Payload: uint32 our number, string name, boolean want reply, the rest depends on the name.

        Returns:
            If a reply is wanted, a Deferred that fires when it was given; else None.
        """
        reader = Reader(packet)
        number = reader.u32()
        requestType = reader.string()
        wantReply = reader.boolean()
        data = reader.rest()
        channel = self._openChannel(number)
        if channel is None or (channel.localClosed and requestType not in STATUS_REQUESTS):
            # What has been closed starts nothing any more. How a program ended may come yet.
            return None
        if not wantReply:
            deferred = defer.maybeDeferred(self._request, channel, requestType, data)
            deferred.addErrback(self._requestFailed, requestType)
            return None
        replies = self._channelReplies.get(number)
        if replies is None:
            replies = self._channelReplies[number] = OrderedReplies()
        ticket = replies.ask()
        # What the request sets off may write at once; the peer learns of its success first.
        channel.holdOutput(HOLD_REPLY)
        deferred = defer.maybeDeferred(self._request, channel, requestType, data)
        deferred.addErrback(self._requestFailed, requestType)
        deferred.addCallback(self._cbChannelRequest, number, ticket)
        deferred.addErrback(self._ebChannelRequest, number, ticket)
        return deferred

    def _restrictions(self) -> Restrictions | None:
        """What the client's login still allows; None where it has no restrictions."""
        restrictions: Restrictions | None = getattr(self.transport, "restrictions", None)
        return None if restrictions == UNRESTRICTED else restrictions

    def _request(self, channel: Any, requestType: bytes, data: bytes) -> Any:
        """Let the channel decide about a request, as far as the client's login allows it at all."""
        restrictions = self._restrictions()
        if restrictions is not None:
            if not allowsRequest(restrictions, requestType):
                return 0
            avatar = getattr(self.transport, "avatar", None)
            if not getattr(avatar, "obeysRestrictions", False):
                forced = forcedRequest(restrictions, requestType, data)
                if forced is None:
                    return 0
                requestType, data = forced
        return channel.requestReceived(requestType, data)

    def _requestFailed(self, failure: Failure, requestType: bytes) -> int:
        if failure.check(WireError, ConchError) is None and self.mayLogRefusal():
            self._log.failure(
                "channel request {requestType!r} failed", failure, requestType=requestType
            )
        return 0

    def _cbChannelRequest(
        self, result: Any, localChannel: int, ticket: Ticket[bool] | None = None
    ) -> None:
        """A request was decided about: send the answer, success if `result` is true."""
        self._answerRequest(localChannel, ticket, bool(result))

    def _ebChannelRequest(
        self, failure: Failure, localChannel: int, ticket: Ticket[bool] | None = None
    ) -> None:
        """A request could not be decided about: it is refused."""
        self._log.failure("a channel request could not be answered", failure)
        self._answerRequest(localChannel, ticket, False)

    def _answerRequest(self, localChannel: int, ticket: Ticket[bool] | None, success: bool) -> None:
        channel = self.channels.get(localChannel)
        remoteChannel = self.localToRemoteChannel.get(localChannel)
        if channel is None or remoteChannel is None or channel.localClosed:
            return  # closed meanwhile: nobody waits for the answer
        ready = [success]
        replies = self._channelReplies.get(localChannel)
        if ticket is not None and replies is not None:
            ready = replies.settle(ticket, success)
        for succeeded in ready:
            self.transport.sendPacket(
                MSG_CHANNEL_SUCCESS if succeeded else MSG_CHANNEL_FAILURE,
                _CHANNEL.pack(remoteChannel),
            )
        if not replies:
            channel.releaseOutput(HOLD_REPLY)

    def sendRequest(
        self, channel: Any, requestType: bytes, data: bytes, wantReply: int | bool = 0
    ) -> defer.Deferred[Any] | None:
        """Ask the peer for something on a channel.

        `STATUS_REQUESTS` go out behind all that was written; the others at once.

        Returns:
            With `wantReply` a Deferred that fires with "", or fails with ConchError when the
            request is refused or the channel closes; not cancellable. None otherwise, and for a
            channel that we have closed.
        """
        if channel.localClosed:
            return None
        if requestType in STATUS_REQUESTS and not wantReply:
            channel.whenOutputIsSent(lambda: self._sendRequestNow(channel, requestType, data))
            return None
        deferred: defer.Deferred[Any] | None = defer.Deferred() if wantReply else None
        self._sendRequestNow(channel, requestType, data, deferred)
        return deferred

    def _sendRequestNow(
        self,
        channel: Any,
        requestType: bytes,
        data: bytes,
        deferred: defer.Deferred[Any] | None = None,
    ) -> None:
        if channel.localClosed or channel not in self.channelsToRemoteChannel:
            if deferred is not None:
                deferred.errback(ConchError("The channel is not open."))
            return
        self.transport.sendPacket(
            MSG_CHANNEL_REQUEST,
            u32(self.channelsToRemoteChannel[channel])
            + NS(requestType)
            + (b"\x00" if deferred is None else b"\x01")
            + data,
        )
        if deferred is not None:
            self.deferreds.setdefault(channel.id, []).append(deferred)

    def ssh_CHANNEL_SUCCESS(self, packet: bytes) -> None:
        """The oldest request on a channel succeeded; an answer to nothing is ignored.

        Payload: uint32 our number.
        """
        channel = self._readChannel(packet)
        if channel is not None and self.deferreds.get(channel.id):
            self.deferreds[channel.id].pop(0).callback("")

    def ssh_CHANNEL_FAILURE(self, packet: bytes) -> None:
        """The oldest request on a channel was refused; an answer to nothing is ignored.

        Payload: uint32 our number.
        """
        channel = self._readChannel(packet)
        if channel is not None and self.deferreds.get(channel.id):
            self.deferreds[channel.id].pop(0).errback(ConchError("channel request failed"))
