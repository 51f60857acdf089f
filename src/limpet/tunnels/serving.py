"""What a server does about forwarding for one login: judge, connect, listen, clean up.

Rule: what the policy does not allow does not happen, and a refusal has a reason for the client and
one line in the log. All that was made for a login ends with it.

    direct-tcpip, direct-streamlocal ─► openTcp, openUnix ─► a channel that connects, then opens
    tcpip-forward, streamlocal-forward ─► a listener ─► for each connection a channel to the client
    cancel-… ─► the listener of that very request ends

What a key forbids (permitopen=, permitlisten=, no-port-forwarding) was refused before anything here
is asked: see `limpet.core.restricting`. RFC 4254 section 7; OpenSSH's PROTOCOL, section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredSemaphore, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from limpet._logger import ClassLogger
from limpet.core.destinations import (
    EVERYWHERE,
    MAX_PORT,
    Destinations,
    faultOfHost,
    faultOfPath,
)
from limpet.error import ConchError
from limpet.ssh.forwarding.channels import (
    FORWARDING_MAX_PACKET,
    SSHConnectForwardingChannel,
    SSHListenForwardingFactory,
    SSHListenServerForwardingChannel,
    UnixListenServerForwardingChannel,
    windowFor,
)
from limpet.ssh.forwarding.client import SSHForwardingClient
from limpet.ssh.forwarding.messages import hostText
from limpet.tunnels.dialing import connectTo, lookUp
from limpet.tunnels.listening import addressesFor, listenOn
from limpet.wire.errors import WireError
from limpet.wire.fields import u32
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED
from limpet.wire.requests import TcpForward, TcpListen, UnixForward, UnixListen

MAX_LISTENERS = 64
"""Most requests for listening that one connection may have granted at a time (ours)."""

MAX_LOOK_UPS = 2
"""Names that are looked up for one login at a time (ours); what more it asks for waits its turn."""

MAX_FORWARDING_CHANNELS = 512
"""Most channels of a connection whose user may forward (ours): a browser behind `ssh -D` opens
hundreds of connections."""


@dataclass(frozen=True)
class ForwardingPolicy:
    """What may be forwarded. A default one forwards nothing.

    Attributes:
        local: Whether clients may have connections made from here (`ssh -L`, `-D`, `-W`, `-J`).
        remote: Whether clients may have ports listened on here (`ssh -R`).
        unix: Whether Unix sockets may be forwarded, both ways.
        agent: Whether an agent may be forwarded.
        permitOpen: Where connections may be made to, sockets included.
        permitListen: What may be listened on, sockets included.
        gatewayPorts: Whether a client may choose the address that is listened on; without it, it is
            the loopback.
    """

    local: bool = False
    remote: bool = False
    unix: bool = False
    agent: bool = False
    permitOpen: Destinations = EVERYWHERE
    permitListen: Destinations = EVERYWHERE
    gatewayPorts: bool = False


class SocketMaker(Protocol):
    """What makes Unix sockets for a user, with the user's rights."""

    def connect(self, path: bytes, protocol: TwistedProtocol) -> Deferred[Any]:
        """Connect `protocol`; the Deferred fires with it or fails with a `ConchError`."""

    def listen(self, path: bytes, factory: Factory) -> Deferred[Any]:
        """Listen; the Deferred fires with what has `stopListening`, or fails likewise."""


class ConnectChannel(SSHConnectForwardingChannel):
    """A connection that a client asks for, made by the rules of a policy.

    Args:
        target: Where to, in words.
        connect: Connects a protocol.
    """

    def __init__(
        self,
        target: Any,
        connect: Callable[[SSHForwardingClient], Deferred[Any]],
        **details: Any,
    ) -> None:
        super().__init__(target, **details)
        self._connect = connect

    def connectOut(self, protocol: SSHForwardingClient) -> Deferred[Any]:
        """Connect, if the policy allows it."""
        return self._connect(protocol)


class _ListeningFactory(SSHListenForwardingFactory):
    """Opens a channel to the client for each connection, while there is room for one."""

    def buildProtocol(self, addr: IAddress | None) -> TwistedProtocol | None:
        if len(self.conn.channels) >= self.conn.maxChannels:
            return None
        return super().buildProtocol(addr)


class ForwardingService:
    """Forwarding for one login.

    Args:
        reactor: What the sockets run on.
        policy: What is allowed.
        user: The user's name.
        connection: Gives the `SSHConnection` of the login.
        sockets: Makes Unix sockets; None where there are none.
        lowestPort: The lowest port that the user may listen on.
    """

    _log = ClassLogger()

    def __init__(
        self,
        reactor: Any,
        policy: ForwardingPolicy,
        user: str,
        connection: Callable[[], Any],
        sockets: SocketMaker | None = None,
        lowestPort: int = 1,
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._name = user
        self._user = user.encode("utf-8", "surrogateescape")
        self._connection = connection
        self._sockets = sockets
        self._lowestPort = lowestPort
        # What the client asked to listen on, as it asked, to what listens.
        self._listeners: dict[tuple[bytes, int | None], Any] = {}
        self._pending = 0
        self._lookUps = DeferredSemaphore(MAX_LOOK_UPS)
        self._told = 0
        self._isClosed = False

    @property
    def isAllowed(self) -> bool:
        """Whether there may be channels of forwarded connections at all."""
        return self._policy.local or self._policy.remote or self._policy.unix

    # ── connections from here ─────────────────────────────────────────────────────────────────

    def openTcp(self, data: bytes, **details: Any) -> ConnectChannel:
        """Make the channel of a direct-tcpip request; for `ConchUser.channelLookup`.

        Raises:
            ConchError: It is refused.
        """
        if not self._policy.local:
            raise self._prohibited("connecting to hosts is not enabled")
        try:
            body = TcpForward.decode(data)
        except WireError:
            raise self._prohibited("not a request to connect") from None
        fault = faultOfHost(body.host, body.port)
        if fault is not None:
            raise self._prohibited(f"connecting to {_shown(body.host)}: {fault}")
        where = f"{_shown(body.host)} port {body.port}"
        if not self._policy.permitOpen.allowsName(self._user, body.host, body.port):
            raise self._prohibited(f"connecting to {where} is not allowed")

        def judge(address: str) -> bool:
            return self._policy.permitOpen.allowsAddress(self._user, body.host, address, body.port)

        def connect(protocol: SSHForwardingClient) -> Deferred[Any]:
            host = hostText(body.host)
            made = connectTo(self._reactor, host, body.port, protocol, judge, self._lookUps)
            return made.addErrback(_withPlace, where)

        return self._channel(where, connect, details)

    def openUnix(self, data: bytes, **details: Any) -> ConnectChannel:
        """Make the channel of a direct-streamlocal request; for `ConchUser.channelLookup`.

        Raises:
            ConchError: It is refused.
        """
        sockets = self._sockets
        if not self._policy.unix or sockets is None:
            raise self._prohibited("connecting to Unix sockets is not enabled")
        try:
            path = UnixForward.decode(data).path
        except WireError:
            raise self._prohibited("not a request to connect") from None
        fault = faultOfPath(path)
        if fault is not None:
            raise self._prohibited(f"connecting to {_shown(path)}: {fault}")
        if not self._policy.permitOpen.allowsPath(self._user, path):
            raise self._prohibited(f"connecting to {_shown(path)} is not allowed")

        def connect(protocol: SSHForwardingClient) -> Deferred[Any]:
            return sockets.connect(path, protocol).addErrback(_withPlace, _shown(path))

        return self._channel(_shown(path), connect, details)

    def _channel(
        self,
        where: str,
        connect: Callable[[SSHForwardingClient], Deferred[Any]],
        details: dict[str, Any],
    ) -> ConnectChannel:
        self._log.debug("{user} connects to {where}", user=self._name, where=where)
        return ConnectChannel(
            where,
            connect,
            localWindow=windowFor(self._connection()),
            localMaxPacket=FORWARDING_MAX_PACKET,
            **details,
        )

    def _prohibited(self, words: str) -> ConchError:
        return ConchError(words, OPEN_ADMINISTRATIVELY_PROHIBITED)

    # ── connections to here ───────────────────────────────────────────────────────────────────

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> Any:
        """Serve what is about listening; None for every other request.

        Returns:
            What `IConchUser.gotGlobalRequest` returns, or a Deferred of it.
        """
        handlers: dict[bytes, Callable[[bytes], Any]] = {
            b"tcpip-forward": self._listenTcp,
            b"cancel-tcpip-forward": self._cancelTcp,
            b"streamlocal-forward@openssh.com": self._listenUnix,
            b"cancel-streamlocal-forward@openssh.com": self._cancelUnix,
        }
        handler = handlers.get(requestType)
        if handler is None:
            return None
        try:
            return handler(data)
        except (WireError, ConchError) as refusal:
            return self._refused(refusal)

    def _refused(self, reason: BaseException) -> bool:
        connection = self._connection()
        if connection is None or connection.mayLogRefusal():
            words = reason.value if isinstance(reason, ConchError) else "not a request to listen"
            self._log.info("{user}: {words}", user=self._name, words=words)
        return False

    def _tell(self, where: str) -> None:
        """Log that something is listened on; not for ever, for one who asks and cancels."""
        self._told += 1
        if self._told <= MAX_LISTENERS:
            self._log.info(
                "{user}: listening for the client on {where}", user=self._name, where=where
            )

    def _roomFor(self, where: str) -> None:
        if len(self._listeners) + self._pending >= MAX_LISTENERS:
            raise self._prohibited(f"not listening on {where}: {MAX_LISTENERS} are enough")

    def _listenTcp(self, data: bytes) -> Any:
        if not self._policy.remote:
            raise self._prohibited("listening on ports is not enabled")
        asked = TcpListen.decode(data)
        where = f"{_shown(asked.address) or '*'} port {asked.port}"
        if asked.port > MAX_PORT:
            raise self._prohibited(f"not listening on {where}: no such port")
        if asked.address and faultOfHost(asked.address, 1) is not None:
            raise self._prohibited(f"not listening on {where}: not an address")
        if 0 < asked.port < self._lowestPort:
            raise self._prohibited(f"not listening on {where}: a port for root only")
        self._roomFor(where)
        addresses = addressesFor(hostText(asked.address), self._policy.gatewayPorts)
        self._pending += 1
        found = maybeDeferred(self._resolved, addresses)

        def listen(numeric: list[str]) -> Any:
            if self._isClosed:
                return False
            allowed = [
                address
                for address in numeric
                if self._policy.permitListen.allowsAddress(
                    self._user, asked.address, address, asked.port
                )
            ]
            if not allowed:
                raise self._prohibited(f"listening on {where} is not allowed")
            factory = _ListeningFactory(
                self._connection(), (asked.address, asked.port), SSHListenServerForwardingChannel
            )
            try:
                listener = listenOn(self._reactor, allowed, asked.port, factory)
            except CannotListenError as failure:
                reason = getattr(failure.socketError, "strerror", None) or failure.socketError
                raise self._prohibited(f"not listening on {where}: {reason}") from None
            factory.hostport = (asked.address, listener.port)
            self._keep((asked.address, listener.port), listener, where)
            self._tell(", ".join(f"{host} port {port}" for host, port in listener.addresses()))
            return (True, u32(listener.port)) if asked.port == 0 else True

        return self._settled(found.addCallback(listen))

    def _resolved(self, addresses: Any) -> Any:
        """The addresses in numbers; a name is looked up."""
        if len(addresses) == 1:
            return lookUp(self._reactor, addresses[0], turns=self._lookUps)
        return list(addresses)

    def _settled(self, outcome: Deferred[Any]) -> Deferred[Any]:
        def done(result: Any) -> Any:
            self._pending -= 1
            return result

        def refused(failure: Failure) -> bool:
            error = failure.value
            if not isinstance(error, ConchError):
                failure.raiseException()
            return self._refused(error)

        return outcome.addBoth(done).addErrback(refused)

    def _keep(self, key: tuple[bytes, int | None], listener: Any, where: str) -> None:
        """Keep what listens until it is cancelled, or the login ends.

        Raises:
            ConchError: The client has one of that name: its socket was removed, or its host's name
                means another address now. The new one is stopped; nobody could cancel both.
        """
        if key in self._listeners:
            listener.stopListening()
            raise self._prohibited(f"not listening on {where}: it was asked for already")
        self._listeners[key] = listener

    def _cancelTcp(self, data: bytes) -> bool:
        asked = TcpListen.decode(data)
        return self._cancel((asked.address, asked.port), f"port {asked.port}")

    def _cancel(self, key: tuple[bytes, int | None], where: str) -> bool:
        listener = self._listeners.pop(key, None)
        if listener is None:
            raise self._prohibited(f"{where} is not listened on for this client")
        listener.stopListening()
        return True

    def _listenUnix(self, data: bytes) -> Any:
        if not self._policy.unix or self._sockets is None:
            raise self._prohibited("listening on Unix sockets is not enabled")
        path = UnixListen.decode(data).path
        where = _shown(path)
        fault = faultOfPath(path)
        if fault is not None:
            raise self._prohibited(f"not listening on {where}: {fault}")
        if not self._policy.permitListen.allowsPath(self._user, path):
            raise self._prohibited(f"listening on {where} is not allowed")
        self._roomFor(where)
        factory = _ListeningFactory(self._connection(), path, UnixListenServerForwardingChannel)
        self._pending += 1

        def listening(port: Any) -> bool:
            if self._isClosed:
                port.stopListening()
                return False
            self._keep((path, None), port, where)
            self._tell(where)
            return True

        made = self._sockets.listen(path, factory).addErrback(_withPlace, where)
        return self._settled(made.addCallback(listening))

    def _cancelUnix(self, data: bytes) -> bool:
        path = UnixListen.decode(data).path
        return self._cancel((path, None), _shown(path))

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """The login is over: listen no more."""
        self._isClosed = True
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.stopListening()


def _shown(text: bytes) -> str:
    """A host or a path of the peer's, for a person, and no longer than a line."""
    return text[:200].decode("utf-8", "backslashreplace")


def _withPlace(failure: Failure, where: str) -> Failure:
    error = failure.value
    if isinstance(error, ConchError):
        return Failure(ConchError(f"{where}: {error.value}", error.data))
    return failure
