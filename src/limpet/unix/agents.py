"""Agent forwarding for one login: a socket here, behind it the agent of the person at the client.

Rule: a program of the session's user connects, and the client is asked for a channel to its agent;
bytes go through unread, both ways, and neither side is read faster than the other takes it. The
socket ends with the login.

    ssh, git, ssh-add ─► AgentSocket ─► _LocalConnection ⇄ _AgentChannel ─► client ─► its agent

The socket has to be there before the session's program is, which no later answer of a client's can
see to: all of it happens at once, within the request. OpenSSH's PROTOCOL, section 2.1 (there as
auth-agent-req@openssh.com); attack table L6, L7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.unix.accounts import Account
from limpet.unix.agentsocket import AgentSocket

MAX_CONNECTIONS = 16
"""Connections to its agent that one login may have at a time (ours)."""

CHANNEL_TYPE = b"auth-agent@openssh.com"


class _AgentChannel(SSHChannel):
    """The way to the client's agent, for one connection."""

    name = CHANNEL_TYPE

    def __init__(self, local: _LocalConnection) -> None:
        super().__init__()
        self._local = local

    def openFailed(self, reason: Any) -> None:
        """The client has no agent for us."""
        self._local.end()

    def dataReceived(self, data: bytes) -> None:
        """The agent answers."""
        self._local.send(data)

    def eofReceived(self) -> None:
        """The agent is done, and so is the connection; the client may leave the CLOSE to us."""
        self._local.end()
        self.unregisterProducer()
        self.loseConnection()

    def closed(self) -> None:
        """The channel is closed."""
        self._local.end()


@implementer(IHalfCloseableProtocol)
class _LocalConnection(Protocol):
    """A program's connection to what it takes for an agent."""

    factory: ForwardedAgent
    transport: Any

    def __init__(self) -> None:
        self._channel: _AgentChannel | None = None
        self._counts = False

    def connectionMade(self) -> None:
        """Let the client connect us to its agent, if this is somebody who may ask for that."""
        if not self.factory.admits(self):
            self.transport.abortConnection()
            return
        self._counts = True
        channel = self._channel = _AgentChannel(self)
        channel.registerProducer(self.transport, True)
        self.transport.registerProducer(channel, True)
        self.factory.conn.openChannel(channel)

    def dataReceived(self, data: bytes) -> None:
        """A request."""
        if self._channel is not None:
            self._channel.write(data)

    def readConnectionLost(self) -> None:
        """The program asks nothing more, and may well wait for an answer."""
        channel = self._channel
        if channel is None:
            self.transport.loseConnection()
            return
        # It must not be told to go on reading: it would read its end again.
        channel.unregisterProducer()
        self.factory.conn.sendEOF(channel)

    def writeConnectionLost(self) -> None:
        """Never by itself."""

    def send(self, data: bytes) -> None:
        """An answer."""
        self.transport.write(data)

    def end(self) -> None:
        """There is no agent any more."""
        self._channel = None
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The program is done."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.unregisterProducer()
            channel.loseConnection()
        if self._counts:
            self._counts = False
            self.factory.connections.discard(self)


class ForwardedAgent(Factory):
    """The agent that a client lends to one login.

    Args:
        reactor: Provides IReactorFDSet.
        account: Whose programs may use it.
        conn: The `SSHConnection` of the login.

    Attributes:
        path: The socket's path: what SSH_AUTH_SOCK is to be.
        connections: Those that are open.

    Raises:
        ConchError: There is no place for the socket.
    """

    protocol: Callable[..., Any] = _LocalConnection
    noisy = False

    _log = ClassLogger()

    def __init__(self, reactor: Any, account: Account, conn: Any) -> None:
        self.conn = conn
        self.connections: set[_LocalConnection] = set()
        try:
            self._socket = AgentSocket(reactor, account, self)
        except OSError as failure:
            raise ConchError(f"no socket for an agent: {failure.strerror}") from failure

    @property
    def path(self) -> str:
        return self._socket.path

    def admits(self, connection: _LocalConnection) -> bool:
        """Whether a connection is the user's, and not one too many; it counts from then on."""
        if not self._socket.isFor(connection.transport):
            return False
        if len(self.connections) >= MAX_CONNECTIONS:
            mayLog = getattr(self.conn, "mayLogRefusal", None)
            if mayLog is None or mayLog():
                self._log.info("{path}: too many connections to the agent", path=self.path)
            return False
        self.connections.add(connection)
        return True

    def close(self) -> None:
        """The login is over: remove the socket, end what is connected."""
        self._socket.close()
        for connection in tuple(self.connections):
            connection.end()
