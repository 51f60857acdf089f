"""attacks.md, G9 to G13: what a hostile client does with forwarding, and a hostile server.

The sockets are real, the SSH messages are made by hand where a client would not make them.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.protocol import Factory

from benchmarks.servers import freePort
from limpet.client.forwards import Expected, FarClientEndpoint
from limpet.core.destinations import Destinations
from limpet.core.errors import ProtocolViolation
from limpet.core.sshconfig.places import parseForward
from limpet.ssh.forwarding.client import LINGER_SECONDS
from limpet.tunnels.serving import MAX_FORWARDING_CHANNELS, MAX_LISTENERS, ForwardingPolicy
from limpet.wire.fields import NS, u32
from limpet.wire.numbers import (
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_OPEN,
    MSG_CHANNEL_OPEN_CONFIRMATION,
    MSG_CHANNEL_OPEN_FAILURE,
    MSG_GLOBAL_REQUEST,
    MSG_REQUEST_FAILURE,
    MSG_REQUEST_SUCCESS,
)
from limpet.wire.requests import TcpForward, UnixForward, UnixForwarded
from tests.pair.tunnels import End, Tunnel
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

ONLY_NOT_LOOPBACK = ForwardingPolicy(
    local=True,
    remote=True,
    unix=True,
    permitOpen=Destinations(["*:*", "/tmp/*", "!127.0.0.0/8:*", "![::1]:*"]),
)


@pytest.fixture
def tunnel(driver: Driver) -> Iterator[Tunnel]:
    made = Tunnel(driver)
    yield made
    made.close()


@pytest.fixture
def fenced(driver: Driver) -> Iterator[Tunnel]:
    """A server that lets nobody connect to its loopback."""
    made = Tunnel(driver, ONLY_NOT_LOOPBACK)
    yield made
    made.close()


def ask(tunnel: Tunnel, name: bytes, body: bytes) -> tuple[int, bytes]:
    """The server's answer to a global request."""
    before = len(tunnel.pair.log)
    tunnel.client.transport.sendPacket(MSG_GLOBAL_REQUEST, NS(name) + b"\1" + body)

    def answers() -> list[tuple[int, bytes]]:
        return [
            (number, payload)
            for who, number, payload in tunnel.pair.log[before:]
            if who == "server" and number in (MSG_REQUEST_SUCCESS, MSG_REQUEST_FAILURE)
        ]

    tunnel.until(answers, "the answer")
    return answers()[0]


def listen(tunnel: Tunnel, address: bytes, port: int) -> tuple[int, bytes]:
    return ask(tunnel, b"tcpip-forward", NS(address) + u32(port))


def openRaw(tunnel: Tunnel, kind: bytes, extra: bytes, toClient: bool = False) -> tuple[int, bytes]:
    """The answer to a CHANNEL_OPEN that was made by hand."""
    sender, receiver = (tunnel.server, "client") if toClient else (tunnel.client, "server")
    before = len(tunnel.pair.log)
    sender.channels[77] = sender
    sender.transport.sendPacket(
        MSG_CHANNEL_OPEN, NS(kind) + struct.pack(">3L", 77, 1 << 20, 32768) + extra
    )
    # The answer is looked at, not handled: our own end knows nothing of this channel.
    heard: list[tuple[int, bytes]] = []
    handle = sender.packetReceived

    def packetReceived(number: int, payload: bytes) -> Any:
        if number in (MSG_CHANNEL_OPEN_FAILURE, MSG_CHANNEL_OPEN_CONFIRMATION):
            heard.append((number, payload))
            return None
        return handle(number, payload)

    sender.packetReceived = packetReceived  # type: ignore[method-assign,assignment]
    try:
        tunnel.until(lambda: heard, f"the answer of the {receiver}")
    finally:
        sender.packetReceived = handle  # type: ignore[method-assign]
        del sender.channels[77]
    assert len(tunnel.pair.log) > before
    return heard[0]


def reasonOf(answer: tuple[int, bytes]) -> int:
    """The reason of a refusal; 0 for a confirmation."""
    number, payload = answer
    return struct.unpack_from(">L", payload, 4)[0] if number == MSG_CHANNEL_OPEN_FAILURE else 0


# ── G9: global requests ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("port", [65536, 2**32 - 1])
def test_G9_portsThatAreNone(tunnel: Tunnel, port: int) -> None:
    assert listen(tunnel, b"localhost", port) == (MSG_REQUEST_FAILURE, b"")


@pytest.mark.parametrize("port", [1, 22, 1023])
def test_G9_privilegedPorts(driver: Driver, port: int) -> None:
    tunnel = Tunnel(driver, lowestPort=1024)
    assert listen(tunnel, b"localhost", port)[0] == MSG_REQUEST_FAILURE
    assert listen(tunnel, b"localhost", 0)[0] == MSG_REQUEST_SUCCESS
    tunnel.close()


def test_G9_listenersAreLimited(tunnel: Tunnel) -> None:
    answers = [listen(tunnel, b"127.0.0.1", 0)[0] for _ in range(MAX_LISTENERS + 5)]
    assert answers == [MSG_REQUEST_SUCCESS] * MAX_LISTENERS + [MSG_REQUEST_FAILURE] * 5


def test_G9_askingAgainForASocketThatWasRemoved(tunnel: Tunnel, tmp_path: Path) -> None:
    """Its path is free again, and what listened there still has its descriptor."""
    path = os.fsencode(tmp_path / "s")
    before = len(tunnel.reactor.getReaders())
    answers = []
    for _ in range(3):
        answers.append(ask(tunnel, b"streamlocal-forward@openssh.com", NS(path))[0])
        with suppress(FileNotFoundError):
            os.unlink(path)
    assert answers == [MSG_REQUEST_SUCCESS, MSG_REQUEST_FAILURE, MSG_REQUEST_FAILURE]
    tunnel.turn(5)
    assert len(tunnel.reactor.getReaders()) == before + 1
    assert ask(tunnel, b"cancel-streamlocal-forward@openssh.com", NS(path))[0] == (
        MSG_REQUEST_SUCCESS
    )
    tunnel.turn(5)
    assert len(tunnel.reactor.getReaders()) == before


def test_G9_askingAgainForANameThatMovesOn(driver: Driver) -> None:
    """Each time the name means another address, on which the port is free."""
    tunnel = Tunnel(driver, ForwardingPolicy(remote=True, gatewayPorts=True))
    before = len(tunnel.reactor.getReaders())
    port = freePort()
    answers = []
    for number in range(3):
        tunnel.names.addresses["moving.example.org"] = [f"127.0.0.{number + 2}"]
        answers.append(listen(tunnel, b"moving.example.org", port)[0])
    assert answers == [MSG_REQUEST_SUCCESS, MSG_REQUEST_FAILURE, MSG_REQUEST_FAILURE]
    tunnel.turn(5)
    assert len(tunnel.reactor.getReaders()) == before + 1
    tunnel.close()


def test_G9_askingAndCancellingInTurnsFillsNoLog(
    tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(
        type(tunnel.user.service), "_log", SimpleNamespace(info=lambda *_, **__: lines.append("x"))
    )
    for _ in range(MAX_LISTENERS + 40):
        _, payload = listen(tunnel, b"127.0.0.1", 0)
        body = NS(b"127.0.0.1") + payload
        assert ask(tunnel, b"cancel-tcpip-forward", body)[0] == MSG_REQUEST_SUCCESS
        assert ask(tunnel, b"cancel-tcpip-forward", body)[0] == MSG_REQUEST_FAILURE
    assert len(lines) <= MAX_LISTENERS + 32


def test_G9_cancelOfWhatIsNotOwned(driver: Driver) -> None:
    owner, other = Tunnel(driver), Tunnel(driver)
    _, payload = listen(owner, b"localhost", 0)
    (port,) = struct.unpack(">L", payload)
    for tunnel, address, number in (
        (other, b"localhost", port),
        (owner, b"127.0.0.1", port),
        (owner, b"localhost", 0),
        (owner, b"localhost", port + 65536),
    ):
        answer = ask(tunnel, b"cancel-tcpip-forward", NS(address) + u32(number))
        assert answer == (MSG_REQUEST_FAILURE, b"")
    owner.connect(port).transport.loseConnection()
    answer = ask(owner, b"cancel-tcpip-forward", NS(b"localhost") + u32(port))
    assert answer == (MSG_REQUEST_SUCCESS, b"")
    answer = ask(owner, b"cancel-tcpip-forward", NS(b"localhost") + u32(port))
    assert answer == (MSG_REQUEST_FAILURE, b"")
    owner.turn(20)
    owner.close()
    other.close()


@pytest.mark.parametrize(
    "name",
    [
        b"tcpip-forward",
        b"cancel-tcpip-forward",
        b"streamlocal-forward@openssh.com",
        b"cancel-streamlocal-forward@openssh.com",
    ],
)
def test_G9_everyTruncation(tunnel: Tunnel, name: bytes) -> None:
    body = NS(b"/x" if b"streamlocal" in name else b"localhost")
    body += b"" if b"streamlocal" in name else u32(1)
    for size in range(len(body)):
        assert ask(tunnel, name, body[:size]) == (MSG_REQUEST_FAILURE, b"")
    assert ask(tunnel, name, body + b"x") == (MSG_REQUEST_FAILURE, b"")
    assert not tunnel.user.service._listeners


@pytest.mark.parametrize(
    "address", [b"a\0b", b"x" * 300, b"192.0.2.77", b"nowhere.invalid", b"::ffff:1"]
)
def test_G9_addressesElsewhereAreTheLoopback(tunnel: Tunnel, address: bytes) -> None:
    number, payload = listen(tunnel, address, 0)
    if number == MSG_REQUEST_SUCCESS:
        (listener,) = tunnel.user.service._listeners.values()
        assert {host for host, _ in listener.addresses()} <= {"127.0.0.1", "::1"}
        assert b"\0" not in address
        assert len(address) < 256


# ── G10: where a server lets its clients connect to ───────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1",
        b"127.0.0.2",
        b"localhost",
        b"LOCALHOST",
        b"::1",
        b"0:0:0:0:0:0:0:1",
        b"::ffff:127.0.0.1",
        b"::ffff:7f00:1",
        b"0.0.0.0",
        b"::",
        b"127.1",
        b"2130706433",
        b"0x7f.1",
        b"rebound.example.org",
    ],
)
def test_G10_noNameLeadsAroundTheRules(fenced: Tunnel, host: bytes) -> None:
    ends, port = fenced.target()
    # What the system's resolver makes of them.
    for name in ("127.1", "2130706433", "0x7f.1", "rebound.example.org", "LOCALHOST"):
        fenced.names.addresses[name] = ["127.0.0.1"]
    body = TcpForward(host, port, b"127.0.0.1", 1).encode()
    assert reasonOf(openRaw(fenced, b"direct-tcpip", body)) == 1
    assert not ends.made


def test_G10_aNameIsLookedUpOnceAndWhatWasJudgedIsUsed(driver: Driver) -> None:
    rules = Destinations(["*:*", "!127.0.0.1:*"])
    tunnel = Tunnel(driver, ForwardingPolicy(local=True, permitOpen=rules))
    ends, port = tunnel.target("127.0.0.2")
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    look = tunnel.names.resolveHostName

    def resolveHostName(*arguments: Any, **details: Any) -> Any:
        tunnel.names.addresses["rebinding.example.org"] = answers.pop(0)
        return look(*arguments, **details)

    tunnel.names.resolveHostName = resolveHostName  # type: ignore[method-assign]
    body = TcpForward(b"rebinding.example.org", port, b"", 0).encode()
    assert reasonOf(openRaw(tunnel, b"direct-tcpip", body)) == 0
    assert reasonOf(openRaw(tunnel, b"direct-tcpip", body)) == 1
    tunnel.until(lambda: ends.made)
    assert len(ends.made) == 1
    tunnel.close()


@pytest.mark.parametrize("port", [0, 65536, 2**32 - 1])
def test_G10_portsThatAreNone(tunnel: Tunnel, port: int) -> None:
    body = TcpForward(b"127.0.0.1", port, b"", 0).encode()
    assert reasonOf(openRaw(tunnel, b"direct-tcpip", body)) == 1


@pytest.mark.parametrize("host", [b"", b"127.0.0.1\0.example.org", b"a b", b"x" * 256, b"\n"])
def test_G10_hostsThatAreNone(tunnel: Tunnel, host: bytes) -> None:
    body = TcpForward(host, 80, b"", 0).encode()
    assert reasonOf(openRaw(tunnel, b"direct-tcpip", body)) == 1
    assert tunnel.names.asked == []


@pytest.mark.parametrize("host", [b"x" * 64, b"a..b", b"\xff\xfe", b"unknown.example.org"])
def test_G10_namesThatNobodyKnows(tunnel: Tunnel, host: bytes) -> None:
    body = TcpForward(host, 80, b"", 0).encode()
    assert reasonOf(openRaw(tunnel, b"direct-tcpip", body)) == 2


def test_G10_everyTruncation(tunnel: Tunnel) -> None:
    for kind, body in (
        (b"direct-tcpip", TcpForward(b"127.0.0.1", 9, b"::1", 1).encode()),
        (b"direct-streamlocal@openssh.com", UnixForward(b"/tmp/x").encode()),
    ):
        for size in range(len(body)):
            assert reasonOf(openRaw(tunnel, kind, body[:size])) == 1
        assert reasonOf(openRaw(tunnel, kind, body + b"x")) == 1


def test_G10_aDestinationThatNeverAnswersHasItsTime(tunnel: Tunnel) -> None:
    # A listener whose queue is full answers nobody.
    with socket.socket() as silent, socket.socket() as first, socket.socket() as second:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(silent.getsockname())
        port = silent.getsockname()[1]
        endpoint = FarClientEndpoint(tunnel.client, "127.0.0.1", port)
        outcome = endpoint.connect(Factory.forProtocol(End))
        outcome.addErrback(lambda _: None)
        tunnel.turn(5)
        assert len(tunnel.server._incoming) == 1
        assert not tunnel.server.channels
        assert tunnel.reactor.getDelayedCalls()
        # What waits ends with the connection, timers included.
        tunnel.server.serviceStopped()
        assert not tunnel.reactor.getDelayedCalls()


def test_G10_waitingConnectionsCountAsChannels(tunnel: Tunnel) -> None:
    tunnel.server.maxChannels = 3
    tunnel.names.resolveHostName = lambda *_, **__: None  # type: ignore[method-assign]
    for number in range(5):
        body = TcpForward(b"slow.example.org", 80, b"", 0).encode()
        tunnel.client.transport.sendPacket(
            MSG_CHANNEL_OPEN,
            NS(b"direct-tcpip") + struct.pack(">3L", number, 1 << 20, 32768) + body,
        )
        while tunnel.client.transport.queue:
            tunnel.pair.deliverOne(tunnel.client)
    refused = [number for number, _ in tunnel.server.transport.queue]
    assert refused == [MSG_CHANNEL_OPEN_FAILURE] * 2
    tunnel.server.transport.queue.clear()
    assert len(tunnel.server._incoming) == 3


@pytest.mark.parametrize(
    "path", [b"relative", b"/a\0b", b"/tmp/../etc/x", b"/" + b"x" * 200, b"/etc/x"]
)
def test_G10_pathsThatAreNotAllowed(fenced: Tunnel, path: bytes) -> None:
    body = UnixForward(path).encode()
    assert reasonOf(openRaw(fenced, b"direct-streamlocal@openssh.com", body)) == 1
    assert ask(fenced, b"streamlocal-forward@openssh.com", NS(path)[:-1])[0] == MSG_REQUEST_FAILURE


def test_G10_noMessageForAChannelThatIsNotOpenYet(tunnel: Tunnel) -> None:
    tunnel.names.resolveHostName = lambda *_, **__: None  # type: ignore[method-assign]
    body = TcpForward(b"slow.example.org", 80, b"", 0).encode()
    tunnel.client.transport.sendPacket(
        MSG_CHANNEL_OPEN, NS(b"direct-tcpip") + struct.pack(">3L", 0, 1 << 20, 32768) + body
    )
    tunnel.client.transport.sendPacket(MSG_CHANNEL_DATA, u32(0) + NS(b"early"))
    tunnel.pair.deliverOne(tunnel.client)
    with pytest.raises(ProtocolViolation):
        tunnel.pair.deliverOne(tunnel.client)


# ── G11: a server that opens what nobody asked for ────────────────────────────────────────────


def test_G11_nothingBeforeItWasAskedFor(tunnel: Tunnel) -> None:
    body = TcpForward(b"localhost", 8080, b"192.0.2.1", 1).encode()
    for kind, extra in (
        (b"forwarded-tcpip", body),
        (b"forwarded-streamlocal@openssh.com", UnixForwarded(b"/run/x").encode()),
        (b"x11", NS(b"192.0.2.1") + u32(1)),
        (b"auth-agent@openssh.com", b""),
    ):
        assert reasonOf(openRaw(tunnel, kind, extra, toClient=True)) == 1


def test_G11_anotherPortOrPathThanWasAskedFor(tunnel: Tunnel, tmp_path: Path) -> None:
    ends, target = tunnel.target()
    forward = tunnel.result(
        tunnel.forwards.remote(parseForward(f"0:127.0.0.1:{target}", remote=True))
    )
    path = tmp_path / "s"
    tunnel.result(tunnel.forwards.remote(parseForward(f"{path}:127.0.0.1:{target}", remote=True)))
    for kind, extra in (
        (b"forwarded-tcpip", TcpForward(b"localhost", forward.port + 1, b"", 0).encode()),
        (b"forwarded-tcpip", TcpForward(b"localhost", 0, b"", 0).encode()),
        (b"forwarded-tcpip", b"\0"),
        (b"forwarded-streamlocal@openssh.com", UnixForwarded(b"/another").encode()),
        (b"forwarded-streamlocal@openssh.com", b"\0"),
    ):
        assert reasonOf(openRaw(tunnel, kind, extra, toClient=True)) == 1
    assert not ends.made


def test_G11_nothingAfterItWasCancelled(tunnel: Tunnel) -> None:
    _, target = tunnel.target()
    forward = tunnel.result(
        tunnel.forwards.remote(parseForward(f"0:127.0.0.1:{target}", remote=True))
    )
    tunnel.result(forward.close())
    body = TcpForward(b"localhost", forward.port, b"", 0).encode()
    assert reasonOf(openRaw(tunnel, b"forwarded-tcpip", body, toClient=True)) == 1


def test_G11_nothingForWhatTheServerRefused(tunnel: Tunnel) -> None:
    _, taken = tunnel.target()
    outcome = tunnel.forwards.remote(parseForward(f"127.0.0.1:{taken}:127.0.0.1:9", remote=True))
    failures: list[Any] = []
    outcome.addErrback(failures.append)
    tunnel.until(lambda: failures)
    body = TcpForward(b"127.0.0.1", taken, b"", 0).encode()
    assert reasonOf(openRaw(tunnel, b"forwarded-tcpip", body, toClient=True)) == 1


def test_G11_aPortThatTheServerMakesUp(tunnel: Tunnel) -> None:
    """Port 0 is answered with a port; what is no port gets no channels."""
    tunnel.user.gotGlobalRequest = lambda *_: (True, b"\0\1")  # type: ignore[method-assign]
    outcome = tunnel.forwards.remote(parseForward("0:127.0.0.1:9", remote=True))
    failures: list[Any] = []
    outcome.addErrback(failures.append)
    tunnel.until(lambda: failures)
    assert Expected.of(tunnel.client)._tcp == {}


# ── G12: kinds of forwarding apart ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kinds", [(), ("local",), ("remote",), ("unix",), ("agent",)])
def test_G12_oneKindAllowsNoOther(driver: Driver, kinds: tuple[str, ...]) -> None:
    tunnel = Tunnel(driver, ForwardingPolicy(**dict.fromkeys(kinds, True)))  # type: ignore[arg-type]
    path = f"/tmp/limpet-G12-{os.getpid()}".encode()
    tcp = openRaw(tunnel, b"direct-tcpip", TcpForward(b"127.0.0.1", freePort(), b"", 0).encode())
    assert (reasonOf(tcp) == 2) is ("local" in kinds)
    unix = openRaw(tunnel, b"direct-streamlocal@openssh.com", UnixForward(path).encode())
    assert (reasonOf(unix) == 2) is ("unix" in kinds)
    assert (listen(tunnel, b"", 0)[0] == MSG_REQUEST_SUCCESS) is ("remote" in kinds)
    answer = ask(tunnel, b"streamlocal-forward@openssh.com", NS(path))[0]
    assert (answer == MSG_REQUEST_SUCCESS) is ("unix" in kinds)
    tunnel.close()
    assert not os.path.exists(path)


# ── G13: whoever does not read ────────────────────────────────────────────────────────────────


def test_G13_aNetworkThatIsFullStopsAllSources(tunnel: Tunnel) -> None:
    """The client takes 2**32 - 1 bytes on each channel, and then reads nothing from the network."""
    ends, port = tunnel.target()
    wanted = parseForward(f"0:127.0.0.1:{port}", remote=True)
    forward = tunnel.result(tunnel.forwards.local(wanted))
    nears = [tunnel.connect(forward.port) for _ in range(100)]
    tunnel.until(lambda: len(ends.made) == 100 and all(end.transport for end in ends.made))
    channels = list(tunnel.server.channels.values())
    for channel in channels:
        channel.remoteWindowLeft = 2**32 - 1
    tunnel.server.pauseProducing()
    for end in ends.made:
        end.transport.write(bytes(2**20))
    tunnel.driver.turn(200)
    assert sum(channel.bufferedBytes for channel in channels) <= 4 * 2**20
    tunnel.server.resumeProducing()
    tunnel.until(lambda: all(len(near.received) == 2**20 for near in nears))
    for end in (*nears, *ends.made):
        end.transport.abortConnection()
    tunnel.turn(20)


def test_G13_aClientThatGrantsNoWindowStopsTheSource(tunnel: Tunnel) -> None:
    ends, port = tunnel.target()
    wanted = parseForward(f"0:127.0.0.1:{port}", remote=True)
    forward = tunnel.result(tunnel.forwards.local(wanted))
    near = tunnel.connect(forward.port)
    tunnel.until(lambda: ends.made and ends.made[0].transport)
    near.transport.pauseProducing()
    ends.made[0].transport.write(bytes(32 * 2**20))
    tunnel.turn(200)
    (channel,) = tunnel.server.channels.values()
    assert 0 < channel.bufferedBytes <= 2**20
    for end in (near, ends.made[0]):
        end.transport.abortConnection()
    tunnel.turn(20)


def test_G13_aSocketThatNeverTakesTheRestIsCut(tunnel: Tunnel) -> None:
    ends, port = tunnel.target()
    endpoint = FarClientEndpoint(tunnel.client, "127.0.0.1", port)
    near = tunnel.result(endpoint.connect(Factory.forProtocol(End)))
    tunnel.until(lambda: ends.made and ends.made[0].transport)
    ends.made[0].transport.pauseProducing()
    near.transport.write(bytes(16 * 2**20))
    tunnel.turn(50)
    (channel,) = tunnel.server.channels.values()
    socketEnd = channel.client
    tunnel.client.serviceStopped()
    tunnel.server.serviceStopped()
    (timer,) = [call for call in tunnel.reactor.getDelayedCalls() if call.active()]
    assert LINGER_SECONDS - 5 < timer.getTime() - tunnel.reactor.seconds() <= LINGER_SECONDS
    assert socketEnd.transport.connected
    # The second look finds that nothing has moved.
    timer.func(*timer.args)
    timer.cancel()
    tunnel.driver.until(lambda: not socketEnd.transport.connected)
    ends.made[0].transport.abortConnection()


def test_G2_channelsOfForwardingAreLimited(tunnel: Tunnel) -> None:
    """What listens here opens no more channels to the client than there may be."""
    tunnel.server.maxChannels = 3
    ends, target = tunnel.target()
    forward = tunnel.result(
        tunnel.forwards.remote(parseForward(f"0:127.0.0.1:{target}", remote=True))
    )
    programs = [tunnel.connect(forward.port) for _ in range(5)]
    tunnel.until(lambda: sum(each.lost is not None or each.ended for each in programs) == 2)
    tunnel.until(lambda: len(ends.made) == 3)
    assert MAX_FORWARDING_CHANNELS == 512
    for each in programs:
        each.transport.loseConnection()
    tunnel.until(lambda: all(each.ended for each in ends.made))
    for each in ends.made:
        each.transport.loseConnection()
