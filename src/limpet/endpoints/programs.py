"""Endpoints that run a program far away: connect one to a protocol, and its output comes in.

    endpoint = SSHCommandClientEndpoint.newConnection(reactor, b"uptime", b"user", b"host")
    protocol = yield endpoint.connect(Factory.forProtocol(Collector))

Rule: the protocol's transport is the channel, `transport.conn` its connection, and the reason of
its `connectionLost` how the program ended (`limpet.client.streams` lists the reasons). A protocol
that has `errReceived` gets the program's standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet.client.programs import EXEC, SHELL, SUBSYSTEM, Ending, Program, Terminal
from limpet.client.streams import StreamReceiver
from limpet.endpoints.creation import ExistingConnection, NewConnection
from limpet.ssh.keys import Key


class SSHCommandAddress:
    """The address of a program far away.

    Attributes:
        server: The address of the SSH server, as the transport below has it.
        username: Who runs it.
        command: What runs.
    """

    def __init__(self, server: Any, username: Any, command: Any) -> None:
        self.server = server
        self.username = username
        self.command = command

    def __repr__(self) -> str:
        return f"SSHCommandAddress({self.server!r}, {self.username!r}, {self.command!r})"


class _EndpointReceiver(StreamReceiver):
    """A program for one `connect` of an endpoint: makes its protocol, and cleans up behind it."""

    def __init__(
        self, program: Program, protocolFactory: Any, creator: Any, connection: Any
    ) -> None:
        super().__init__(program, None)
        self._connection = connection
        self._factory = protocolFactory
        self._creator = creator

    def makeProtocol(self) -> Any:
        transport = self.channel.conn.transport
        creator = getattr(transport, "creator", None) or self._creator
        user = getattr(creator, "username", None)
        command = self._program.command
        below = getattr(transport, "transport", None)
        server = below.getPeer() if below is not None else None
        return self._factory.buildProtocol(SSHCommandAddress(server, user, command))

    def _cancelled(self, ignored: Any) -> None:
        super()._cancelled(ignored)
        self._cleanUp(True)

    def programRefused(self, why: Any) -> None:
        self._cleanUp(False)
        super().programRefused(why)

    def programEnded(self, ending: Ending) -> None:
        self._cleanUp(False)
        super().programEnded(ending)

    def _cleanUp(self, immediate: bool) -> None:
        creator, self._creator = self._creator, None
        if creator is not None:
            creator.cleanupConnection(self._connection, immediate)


class _ProgramEndpoint:
    """What the endpoints for programs have in common."""

    def __init__(self, creator: Any, program: Program) -> None:
        self._creator = creator
        self._program = program

    def connect(self, protocolFactory: Any) -> defer.Deferred[Any]:
        """Run the program, and connect a protocol to it.

        Returns:
            A Deferred of the protocol. It fails where no connection comes about, with
            `AuthenticationFailed` where the server does not let the user in, and with
            `RequestRefused` where it does not run the program. It may be cancelled.
        """
        creator = self._creator
        securing: defer.Deferred[Any] = defer.maybeDeferred(creator.secureConnection)

        def secured(connection: Any) -> Any:
            receiver = _EndpointReceiver(self._program, protocolFactory, creator, connection)
            try:
                connection.openChannel(receiver.channel)
            except Exception:  # noqa: BLE001 the caller hears of it, and nothing stays behind
                creator.cleanupConnection(connection, True)
                return Failure()
            return receiver.connected

        return securing.addCallback(secured)


@implementer(IStreamClientEndpoint)
class SSHCommandClientEndpoint(_ProgramEndpoint):
    """Runs a command.

    Args:
        creator: Provides the connection (`NewConnection`, `ExistingConnection`).
        command: The command line, as bytes.
        environment: Variables to set, as bytes; servers take few.
        terminal: The terminal to run it in; None for pipes.
    """

    def __init__(
        self,
        creator: Any,
        command: bytes,
        *,
        environment: dict[bytes, bytes] | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        super().__init__(creator, Program(EXEC, command, environment or {}, terminal))

    @classmethod
    def newConnection(
        cls,
        reactor: Any,
        command: bytes,
        username: bytes,
        hostname: bytes,
        port: int | None = None,
        keys: Sequence[Key] | None = None,
        password: bytes | None = None,
        agentEndpoint: Any = None,
        knownHosts: Any = None,
        ui: Any = None,
    ) -> SSHCommandClientEndpoint:
        """An endpoint that makes a connection of its own for each command.

        Args:
            reactor: Provides IReactorTCP, IReactorTime and IReactorPluggableNameResolver.
            command: The command line.
            username: Who logs in.
            hostname: The host.
            port: Its port; None for 22.
            keys: Private keys to log in with.
            password: A password to log in with.
            agentEndpoint: Where an agent is, an `IStreamClientEndpoint`; its keys are tried, too.
            knownHosts: Who vouches for the host: a `KnownHostsFile`, the path of one, or None for
                the user's.
            ui: Whom to ask about a host that is not known: an object with `prompt` and `warn`.
                None asks on /dev/tty, and takes no where there is none.
        """
        helper = NewConnection(
            reactor,
            hostname,
            port,
            command,
            username,
            keys,
            password,
            agentEndpoint,
            knownHosts,
            ui,
        )
        return cls(helper, command)

    @classmethod
    def existingConnection(cls, connection: Any, command: bytes) -> SSHCommandClientEndpoint:
        """An endpoint that runs commands on a connection that is there, and leaves it there.

        Args:
            connection: An `SSHConnection` that is logged in, such as `protocol.transport.conn` of a
                protocol that another endpoint connected.
            command: The command line.
        """
        return cls(ExistingConnection(connection), command)


@implementer(IStreamClientEndpoint)
class SSHSubsystemClientEndpoint(_ProgramEndpoint):
    """Starts a subsystem, such as b"sftp" or b"netconf".

    Args:
        creator: Provides the connection (`NewConnection`, `ExistingConnection`).
        subsystem: Its name, as bytes.
    """

    def __init__(self, creator: Any, subsystem: bytes) -> None:
        super().__init__(creator, Program(SUBSYSTEM, subsystem))

    @classmethod
    def newConnection(
        cls, reactor: Any, subsystem: bytes, username: bytes, hostname: bytes, **arguments: Any
    ) -> SSHSubsystemClientEndpoint:
        """As `SSHCommandClientEndpoint.newConnection`, with a subsystem in place of a command."""
        return cls(_newConnection(reactor, subsystem, username, hostname, **arguments), subsystem)

    @classmethod
    def existingConnection(cls, connection: Any, subsystem: bytes) -> SSHSubsystemClientEndpoint:
        """As `SSHCommandClientEndpoint.existingConnection`."""
        return cls(ExistingConnection(connection), subsystem)


@implementer(IStreamClientEndpoint)
class SSHShellClientEndpoint(_ProgramEndpoint):
    """Starts the user's shell.

    Args:
        creator: Provides the connection (`NewConnection`, `ExistingConnection`).
        terminal: The terminal to run it in; None for pipes.
        environment: Variables to set, as bytes; servers take few.
    """

    def __init__(
        self,
        creator: Any,
        terminal: Terminal | None = None,
        environment: dict[bytes, bytes] | None = None,
    ) -> None:
        super().__init__(creator, Program(SHELL, b"", environment or {}, terminal))

    @classmethod
    def newConnection(
        cls,
        reactor: Any,
        username: bytes,
        hostname: bytes,
        *,
        terminal: Terminal | None = None,
        **arguments: Any,
    ) -> SSHShellClientEndpoint:
        """As `SSHCommandClientEndpoint.newConnection`, without a command."""
        return cls(_newConnection(reactor, b"", username, hostname, **arguments), terminal)

    @classmethod
    def existingConnection(
        cls, connection: Any, *, terminal: Terminal | None = None
    ) -> SSHShellClientEndpoint:
        """As `SSHCommandClientEndpoint.existingConnection`."""
        return cls(ExistingConnection(connection), terminal)


def _newConnection(
    reactor: Any,
    command: bytes,
    username: bytes,
    hostname: bytes,
    port: int | None = None,
    keys: Sequence[Key] | None = None,
    password: bytes | None = None,
    agentEndpoint: Any = None,
    knownHosts: Any = None,
    ui: Any = None,
) -> NewConnection:
    return NewConnection(
        reactor, hostname, port, command, username, keys, password, agentEndpoint, knownHosts, ui
    )
