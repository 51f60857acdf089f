"""The forwardings of a client: -L, -R and -D, and the far side as an endpoint for any protocol.

Rule: the server opens a channel to us only for what we have asked it to listen on, and each is
connected before it is confirmed. What listens here listens on the loopback unless it is told
otherwise.

    Forwards(reactor, connection)
        .local(spec)      we listen,      the server connects         ssh -L
        .dynamic(spec)    we listen,      a SOCKS client says where   ssh -D
        .remote(spec)     the server listens, we connect              ssh -R
        .start(config)    all that a configuration asks for
    FarClientEndpoint, FarUnixEndpoint    a protocol that is connected from the server
    FarServerEndpoint                     protocols for those who connect to the server

`limpet ssh -W` and jump hosts have channels of their own: `limpet.client.attaching`,
`limpet.client.tunnel`. RFC 4254 section 7; OpenSSH's PROTOCOL, section 2.4.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from limpet._logger import ClassLogger
from limpet.client.errors import ClientError, shown
from limpet.client.socksproxy import SocksChannel, SocksFactory
from limpet.core.destinations import MAX_PORT
from limpet.core.patterns import parseAddress
from limpet.core.sshconfig.places import ForwardSpec, targetOf
from limpet.error import ConchError
from limpet.ssh.channel import SSHChannel
from limpet.ssh.forwarding.channels import (
    FORWARDING_MAX_PACKET,
    SSHConnectForwardingChannel,
    SSHListenClientForwardingChannel,
    SSHListenForwardingFactory,
    UnixListenClientForwardingChannel,
    windowFor,
)
from limpet.ssh.forwarding.client import SSHForwardingClient
from limpet.ssh.forwarding.messages import hostBytes, packOpen_direct_tcpip
from limpet.ssh.forwarding.streams import OutgoingStream, StreamChannel
from limpet.tunnels.dialing import connectTo, lookUp
from limpet.tunnels.listening import addressesFor, listenOn
from limpet.tunnels.serving import MAX_FORWARDING_CHANNELS
from limpet.wire.errors import WireError
from limpet.wire.fields import Reader
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED
from limpet.wire.requests import (
    TcpForward,
    TcpListen,
    UnixForward,
    UnixForwarded,
    UnixListen,
)

if TYPE_CHECKING:
    from limpet.unix.sockets import UnixSockets

Maker = Callable[..., SSHChannel]
"""Makes the channel of one connection that the server tells of: called with its origin, and the
keywords that an `SSHChannel` takes."""


OWNERS_ONLY = 0o177
"""The mask of a Unix socket that only its owner may use (StreamLocalBindMask's default)."""


class ForwardFailed(ClientError):
    """A forwarding that was asked for did not come about; the text says which and why."""


# ── what the server may open to us ────────────────────────────────────────────────────────────


class Expected:
    """What a client has asked its server to listen on, and may be opened channels for.

    It stands at the connection, once: see `of`.

    Args:
        connection: The `SSHConnection`.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._tcp: dict[tuple[bytes, int], Maker] = {}
        self._unix: dict[bytes, Maker] = {}
        connection.channel_forwarded_tcpip = self._openTcp
        connection.channel_forwarded_streamlocal_openssh_com = self._openUnix
        connection.maxChannels = max(connection.maxChannels, MAX_FORWARDING_CHANNELS)

    @classmethod
    def of(cls, connection: Any) -> Expected:
        """That of the connection; made if there is none yet."""
        found: Expected | None = getattr(connection, "expectedForwards", None)
        if found is None:
            found = connection.expectedForwards = cls(connection)
        return found

    def listenTcp(self, address: bytes, port: int, maker: Maker) -> Deferred[int]:
        """Have the server listen.

        Args:
            address: Where, as in RFC 4254 section 7.1; b"localhost" for its loopback.
            port: The port; 0 lets the server choose.
            maker: Makes the channels.

        Returns:
            A Deferred that fires with the port, or fails with `ForwardFailed`.
        """
        key = (address, port)
        if port and key in self._tcp:
            return fail(ForwardFailed(f"port {port} of the server is forwarded already"))
        if port:
            # The first connection may be told of before the answer is.
            self._tcp[key] = maker

        def listening(data: bytes) -> int:
            real = port
            if not port:
                try:
                    real = Reader(data).u32()
                except WireError:
                    raise ForwardFailed("the server does not say which port it chose") from None
                self._tcp[address, real] = maker
            return real

        def refused(failure: Failure) -> Failure:
            if port:
                self._tcp.pop(key, None)
            if failure.check(ConchError) is None:
                return failure
            return Failure(
                ForwardFailed(f"the server does not listen on port {port or '0 (any)'} for us")
            )

        asked: Deferred[Any] = self._connection.sendGlobalRequest(
            b"tcpip-forward", TcpListen(address, port).encode(), wantReply=1
        )
        return asked.addCallback(listening).addErrback(refused)

    def cancelTcp(self, address: bytes, port: int) -> Deferred[Any]:
        """Have the server listen no more; connections that there are go on."""
        self._tcp.pop((address, port), None)
        asked: Deferred[Any] = self._connection.sendGlobalRequest(
            b"cancel-tcpip-forward", TcpListen(address, port).encode(), wantReply=1
        )
        return asked.addErrback(lambda _: None)

    def listenUnix(self, path: bytes, maker: Maker) -> Deferred[Any]:
        """Have the server listen on a Unix socket; the Deferred fails with `ForwardFailed`."""
        if path in self._unix:
            return fail(ForwardFailed(f"{shown(path)} is forwarded already"))
        self._unix[path] = maker

        def refused(failure: Failure) -> Failure:
            self._unix.pop(path, None)
            if failure.check(ConchError) is None:
                return failure
            return Failure(ForwardFailed(f"the server does not listen on {shown(path)} for us"))

        asked: Deferred[Any] = self._connection.sendGlobalRequest(
            b"streamlocal-forward@openssh.com", UnixListen(path).encode(), wantReply=1
        )
        return asked.addErrback(refused)

    def cancelUnix(self, path: bytes) -> Deferred[Any]:
        """Have the server listen no more on the socket."""
        self._unix.pop(path, None)
        asked: Deferred[Any] = self._connection.sendGlobalRequest(
            b"cancel-streamlocal-forward@openssh.com", UnixListen(path).encode(), wantReply=1
        )
        return asked.addErrback(lambda _: None)

    def _openTcp(self, windowSize: int, maxPacket: int, data: bytes) -> SSHChannel:
        try:
            body = TcpForward.decode(data)
        except WireError:
            raise _unasked() from None
        maker = self._tcp.get((body.host, body.port))
        if maker is None:
            # Some servers say the address that they bound, where they were told a name.
            matches = [made for (_, port), made in self._tcp.items() if port == body.port]
            if len(matches) != 1:
                raise _unasked()
            maker = matches[0]
        return self._made(maker, originOf(body), windowSize, maxPacket)

    def _openUnix(self, windowSize: int, maxPacket: int, data: bytes) -> SSHChannel:
        try:
            path = UnixForwarded.decode(data).path
        except WireError:
            raise _unasked() from None
        maker = self._unix.get(path)
        if maker is None:
            raise _unasked()
        return self._made(maker, UNIXAddress(None), windowSize, maxPacket)

    def _made(self, maker: Maker, origin: IAddress, windowSize: int, maxPacket: int) -> SSHChannel:
        return maker(
            origin,
            localWindow=windowFor(self._connection),
            localMaxPacket=FORWARDING_MAX_PACKET,
            remoteWindow=windowSize,
            remoteMaxPacket=maxPacket,
        )


def _unasked() -> ConchError:
    return ConchError("nobody asked for that here", OPEN_ADMINISTRATIVELY_PROHIBITED)


def originOf(body: TcpForward) -> IAddress:
    """Where a forwarded connection comes from, as the server says."""
    text = body.originHost.decode("utf-8", "backslashreplace")
    port = body.originPort if body.originPort <= MAX_PORT else 0
    parsed = parseAddress(text)
    if parsed is None:
        return HostnameAddress(body.originHost, port)
    kind = IPv4Address if parsed.version == 4 else IPv6Address
    return kind("TCP", str(parsed), port)


# ── ssh -L, -R, -D ────────────────────────────────────────────────────────────────────────────


class Forward:
    """One forwarding that is under way.

    Attributes:
        words: What it is, for a person.
        port: The port that is listened on, here or at the server; 0 for a Unix socket.
        kind: "L", "R" or "D", as the letters that ask for one.
        spec: What was asked for.
    """

    kind: str = ""
    spec: ForwardSpec | None = None

    def __init__(self, words: str, port: int, stop: Callable[[], Any]) -> None:
        self.words = words
        self.port = port
        self._stop: Callable[[], Any] | None = stop

    def __repr__(self) -> str:
        return f"<Forward {self.words}>"

    def listensAt(self, place: ForwardSpec) -> bool:
        """Whether it is the forwarding that listens there."""
        spec = self.spec
        return (
            spec is not None
            and spec.listenPath == place.listenPath
            and spec.listenHost == place.listenHost
            and place.listenPort in (spec.listenPort, self.port if spec.listenPort == 0 else None)
        )

    def close(self) -> Deferred[Any]:
        """Listen no more; connections that there are go on. May be called again.

        Returns:
            A Deferred that fires when that is so; it never fails.
        """
        stop, self._stop = self._stop, None
        if stop is None:
            return maybeDeferred(lambda: None)
        return maybeDeferred(stop).addErrback(lambda _: None)


class _LocalChannel(SSHListenClientForwardingChannel):
    """`ssh -L` to a host: says what went wrong."""

    forwards: Forwards

    def openFailed(self, reason: Any) -> None:
        self.forwards.connectionFailed(reason)
        super().openFailed(reason)


class _LocalUnixChannel(UnixListenClientForwardingChannel):
    """`ssh -L` to a Unix socket: says what went wrong."""

    forwards: Forwards

    def openFailed(self, reason: Any) -> None:
        self.forwards.connectionFailed(reason)
        super().openFailed(reason)


class _RemoteChannel(SSHConnectForwardingChannel):
    """`ssh -R`: a connection to the server, which is connected from here."""

    def __init__(self, connect: Callable[[SSHForwardingClient], Deferred[Any]], **kw: Any) -> None:
        super().__init__(None, **kw)
        self._connect = connect

    def connectOut(self, protocol: SSHForwardingClient) -> Deferred[Any]:
        return self._connect(protocol)


def _of(forward: Forward, kind: str, spec: ForwardSpec) -> Forward:
    """The forwarding, told what it was made of."""
    forward.kind, forward.spec = kind, spec
    return forward


class Forwards:
    """The forwardings of one connection; they end with it.

    Args:
        reactor: Provides IReactorFDSet, IReactorTime, IReactorSocket and, for names,
            IReactorPluggableNameResolver.
        connection: The `SSHConnection`, logged in.
        gatewayPorts: Whether what listens here without an address listens on all of them.
        tell: Called with a sentence for the person, for each connection that could not be made.
        unlinkSockets: Whether a Unix socket that is in the way is removed before one is made.
        bindMask: What nobody may do with a Unix socket that is made here, as for umask.

    Attributes:
        open: What is under way.
    """

    _log = ClassLogger()

    def __init__(
        self,
        reactor: Any,
        connection: Any,
        gatewayPorts: bool = False,
        tell: Callable[[str], object] | None = None,
        unlinkSockets: bool = False,
        bindMask: int = OWNERS_ONLY,
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._bindMask = bindMask
        self._gatewayPorts = gatewayPorts
        self._tell = tell
        self._unlinkSockets = unlinkSockets
        self._mayConnect: Callable[[str, int], bool] | None = None
        self.open: list[Forward] = []
        connection.atEnd(self.close)

    @cached_property
    def _sockets(self) -> UnixSockets:
        """Unix sockets at this end: loaded where there are any, and not everywhere there are."""
        from limpet.unix.sockets import UnixSockets

        return UnixSockets(self._reactor)

    def start(self, config: Any) -> Deferred[list[str]]:
        """Start all forwardings of a configuration.

        Args:
            config: Its localForwards, remoteForwards, dynamicForwards, exitOnForwardFailure and
                permitRemoteOpen count.

        Returns:
            A Deferred that fires when each is under way or has failed, with what is to be told: of
            failures, and of ports that the server chose. It fails with `ForwardFailed` for the
            first failure where ExitOnForwardFailure is set.
        """
        told: list[str] = []
        self._mayConnect = getattr(config, "mayOpenRemotely", None)
        kinds = (
            (self.local, config.localForwards),
            (self.dynamic, config.dynamicForwards),
            (self.remote, config.remoteForwards),
        )

        def begin(begun: Callable[[ForwardSpec], Deferred[Forward]], spec: ForwardSpec) -> Any:
            return begun(spec).addCallbacks(lambda made: noted(begun, made, spec), failed)

        def noted(
            begun: Callable[[ForwardSpec], Deferred[Forward]], made: Forward, spec: ForwardSpec
        ) -> None:
            if spec.listenPort == 0:
                # The words of `ssh`, for which scripts look.
                kind = "remote" if begun == self.remote else "local"
                told.append(f"Allocated port {made.port} for {kind} forward to {targetOf(spec)}")

        def failed(failure: Failure) -> None:
            if config.exitOnForwardFailure:
                failure.raiseException()
            failure.trap(ClientError)
            told.append(failure.getErrorMessage())

        def unwrapped(failure: Failure) -> Failure:
            # What `gatherResults` wraps it in says nothing more.
            return getattr(failure.value, "subFailure", failure)

        waiting = [begin(begun, spec) for begun, specs in kinds for spec in specs]
        return (
            gatherResults(waiting, consumeErrors=True)
            .addErrback(unwrapped)
            .addCallback(lambda _: told)
        )

    def close(self) -> Deferred[Any]:
        """End all forwardings; connections that there are go on."""
        return gatherResults([forward.close() for forward in tuple(self.open)])

    def local(self, spec: ForwardSpec) -> Deferred[Forward]:
        """Listen here and have the server connect (-L).

        Returns:
            A Deferred that fires with the `Forward`, or fails with `ForwardFailed`.
        """
        klass: Any
        target: Any
        if spec.targetPath is not None:
            klass, target = _LocalUnixChannel, os.fsencode(spec.targetPath)
            to = spec.targetPath
        else:
            klass, target = _LocalChannel, (spec.targetHost, spec.targetPort)
            to = f"{spec.targetHost} port {spec.targetPort}"
        # A class of its own, so that each channel knows whom to tell.
        made = type(klass.__name__, (klass,), {"forwards": self})
        listening = self._listen(
            spec, to, SSHListenForwardingFactory(self._connection, target, made)
        )
        return listening.addCallback(_of, "L", spec)

    def dynamic(self, spec: ForwardSpec) -> Deferred[Forward]:
        """Listen here for programs that speak SOCKS 4, 4a or 5 (-D); as `local`."""
        factory = SocksFactory(self._reactor, self._connection, self.connectionFailed)
        listening = self._listen(spec, "wherever it is asked to (SOCKS)", factory)
        return listening.addCallback(_of, "D", spec)

    def _listen(self, spec: ForwardSpec, to: str, factory: Any) -> Deferred[Forward]:
        if spec.listenPath is not None:
            return self._listenUnix(spec.listenPath, to, factory)
        asked = spec.listenHost
        gateway = self._gatewayPorts or asked is not None
        addresses = addressesFor("" if asked is None else asked, gateway)
        port = spec.listenPort or 0
        where = f"{asked} port {port}" if asked else f"port {port}"

        def listen(numeric: list[str]) -> Forward:
            try:
                listener = listenOn(self._reactor, numeric, port, factory)
            except CannotListenError as failure:
                reason = getattr(failure.socketError, "strerror", None) or failure.socketError
                raise ForwardFailed(f"cannot listen on {where}: {reason}") from None
            return self._started(f"{where} to {to}", listener.port, listener.stopListening)

        def unknown(failure: Failure) -> Failure:
            if failure.check(ConchError) is None:
                return failure
            return Failure(ForwardFailed(f"cannot listen on {where}: there is no such host"))

        found: Deferred[Any] = maybeDeferred(
            lambda: lookUp(self._reactor, addresses[0]) if len(addresses) == 1 else list(addresses)
        )
        return found.addErrback(unknown).addCallback(listen)

    def _listenUnix(self, path: str, to: str, factory: Any) -> Deferred[Forward]:
        name = os.fsencode(path)
        if self._unlinkSockets:
            with suppress(OSError):
                self._sockets.remove(name)

        def listening(port: Any) -> Forward:
            if self._bindMask != OWNERS_ONLY:
                # It was made for its owner only; whom else it is for comes in after that.
                with suppress(OSError):
                    os.chmod(name, 0o777 & ~self._bindMask)
            return self._started(f"{path} to {to}", 0, port.stopListening)

        def refused(failure: Failure) -> Failure:
            if not isinstance(failure.value, ConchError):
                return failure
            return Failure(ForwardFailed(f"cannot listen on {path}: {failure.value.value}"))

        return self._sockets.listen(name, factory).addCallbacks(listening, refused)

    def remote(self, spec: ForwardSpec) -> Deferred[Forward]:
        """Have the server listen, and connect from here (-R); without a target, as SOCKS says.

        Returns:
            A Deferred that fires with the `Forward`, or fails with `ForwardFailed`.
        """
        expected = Expected.of(self._connection)
        maker, to = self._remoteMaker(spec)
        if spec.listenPath is not None:
            path = os.fsencode(spec.listenPath)
            words = f"{spec.listenPath} of the server to {to}"
            return expected.listenUnix(path, maker).addCallback(
                lambda _: _of(self._started(words, 0, lambda: expected.cancelUnix(path)), "R", spec)
            )
        # RFC 4254 section 7.1: the server's loopback unless something else is asked for.
        asked = "localhost" if spec.listenHost is None else spec.listenHost
        address = b"" if asked == "*" else hostBytes(asked)

        def listening(port: int) -> Forward:
            words = f"port {port} of the server to {to}"
            made = self._started(words, port, lambda: expected.cancelTcp(address, port))
            return _of(made, "R", spec)

        return expected.listenTcp(address, spec.listenPort or 0, maker).addCallback(listening)

    def _remoteMaker(self, spec: ForwardSpec) -> tuple[Maker, str]:
        if spec.isDynamic:

            def makeDynamic(origin: IAddress, **details: Any) -> SSHChannel:
                return SocksChannel(self._reactor, self._mayConnect, **details)

            return makeDynamic, "wherever it is asked to (SOCKS)"
        if spec.targetPath is not None:
            path = os.fsencode(spec.targetPath)

            def connectUnix(protocol: SSHForwardingClient) -> Deferred[Any]:
                return self._sockets.connect(path, protocol).addErrback(self._notConnected)

            connect, to = connectUnix, spec.targetPath
        else:
            host, port = spec.targetHost or "", spec.targetPort or 0

            def connectTcp(protocol: SSHForwardingClient) -> Deferred[Any]:
                made = connectTo(self._reactor, host, port, protocol)
                return made.addErrback(self._notConnected)

            connect, to = connectTcp, f"{host} port {port}"

        def make(origin: IAddress, **details: Any) -> SSHChannel:
            return _RemoteChannel(connect, **details)

        return make, to

    def _notConnected(self, failure: Failure) -> Failure:
        self.connectionFailed(failure.value)
        return failure

    def connectionFailed(self, reason: Any) -> None:
        """Tell of a connection that could not be made."""
        if self._tell is None or isinstance(reason, ConnectionLost):
            return
        words = reason.value if isinstance(reason, ConchError) else str(reason)
        self._tell(f"a forwarded connection was not made: {shown(words)}")

    def _started(self, words: str, port: int, stop: Callable[[], Any]) -> Forward:
        def stopAndForget() -> Any:
            self.open.remove(forward)
            return stop()

        forward = Forward(words, port, stopAndForget)
        self.open.append(forward)
        return forward


# ── the far side as an endpoint ───────────────────────────────────────────────────────────────


class _Outgoing(OutgoingStream):
    """A channel that carries a protocol to the far side."""

    def notOpened(self, reason: Any) -> Exception:
        words = reason.value if isinstance(reason, ConchError) else "the connection is gone"
        return ForwardFailed(f"the server does not connect: {shown(words)}")


def _connect(
    connection: Any, name: bytes, peer: IAddress, data: bytes, factory: Any, reactor: Any
) -> Deferred[Any]:
    protocol = factory.buildProtocol(peer)
    if protocol is None:
        return fail(ForwardFailed("the factory makes no protocol"))
    channel = _Outgoing(protocol, name, peer, reactor=reactor)
    connection.openChannel(channel, data)
    return channel.outcome


@implementer(IStreamClientEndpoint)
class FarClientEndpoint:
    """Connects from the server to a host.

    Args:
        connection: The `SSHConnection`.
        host: A name or an address, as the server understands it.
        port: The port.
        reactor: What the transports say their reactor is; None for none.
    """

    def __init__(self, connection: Any, host: str, port: int, reactor: Any = None) -> None:
        self._connection = connection
        self._host = host
        self._port = port
        self._reactor = reactor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect; the Deferred fires with the protocol or fails with `ForwardFailed`."""
        peer = HostnameAddress(hostBytes(self._host), self._port)
        data = packOpen_direct_tcpip((self._host, self._port), ("127.0.0.1", 0))
        name = SSHListenClientForwardingChannel.name
        return _connect(self._connection, name, peer, data, protocolFactory, self._reactor)


@implementer(IStreamClientEndpoint)
class FarUnixEndpoint:
    """Connects to a Unix socket of the server's.

    Args:
        connection: The `SSHConnection`.
        path: The socket.
        reactor: As for `FarClientEndpoint`.
    """

    def __init__(self, connection: Any, path: str, reactor: Any = None) -> None:
        self._connection = connection
        self._path = path
        self._reactor = reactor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect; the Deferred fires with the protocol or fails with `ForwardFailed`."""
        path = os.fsencode(self._path)
        name = UnixListenClientForwardingChannel.name
        data = UnixForward(path).encode()
        peer = UNIXAddress(path)
        return _connect(self._connection, name, peer, data, protocolFactory, self._reactor)


@implementer(IListeningPort)
class FarPort:
    """A port that the server listens on for us."""

    def __init__(self, expected: Expected, address: str, port: int) -> None:
        self._expected = expected
        self._address = address
        self._port = port

    def startListening(self) -> None:
        """It listens already."""

    def stopListening(self) -> Deferred[Any]:
        """Have the server listen no more."""
        return self._expected.cancelTcp(hostBytes(self._address), self._port)

    def getHost(self) -> IAddress:
        """Where the server listens."""
        return HostnameAddress(hostBytes(self._address), self._port)


@implementer(IStreamServerEndpoint)
class FarServerEndpoint:
    """Has the server listen; those who connect there get protocols here.

    Args:
        connection: The `SSHConnection`.
        port: The port; 0 lets the server choose, see `getHost().port`.
        address: Where; "" for all addresses, as far as the server allows it.
        reactor: As for `FarClientEndpoint`.
    """

    def __init__(
        self, connection: Any, port: int, address: str = "localhost", reactor: Any = None
    ) -> None:
        self._connection = connection
        self._port = port
        self._address = address
        self._reactor = reactor

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Listen; the Deferred fires with a `FarPort` or fails with `ForwardFailed`."""
        expected = Expected.of(self._connection)

        def make(origin: IAddress, **details: Any) -> SSHChannel:
            protocol: Any = protocolFactory.buildProtocol(origin)
            if protocol is None:
                raise ConchError("not taken", OPEN_ADMINISTRATIVELY_PROHIBITED)
            return StreamChannel(
                protocol, b"forwarded-tcpip", origin, reactor=self._reactor, **details
            )

        return expected.listenTcp(hostBytes(self._address), self._port, make).addCallback(
            lambda port: FarPort(expected, self._address, port)
        )
