"""An agent of the person at this machine: its socket, who may connect, and whom it asks.

Rule: the socket is its owner's, and each connection is asked by the kernel whose it is. A key that
wants to be confirmed is used only when the program that asks the person ends well.

    limpet agent ──▶ LocalAgent ──▶ AgentSocket ──▶ SSHAgentServer, one per connection
                        └─ confirm ──▶ SSH_ASKPASS
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.core.agentkeys import Approval, KeyStore
from limpet.core.signables import Use
from limpet.ssh.agent import SSHAgentFactory, SSHAgentServer
from limpet.unix.accounts import Account
from limpet.unix.agentsocket import AgentSocket

MAX_CONNECTIONS = 256
"""Connections to an agent at a time (ours)."""

CONFIRM_SECONDS = 120.0
"""How long a person may think about it (ours)."""

_MAX_SHOWN = 200

_log = Logger()


class LocalConnection(SSHAgentServer):
    """One connection, once it is known to be the agent's owner's."""

    factory: LocalAgent

    def connectionMade(self) -> None:
        """Serve it, if it is not somebody else's and not one too many."""
        if self.factory.admits(self):
            super().connectionMade()
        else:
            self._isOver = True
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        """It is gone."""
        self.factory.connections.discard(self)
        super().connectionLost(reason)


class LocalAgent(SSHAgentFactory):
    """An agent on this machine.

    Args:
        reactor: Provides IReactorFDSet, IReactorTime and IReactorProcess.
        lifetimeSeconds: After which keys are forgotten that come without a time of their own; None
            for never.
        askpass: The program that asks the person about a key, called with a sentence; None where
            there is none, and keys that want to be confirmed are then refused.
        path: Where the socket is to be; None for a directory of its own.

    Attributes:
        connections: Those that are open.

    Raises:
        OSError: The socket cannot be made.
    """

    protocol = LocalConnection

    _log = ClassLogger()

    def __init__(
        self,
        reactor: Any,
        lifetimeSeconds: int | None = None,
        askpass: str | None = None,
        path: str | None = None,
    ) -> None:
        store = KeyStore(defaultLifetimeSeconds=lifetimeSeconds)
        super().__init__(reactor, store, None if askpass is None else self._ask)
        self._askpass = askpass
        self.connections: set[LocalConnection] = set()
        self._socket = AgentSocket(reactor, Account.current(), self, path=path)

    @property
    def path(self) -> str:
        """The socket: what SSH_AUTH_SOCK is to be."""
        return self._socket.path

    def admits(self, connection: LocalConnection) -> bool:
        """Whether a connection is served; it counts from then on."""
        if not self._socket.isFor(connection.transport):
            return False
        if len(self.connections) >= MAX_CONNECTIONS:
            self._log.warn("too many connections to the agent")
            return False
        self.connections.add(connection)
        return True

    def close(self) -> None:
        """End the agent: its socket, its connections, its keys."""
        self._socket.close()
        for connection in tuple(self.connections):
            connection.transport.abortConnection()  # type: ignore[union-attr]
        self.stopFactory()

    def _ask(self, approval: Approval) -> Deferred[bool]:
        return askPerson(self.clock, self._askpass or "", question(approval))


def question(approval: Approval) -> str:
    """What a person is asked about the use of a key."""
    held, what = approval.held, approval.what
    comment = _shown(held.comment) or "without a comment"
    key = f"{comment} ({held.key.displayFingerprint()})"
    if what.use is Use.LOGIN:
        return f"Allow use of key {key} to log in as {_shown(what.user)}?"
    if what.use is Use.FILE:
        return f"Allow use of key {key} to sign a file for {_shown(what.namespace)}?"
    return f"Allow use of key {key} to sign a certificate?"


def _shown(text: bytes) -> str:
    """Words of somebody else's, on one line and without what a terminal acts on."""
    words = text.decode("utf-8", "backslashreplace")[:_MAX_SHOWN]
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in words
    )


class _Asking(ProcessProtocol):
    """One run of the program that asks."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timer: Any = None
        self.verdict: Deferred[bool] = Deferred()

    def connectionMade(self) -> None:
        self.transport.closeStdin()  # type: ignore[union-attr]
        self._timer = self._reactor.callLater(CONFIRM_SECONDS, self._timedOut)

    def _timedOut(self) -> None:
        self._timer = None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def processExited(self, reason: Failure) -> None:
        """That is the answer; what it left running may hold its pipes for as long as it likes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.transport.loseConnection()  # type: ignore[union-attr]
        self.verdict.callback(reason.check(ProcessTerminated) is None)


def askPerson(
    reactor: Any, askpass: str, sentence: str, environment: Mapping[str, str] | None = None
) -> Deferred[bool]:
    """Ask the person by a program that shows a yes and a no.

    Args:
        reactor: Provides IReactorProcess and IReactorTime.
        askpass: The program; it is told by SSH_ASKPASS_PROMPT=confirm that no text is wanted, and
            ends with status 0 for yes (ssh-add(1)).
        sentence: What is asked.
        environment: The program's environment; None for our own.

    Returns:
        A Deferred of whether the person agrees; where there is no such program, nobody does. Not
        cancellable.
    """
    asking = _Asking(reactor)
    variables = dict(os.environ if environment is None else environment)
    variables["SSH_ASKPASS_PROMPT"] = "confirm"
    try:
        reactor.spawnProcess(asking, askpass, [askpass, sentence], env=variables)
    except OSError as failure:
        _log.warn("{path}: {why}; the key is not used", path=askpass, why=failure.strerror)
        return succeed(False)
    return asking.verdict
