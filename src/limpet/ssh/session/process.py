"""The program of a session, seen from both sides: it is the process protocol of the child, and the
transport that leads to the client.

Rule: whatever the way a program ends, the client gets all of its output, then EOF, then exactly one
exit status or exit signal, then CLOSE (RFC 4254 sections 5.3 and 6.10).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, ClassVar

from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import ProcessProtocol
from zope.interface import implementer

from limpet.ssh.session.signals import namelessSignal, signalNames
from limpet.wire.numbers import EXTENDED_DATA_STDERR
from limpet.wire.requests import ExitSignal, ExitStatus

END_OF_WRITE = b"eow@openssh.com"
"""OpenSSH's word that its sender cannot write what it gets any more (its PROTOCOL, section 2.1)."""


@implementer(ITransport, IConsumer, IPushProducer)
class SSHSessionProcessProtocol(ProcessProtocol):
    """Connects a program with an `SSHSession`.

    A spawned process has it as its process protocol. A `Protocol` that plays a program has it as
    its transport: what it writes goes to the client, and it ends by calling `processEnded` or,
    without a status, `loseConnection`.

    Args:
        session: The `SSHSession`.

    Attributes:
        session: The same.
        transport: The process's transport, to which the client's data goes.
    """

    _signalValuesToNames: ClassVar[dict[int, str] | None] = None

    def __init__(self, session: Any) -> None:
        self.session = session
        self._outLost = False
        self._errLost = False
        self._eofSent = False
        self._ended = False
        self._coupled = False

    # ── the process protocol of the child ─────────────────────────────────────────────────────

    def connectionMade(self) -> None:
        """The program runs: give it what the client has sent already, and mind its pace."""
        self._couple()
        # Before the early data is written, which may be enough to pause the session again.
        self.session.inputWanted()
        early = self.session.buf
        if early:
            self.session.buf = b""
            self.transport.write(early)  # type: ignore[union-attr]

    def _couple(self) -> None:
        """A child that reads slowly pauses the session, which then withholds window."""
        register = getattr(self.transport, "registerProducer", None)
        if register is not None and not self._coupled:
            self._coupled = True
            register(self.session, True)

    def uncouple(self) -> None:
        """No more input comes for the child, so that its transport may finish."""
        if self._coupled:
            self._coupled = False
            unregister = getattr(self.transport, "unregisterProducer", None)
            if unregister is not None:
                unregister()

    def outReceived(self, data: bytes) -> None:
        """The program wrote to its standard output."""
        self.session.write(data)

    def errReceived(self, data: bytes) -> None:
        """The program wrote to its standard error."""
        self.session.writeExtended(EXTENDED_DATA_STDERR, data)

    def inConnectionLost(self) -> None:
        """The program closed its input; it may well go on to write."""

    def outputUnwanted(self) -> None:
        """The client reads no more of the program's standard output, which therefore is closed.

        Not that of a terminal, which is its input and standard error as well.
        """
        close = getattr(self.transport, "closeStdout", None)
        if close is not None and not getattr(self.transport, "isTerminal", False):
            close()

    def outConnectionLost(self) -> None:
        """The program closed its standard output; EOF follows when both outputs are closed."""
        self._outLost = True
        if self._errLost:
            self._sendEOF()

    def errConnectionLost(self) -> None:
        """The program closed its standard error; EOF follows when both outputs are closed."""
        self._errLost = True
        if self._outLost:
            self._sendEOF()

    def _sendEOF(self) -> None:
        if not self._eofSent and self.session.conn is not None:
            self._eofSent = True
            self.session.conn.sendEOF(self.session)

    def connectionLost(self, reason: Any = None) -> None:
        """There is nothing more to come, and no status either: close the session."""
        self.session.loseConnection()

    def processEnded(self, reason: Any = None) -> None:
        """The program ended: tell the client how, behind all of its output, and close the session.

        The first call counts. Nothing that `reason` holds makes it fail.

        Args:
            reason: A Failure, or anything whose `value` has `exitCode`, `signal` and `status` as a
                `ProcessTerminated` has; None to close without a status.
        """
        if self._ended:
            return
        self._ended = True
        error = getattr(reason, "value", None)
        signalled = getattr(error, "signal", None)
        exitCode = getattr(error, "exitCode", None)
        if signalled is not None:
            name = self._getSignalName(signalled).removeprefix("SIG").encode("ascii", "replace")
            dumped = _coreDumped(getattr(error, "status", None))
            self._sendStatus(b"exit-signal", ExitSignal(name, dumped).encode())
        elif exitCode is not None:
            self._sendStatus(b"exit-status", ExitStatus(_asStatus(exitCode)).encode())
        self.session.loseConnection()

    def sendNormalEnd(self) -> None:
        """Send what a program sends that exits with status 0, if no end was sent yet."""
        if not self._ended:
            self._ended = True
            self._sendStatus(b"exit-status", ExitStatus(0).encode())

    def _sendStatus(self, requestType: bytes, body: bytes) -> None:
        self._sendEOF()
        if self.session.conn is not None:
            self.session.conn.sendRequest(self.session, requestType, body)

    def _getSignalName(self, signum: int) -> str:
        """A signal's name: "SIGTERM", "SIGBUS@linux", "SIGRT35@linux"."""
        names = self._signalValuesToNames
        if names is None:
            names = signalNames()
            # On the instance, so that a test or an application that changes signals starts anew.
            self._signalValuesToNames = names  # type: ignore[misc]
        return names.get(signum) or namelessSignal(signum)

    # ── the transport to the client ───────────────────────────────────────────────────────────

    def write(self, data: bytes) -> None:
        """Send `data` to the client, as standard output."""
        self.session.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send the pieces of `data` as one."""
        self.session.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the session behind all that was written."""
        self.session.loseConnection()

    def getPeer(self) -> IAddress:
        """The client's address, as the SSH transport knows it."""
        address: IAddress = self.session.conn.transport.getPeer()
        return address

    def getHost(self) -> IAddress:
        """Our address, as the SSH transport knows it."""
        address: IAddress = self.session.conn.transport.getHost()
        return address

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause `producer` while the session's output waits: `SSHChannel.registerProducer`."""
        self.session.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """The producer has produced all it has."""
        self.session.unregisterProducer()

    def pauseProducing(self) -> None:
        """Withhold window from the client: `SSHChannel.pauseProducing`."""
        self.session.pauseProducing()

    def resumeProducing(self) -> None:
        """Grant the client window again."""
        self.session.resumeProducing()

    def stopProducing(self) -> None:
        """What the client sends is not wanted any more."""
        self.session.stopProducing()


class SubsystemProcessProtocol(SSHSessionProcessProtocol):
    """The same for a subsystem played by a `Protocol`: closing its transport is a normal end.

    Clients take a session without an exit status for one that broke.
    """

    def inputEnded(self) -> bool:
        """The client sends no more: tell a protocol that is half-closeable, which ends by itself.

        Returns:
            Whether it is one, an `IHalfCloseableProtocol`; for any other this is the end.
        """
        protocol: Any = getattr(self.transport, "proto", None)
        halfCloseable: Any = IHalfCloseableProtocol(protocol, None)
        if halfCloseable is None:
            return False
        halfCloseable.readConnectionLost()
        return True

    def loseConnection(self) -> None:
        self.sendNormalEnd()
        self.session.loseConnection()


def _asStatus(exitCode: Any) -> int:
    """An exit code as the uint32 of the wire; what is none counts as 255, a failure."""
    try:
        return int(exitCode) & 0xFFFFFFFF
    except (TypeError, ValueError):
        return 255


def _coreDumped(status: Any) -> bool:
    """Whether a wait status says that a core image was written."""
    dumped = getattr(os, "WCOREDUMP", None)
    if dumped is None or not isinstance(status, int):
        return False
    try:
        return bool(dumped(status))
    except OverflowError:
        return False
