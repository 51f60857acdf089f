"""A stream `Protocol` at this end of a program far away: its output comes in, its input goes out.

Rule: the protocol's transport is the channel, so all that a transport can (producers, half-close by
the peer, addresses) works as always. How the program ended is the reason of `connectionLost`:

    CommandSucceeded    exit status 0; it is a ConnectionDone with `exitCode` 0
    ProcessTerminated   another exit status, or a signal
    ConnectionDone      closed, and nobody said how the program ended
    ConnectionLost      the connection was gone first
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet import defer, error
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure

from limpet.client.errors import ClientError, ConnectionEnded
from limpet.client.programs import Ending, Program, ProgramChannel


class CommandSucceeded(error.ConnectionDone):
    """The program ended with status 0. As Conch has it a clean close; and known to be a success.

    Attributes:
        exitCode: 0.
        signal: None.
    """

    exitCode = 0
    signal = None
    status = 0


def reasonFor(ending: Ending) -> Exception:
    """What `connectionLost` is told of a program's end."""
    if ending.exitSignal is not None:
        # A signal that this machine does not have is -1, as in Conch.
        number = getattr(signal, f"SIG{ending.exitSignal.partition('@')[0]}", -1)
        return error.ProcessTerminated(signal=int(number))
    if ending.exitStatus:
        return error.ProcessTerminated(exitCode=ending.exitStatus)
    if ending.exitStatus == 0:
        return CommandSucceeded()
    if ending.lost:
        return error.ConnectionLost("the SSH connection was lost")
    return error.ConnectionDone("ssh channel closed")


class StreamReceiver:
    """Connects a protocol to a program.

    The protocol may have `errReceived(data)`, which gets the program's standard error; otherwise
    that is dropped.

    Args:
        program: What to run.
        protocol: The protocol, or a function of no arguments that makes it once the program runs.

    Attributes:
        channel: The channel to open.
        connected: A Deferred of the connected protocol; fails with a `ClientError`; may be
            cancelled, which closes the channel.
    """

    channelClass: type[ProgramChannel] = ProgramChannel

    def __init__(self, program: Program, protocol: Any) -> None:
        self.channel = self.channelClass(program, self)
        self.connected: defer.Deferred[Any] = defer.Deferred(self._cancelled)
        self.protocol = protocol
        self._program = program
        self._isConnected = False
        self._early: list[tuple[bool, bytes]] = []

    def _cancelled(self, ignored: Any) -> None:
        self.channel.abortConnection()

    def makeProtocol(self) -> Any:
        """The protocol, when the program has started."""
        return self.protocol

    def programAsked(self) -> None:
        """The protocol writes once it is connected."""

    def programStarted(self) -> None:
        if self.connected.called:
            self.channel.abortConnection()
            return
        # Before the protocol has a say in it.
        self.channel.resumeProducing()
        protocol = self.protocol = self.makeProtocol()
        if protocol is None:
            self.channel.abortConnection()
            self.connected.errback(error.ConnectingCancelledError(self.channel.getPeer()))
            return
        self._isConnected = True
        protocol.makeConnection(self.channel)
        early, self._early = self._early, []
        for isError, data in early:
            (self.errorReceived if isError else self.outputReceived)(data)
        self.connected.callback(protocol)

    def programRefused(self, why: ClientError) -> None:
        if not self.connected.called:
            self.connected.errback(why)

    def outputReceived(self, data: bytes) -> None:
        if self._isConnected:
            self.protocol.dataReceived(data)
        else:
            self._wait(False, data)

    def errorReceived(self, data: bytes) -> None:
        if not self._isConnected:
            self._wait(True, data)
            return
        receive = getattr(self.protocol, "errReceived", None)
        if receive is not None:
            receive(data)

    def _wait(self, isError: bool, data: bytes) -> None:
        """Keep what comes before anybody can take it, and let no more come than one window."""
        self._early.append((isError, data))
        self.channel.pauseProducing()

    def outputEnded(self) -> None:
        if self._isConnected and IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()

    def outputPaused(self, paused: bool) -> None:
        """The channel pauses the producer by itself."""

    def programEnded(self, ending: Ending) -> None:
        if self._isConnected:
            self._isConnected = False
            self.protocol.connectionLost(Failure(reasonFor(ending)))
        elif not self.connected.called:
            self.connected.errback(
                ConnectionEnded(f"the connection ended before {self._program} was started")
            )
