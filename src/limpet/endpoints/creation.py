"""Where an endpoint's SSH connection comes from: made for it, or there already.

Rule: a connection that was made for one program ends with it; one that was there stays.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath
from zope.interface import Interface, implementer

from limpet.client.agent import SSHAgentClient
from limpet.client.authenticating import Credentials
from limpet.client.config import DEFAULT_PORT, ClientConfig, loadClientConfig
from limpet.client.connecting import ClientConnection, connect
from limpet.client.errors import ConnectFailed, HandshakeFailed
from limpet.client.hostpolicy import DocumentedKnownHosts, HostKeyPolicy, KnownHostsPolicy
from limpet.client.knownhosts import ConsoleUI, KnownHostsFile
from limpet.ssh.keys import Key


class ClosedTooEarly(HandshakeFailed, ConnectionDone):
    """The server closed the connection before it was encrypted; in Conch that is ConnectionDone."""

    def __str__(self) -> str:
        return str(self.args[0])


class _ISSHConnectionCreator(Interface):
    """Provides the SSH connection that an endpoint opens its channel on."""

    def secureConnection():  # type: ignore[no-untyped-def]
        """Make a connection, or find one.

        Returns:
            A Deferred of an `SSHConnection` that is logged in.
        """

    def cleanupConnection(connection, immediate):  # type: ignore[no-untyped-def]
        """The endpoint needs the connection no longer.

        Args:
            connection: What `secureConnection` gave.
            immediate: Whether to end it at once, or after what was written; where it is to end.
        """


@implementer(_ISSHConnectionCreator)
class ExistingConnection:
    """A connection that is there and stays.

    Args:
        connection: An `SSHConnection` that is logged in, or a `ClientConnection`.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = (
            connection.connection if isinstance(connection, ClientConnection) else connection
        )

    def secureConnection(self) -> defer.Deferred[Any]:
        """The connection."""
        return defer.succeed(self.connection)

    def cleanupConnection(self, connection: Any, immediate: bool) -> None:
        """It is somebody else's."""


@implementer(_ISSHConnectionCreator)
class NewConnection:
    """A connection of its own for each program.

    The arguments are those of `SSHCommandClientEndpoint.newConnection`.

    Attributes:
        config: What to do in detail, a `ClientConfig`; None for OpenSSH's defaults, without the
            user's configuration. Set it for jump hosts, time limits and the like.
    """

    config: ClientConfig | None = None
    _KNOWN_HOSTS = "~/.ssh/known_hosts"

    def __init__(
        self,
        reactor: Any,
        hostname: bytes | str,
        port: int | None,
        command: bytes,
        username: bytes | str,
        keys: Sequence[Key] | None,
        password: bytes | str | None,
        agentEndpoint: Any,
        knownHosts: Any,
        ui: Any,
        tty: Any = None,
    ) -> None:
        self.reactor = reactor
        self.hostname = hostname
        self.port = DEFAULT_PORT if port is None else port
        self.command = command
        self.username = username
        self.keys = keys
        self.password = password
        self.agentEndpoint = agentEndpoint
        isFile = knownHosts is None or _isPath(knownHosts)
        self.knownHosts = self._knownHosts(knownHosts) if isFile else knownHosts
        # The user's own are read with all that the client knows of them, ports included.
        self._isUsersOwn = knownHosts is None
        self.tty = FilePath(b"/dev/tty") if tty is None else tty
        self.ui = ConsoleUI(self._opener) if ui is None else ui

    @classmethod
    def configured(
        cls,
        reactor: Any,
        config: ClientConfig,
        *,
        keys: Sequence[Key] | None = None,
        password: bytes | str | None = None,
        ui: Any = None,
    ) -> NewConnection:
        """Connections as the user's configuration says: jump hosts, keys, agent, known hosts.

        Args:
            reactor: As for `newConnection`.
            config: From `limpet.client.config.loadClientConfig`.
            keys: Private keys to log in with, before those of the configuration.
            password: A password to log in with.
            ui: As for `newConnection`.
        """
        made = cls(
            reactor,
            config.hostName,
            config.port,
            b"",
            config.user,
            keys,
            password,
            None,
            None,
            ui,
        )
        made.config = config
        return made

    def _opener(self) -> Any:
        """The terminal, for the default user interface; where there is none, its answer is no."""
        try:
            return self.tty.open("r+")
        except OSError:
            return io.BytesIO(b"no")

    @classmethod
    def _knownHosts(cls, path: Any = None) -> KnownHostsFile:
        """The user's known_hosts file, or that of a path."""
        where = os.path.expanduser(cls._KNOWN_HOSTS) if path is None else path
        return KnownHostsFile.fromPath(FilePath(where))

    def secureConnection(self) -> defer.Deferred[Any]:
        """Connect, verify the host key, log in."""
        try:
            config = self.config or self._defaultConfig()
        except Exception:  # noqa: BLE001 what the caller gave is no host; told like all the rest
            return defer.fail()
        policy: HostKeyPolicy = KnownHostsPolicy(self.reactor)
        if not self._isUsersOwn:
            policy = DocumentedKnownHosts(self.knownHosts)
        connecting = connect(
            self.reactor, config, self.ui, credentials=self._credentials(), hostKeys=policy
        )
        return connecting.addCallbacks(self._connected, self._failed)

    def _defaultConfig(self) -> ClientConfig:
        options = [("Port", str(self.port))]
        config = loadClientConfig(_text(self.hostname), overrides=options, files=())
        # No token stands for it here, so that any name will do.
        return replace(config, user=_text(self.username))

    def _credentials(self) -> Credentials:
        password = self.password
        return Credentials(
            keys=tuple(self.keys or ()),
            password=password.encode("utf-8") if isinstance(password, str) else password,
            connectAgent=self._connectAgent if self.agentEndpoint is not None else None,
            only=self.config is None,
        )

    def _connectAgent(self) -> Any:
        factory = Factory.forProtocol(SSHAgentClient)
        factory.noisy = False
        return self.agentEndpoint.connect(factory)

    def _connected(self, client: ClientConnection) -> Any:
        client.transport.creator = self
        return client.connection

    def _failed(self, reason: Failure) -> Any:
        """What kept TCP from connecting is told as every endpoint of Twisted tells it."""
        failure = reason.value
        if isinstance(failure, ConnectFailed) and failure.cause is not None:
            return failure.cause
        if isinstance(failure, HandshakeFailed) and failure.cause is not None:
            return Failure(ClosedTooEarly(str(failure), failure.cause))
        return reason

    def cleanupConnection(self, connection: Any, immediate: bool) -> None:
        """End the connection: nobody else has it."""
        transport = connection.transport
        if transport is None:
            return
        if immediate:
            # An application's own transport may know only what Conch's do.
            abort = getattr(transport, "abortConnection", None)
            (transport.transport.abortConnection if abort is None else abort)()
        else:
            transport.loseConnection()


def _isPath(value: object) -> bool:
    return isinstance(value, str | bytes | os.PathLike)


def _text(name: bytes | str) -> str:
    return name.decode("utf-8") if isinstance(name, bytes) else name


_NewConnectionHelper = NewConnection
_ExistingConnectionHelper = ExistingConnection

__all__ = [
    "ExistingConnection",
    "NewConnection",
    "_ExistingConnectionHelper",
    "_ISSHConnectionCreator",
    "_NewConnectionHelper",
]
