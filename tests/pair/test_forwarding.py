"""Connections through a client and a server: -L, -R, -D, sockets, and any Twisted protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory

from benchmarks.servers import freePort
from limpet.client.forwards import (
    FarClientEndpoint,
    FarServerEndpoint,
    FarUnixEndpoint,
    ForwardFailed,
)
from limpet.core.sshconfig.places import ForwardSpec, parseForward
from limpet.ssh.forwarding.channels import CROWD, CROWDED_WINDOW, FORWARDING_WINDOW
from limpet.tunnels.serving import ForwardingPolicy
from tests.pair.stack import pattern
from tests.pair.tunnels import End, Ends, Tunnel, requireIPv6
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

UP, DOWN = pattern(3_000_000, b"up"), pattern(2_000_000, b"down")


@pytest.fixture
def tunnel(driver: Driver) -> Iterator[Tunnel]:
    made = Tunnel(driver)
    yield made
    made.close()


def spec(text: str) -> ForwardSpec:
    """A forwarding, as -R takes it: with port 0 too."""
    return parseForward(text, remote=True)


def exchange(tunnel: Tunnel, near: End, far: End) -> None:
    """Both say much at once; all of it arrives, and then each end by itself."""
    near.transport.write(UP)
    far.transport.write(DOWN)
    tunnel.until(lambda: len(far.received) == len(UP) and len(near.received) == len(DOWN))
    assert far.received == UP
    assert near.received == DOWN
    near.transport.loseWriteConnection()
    tunnel.until(lambda: far.ended, "the end at the far side")
    assert not near.ended
    far.transport.write(b"one more")
    tunnel.until(lambda: near.received.endswith(b"one more"))
    far.transport.loseWriteConnection()
    tunnel.until(lambda: near.ended, "the end at the near side")
    near.transport.loseConnection()
    tunnel.until(lambda: not tunnel.client.channels and not tunnel.server.channels)


class TestLocal:
    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_to_a_host(self, tunnel: Tunnel, host: str) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:{host}:{port}")))
        near = tunnel.connect(forward.port)
        tunnel.until(lambda: ends.made)
        exchange(tunnel, near, ends.made[0])

    def test_over_ipv6(self, tunnel: Tunnel) -> None:
        requireIPv6()
        ends, port = tunnel.target("::1")
        forward = tunnel.result(tunnel.forwards.local(spec(f"[::1]:0:[::1]:{port}")))
        near = tunnel.connect(forward.port, "::1")
        tunnel.until(lambda: ends.made)
        exchange(tunnel, near, ends.made[0])

    def test_the_far_side_ends_first(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:127.0.0.1:{port}")))
        near = tunnel.connect(forward.port)
        tunnel.until(lambda: ends.made and ends.made[0].transport)
        far = ends.made[0]
        far.transport.write(DOWN)
        far.transport.loseWriteConnection()
        tunnel.until(lambda: near.ended)
        assert near.received == DOWN
        near.transport.write(UP)
        near.transport.loseConnection()
        tunnel.until(lambda: far.ended)
        assert far.received == UP
        far.transport.loseConnection()

    def test_sockets_to_sockets(self, tunnel: Tunnel, tmp_path: Path) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        served = Ends()
        port = tunnel.result(tunnel.forwards._sockets.listen(bytes(there), served))
        forward = tunnel.result(tunnel.forwards.local(spec(f"{here}:{there}")))
        assert here.stat().st_mode & 0o777 == 0o600
        near = End()
        tunnel.result(tunnel.forwards._sockets.connect(bytes(here), near))
        tunnel.until(lambda: served.made)
        exchange(tunnel, near, served.made[0])
        tunnel.result(forward.close())
        assert not here.exists()
        port.stopListening()

    def test_nobody_there(self, tunnel: Tunnel) -> None:
        asked = spec(f"0:127.0.0.1:{freePort()}")
        forward = tunnel.result(tunnel.forwards.local(asked))
        near = tunnel.connect(forward.port)
        tunnel.until(lambda: near.lost is not None)
        assert near.lost.check(ConnectionDone) is None, "an empty answer, where there was none"
        ((who, reason, words),) = tunnel.refusals()
        assert (who, reason) == ("server", 2)
        assert words.endswith(b"Connection refused")
        assert [told for told in tunnel.told if "Connection refused" in told] == tunnel.told
        assert len(tunnel.told) == 1

    def test_the_port_is_taken(self, tunnel: Tunnel) -> None:
        _, port = tunnel.target()
        with pytest.raises(ForwardFailed, match=f"port {port}: Address already in use"):
            tunnel.result(tunnel.forwards.local(spec(f"127.0.0.1:{port}:h:1")))

    def test_what_is_said_before_the_channel_is_open_arrives(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:127.0.0.1:{port}")))
        tunnel.paused = True
        near = tunnel.connect(forward.port)
        near.transport.write(b"early")
        near.transport.loseWriteConnection()
        tunnel.until(lambda: tunnel.client.channels)
        tunnel.driver.turn(10)
        tunnel.paused = False
        tunnel.until(lambda: ends.made and ends.made[0].ended)
        assert ends.made[0].received == b"early"
        near.transport.loseConnection()
        ends.made[0].transport.loseConnection()

    def test_connections_go_on_when_the_forwarding_ends(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:127.0.0.1:{port}")))
        near = tunnel.connect(forward.port)
        tunnel.until(lambda: ends.made)
        tunnel.result(forward.close())
        assert tunnel.forwards.open == []
        exchange(tunnel, near, ends.made[0])

    def test_all_is_over_with_the_connection(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:127.0.0.1:{port}")))
        near = tunnel.connect(forward.port)
        tunnel.until(lambda: ends.made and ends.made[0].transport)
        tunnel.client.serviceStopped()
        tunnel.server.serviceStopped()
        tunnel.until(lambda: near.ended and ends.made[0].ended)
        assert tunnel.forwards.open == []
        with socket.socket() as late:
            assert late.connect_ex(("127.0.0.1", forward.port))
        near.transport.loseConnection()
        ends.made[0].transport.loseConnection()


class TestRemote:
    @pytest.mark.parametrize("port", [0, 1])
    def test_to_a_host(self, tunnel: Tunnel, port: int) -> None:
        ends, target = tunnel.target()
        asked = freePort() if port else 0
        forward = tunnel.result(tunnel.forwards.remote(spec(f"{asked}:127.0.0.1:{target}")))
        assert forward.port == asked or not asked
        far = tunnel.connect(forward.port)
        tunnel.until(lambda: ends.made)
        exchange(tunnel, far, ends.made[0])
        tunnel.result(forward.close())
        assert not tunnel.user.service._listeners

    def test_it_listens_on_the_loopback(self, tunnel: Tunnel) -> None:
        forward = tunnel.result(tunnel.forwards.remote(spec("*:0:127.0.0.1:9")))
        (listener,) = tunnel.user.service._listeners.values()
        assert {host for host, _ in listener.addresses()} <= {"127.0.0.1", "::1"}
        assert {port for _, port in listener.addresses()} == {forward.port}

    def test_a_socket(self, tunnel: Tunnel, tmp_path: Path) -> None:
        ends, target = tunnel.target()
        path = tmp_path / "socket"
        forward = tunnel.result(tunnel.forwards.remote(spec(f"{path}:127.0.0.1:{target}")))
        far = End()
        tunnel.result(tunnel.user.service._sockets.connect(bytes(path), far))  # type: ignore[union-attr]
        tunnel.until(lambda: ends.made)
        exchange(tunnel, far, ends.made[0])
        tunnel.result(forward.close())
        assert not path.exists()

    def test_to_a_socket(self, tunnel: Tunnel, tmp_path: Path) -> None:
        served = Ends()
        path = tmp_path / "socket"
        port = tunnel.result(tunnel.forwards._sockets.listen(bytes(path), served))
        forward = tunnel.result(tunnel.forwards.remote(spec(f"0:{path}")))
        far = tunnel.connect(forward.port)
        tunnel.until(lambda: served.made)
        exchange(tunnel, far, served.made[0])
        port.stopListening()

    def test_nobody_here(self, tunnel: Tunnel) -> None:
        asked = spec(f"0:127.0.0.1:{freePort()}")
        forward = tunnel.result(tunnel.forwards.remote(asked))
        far = tunnel.connect(forward.port)
        tunnel.until(lambda: far.lost is not None)
        assert [(who, reason) for who, reason, _ in tunnel.refusals()] == [("client", 2)]
        assert len(tunnel.told) == 1

    def test_refused(self, tunnel: Tunnel) -> None:
        _, taken = tunnel.target()
        with pytest.raises(ForwardFailed, match=f"does not listen on port {taken}"):
            tunnel.result(tunnel.forwards.remote(spec(f"127.0.0.1:{taken}:h:1")))
        with pytest.raises(ForwardFailed, match="does not listen on /nowhere/x"):
            tunnel.result(tunnel.forwards.remote(spec("/nowhere/x:h:1")))

    def test_listeners_end_with_the_login(self, tunnel: Tunnel) -> None:
        forward = tunnel.result(tunnel.forwards.remote(spec("0:127.0.0.1:9")))
        tunnel.user.service.close()
        tunnel.turn()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", forward.port))


class TestDynamic:
    @pytest.mark.parametrize("isRemote", [False, True])
    def test_socks_5(self, tunnel: Tunnel, isRemote: bool) -> None:
        ends, port = tunnel.target()
        program = self.program(tunnel, isRemote)
        program.transport.write(b"\5\1\0")
        tunnel.until(lambda: program.received == b"\5\0")
        program.received.clear()
        request = b"\5\1\0\3\x09localhost" + port.to_bytes(2, "big")
        # What follows at once, before the answer, is for the target.
        program.transport.write(request + b"hello")
        tunnel.until(lambda: ends.made and len(program.received) == 10)
        assert program.received[:2] == b"\5\0"
        program.received.clear()
        far = ends.made[0]
        tunnel.until(lambda: far.received == b"hello")
        far.received.clear()
        exchange(tunnel, program, far)

    @pytest.mark.parametrize("isRemote", [False, True])
    def test_what_comes_before_the_answer_keeps_its_order(
        self, tunnel: Tunnel, isRemote: bool
    ) -> None:
        ends, port = tunnel.target()
        tunnel.names.addresses["slow.example.org"] = ["127.0.0.1"]
        look, held = tunnel.names.resolveHostName, []
        tunnel.names.resolveHostName = (  # type: ignore[method-assign]
            lambda *arguments, **details: held.append(lambda: look(*arguments, **details))
        )
        program = self.program(tunnel, isRemote)
        request = b"\4\1" + port.to_bytes(2, "big") + b"\0\0\0\1me\0slow.example.org\0"
        program.transport.write(request + b"first, ")
        tunnel.until(lambda: held)
        for piece in (b"second, ", b"third"):
            program.transport.write(piece)
            tunnel.turn(20)
        program.transport.loseWriteConnection()
        tunnel.turn(20)
        held[0]()
        tunnel.until(lambda: ends.made and ends.made[0].ended)
        assert ends.made[0].received == b"first, second, third"
        assert program.received == b"\0\x5a" + bytes(6)
        ends.made[0].transport.loseConnection()
        tunnel.until(lambda: not tunnel.server.channels)

    @pytest.mark.parametrize("isRemote", [False, True])
    def test_nobody_there(self, tunnel: Tunnel, isRemote: bool) -> None:
        program = self.program(tunnel, isRemote)
        program.transport.write(b"\4\1" + freePort().to_bytes(2, "big") + b"\x7f\0\0\1\0")
        tunnel.until(lambda: program.ended or program.lost)
        assert program.received == b"\0\x5b" + bytes(6)
        program.transport.loseConnection()

    @pytest.mark.parametrize("isRemote", [False, True])
    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b""])
    def test_who_does_not_speak_socks_is_shown_out(
        self, tunnel: Tunnel, isRemote: bool, said: bytes
    ) -> None:
        program = self.program(tunnel, isRemote)
        program.transport.write(said)
        if not said:
            program.transport.loseWriteConnection()
        tunnel.until(lambda: program.ended or program.lost)
        assert program.received == b""
        program.transport.loseConnection()
        tunnel.until(lambda: not tunnel.server.channels)

    def program(self, tunnel: Tunnel, isRemote: bool) -> End:
        if isRemote:
            forward = tunnel.result(tunnel.forwards.remote(spec("0")))
        else:
            forward = tunnel.result(tunnel.forwards.dynamic(ForwardSpec(None, 0)))
        return tunnel.connect(forward.port)


class TestBackPressure:
    def test_G13_a_reader_that_stops_stops_the_writer(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:127.0.0.1:{port}")))
        near = tunnel.connect(forward.port)
        tunnel.until(lambda: ends.made and ends.made[0].transport)
        far = ends.made[0]
        far.transport.pauseProducing()
        total = 64 * 2**20
        block = bytes(2**20)
        sent = SimpleNamespace(size=0)

        class Producer:
            def resumeProducing(self) -> None:
                if sent.size < total:
                    sent.size += len(block)
                    near.transport.write(block)
                else:
                    near.transport.unregisterProducer()

            def stopProducing(self) -> None:
                """Nothing to stop."""

        near.transport.registerProducer(Producer(), False)
        last = -1
        while last != sent.size:
            last = sent.size
            tunnel.turn(60)
        assert sent.size < total
        (channel,) = tunnel.server.channels.values()
        (source,) = tunnel.client.channels.values()
        assert channel.client.transport._pendingBytes <= FORWARDING_WINDOW
        assert source.bufferedBytes <= 2**20
        far.transport.resumeProducing()
        tunnel.until(lambda: len(far.received) == total)
        near.transport.loseConnection()
        tunnel.until(lambda: far.ended)
        far.transport.loseConnection()

    def test_a_crowd_gets_smaller_windows(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        forward = tunnel.result(tunnel.forwards.local(spec(f"0:127.0.0.1:{port}")))
        nears = [tunnel.connect(forward.port) for _ in range(CROWD + 3)]
        tunnel.until(lambda: len(ends.made) == len(nears))
        windows = [channel.localWindowSize for channel in tunnel.server.channels.values()]
        assert windows == [FORWARDING_WINDOW] * CROWD + [CROWDED_WINDOW] * 3
        for end in nears:
            end.transport.loseConnection()
        tunnel.until(lambda: all(end.ended for end in ends.made))
        for end in ends.made:
            end.transport.loseConnection()


class TestAnyProtocol:
    def test_it_connects_through_the_far_side(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        endpoint = FarClientEndpoint(tunnel.client, "127.0.0.1", port, tunnel.reactor)
        near = tunnel.result(endpoint.connect(Factory.forProtocol(End)))
        tunnel.until(lambda: ends.made and ends.made[0].transport)
        assert near.transport.getPeer().port == port
        exchange(tunnel, near, ends.made[0])
        tunnel.until(lambda: near.lost is not None)
        assert near.lost.check(ConnectionDone)

    def test_through_a_socket(self, tunnel: Tunnel, tmp_path: Path) -> None:
        served = Ends()
        path = tmp_path / "socket"
        port = tunnel.result(tunnel.forwards._sockets.listen(bytes(path), served))
        endpoint = FarUnixEndpoint(tunnel.client, str(path))
        near = tunnel.result(endpoint.connect(Factory.forProtocol(End)))
        tunnel.until(lambda: served.made and served.made[0].transport)
        exchange(tunnel, near, served.made[0])
        port.stopListening()

    def test_a_refusal_is_told(self, tunnel: Tunnel) -> None:
        endpoint = FarClientEndpoint(tunnel.client, "127.0.0.1", freePort())
        with pytest.raises(ForwardFailed, match="Connection refused"):
            tunnel.result(endpoint.connect(Factory.forProtocol(End)))

    def test_it_may_be_cancelled(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        connecting = FarClientEndpoint(tunnel.client, "127.0.0.1", port).connect(
            Factory.forProtocol(End)
        )
        connecting.addErrback(lambda _: None)
        connecting.cancel()
        tunnel.until(lambda: ends.made and ends.made[0].ended)
        ends.made[0].transport.loseConnection()
        tunnel.until(lambda: not tunnel.client.channels)

    def test_it_listens_at_the_far_side(self, tunnel: Tunnel) -> None:
        served = Ends()
        port = tunnel.result(FarServerEndpoint(tunnel.client, 0).listen(served))
        far = tunnel.connect(port.getHost().port)
        tunnel.until(lambda: served.made and served.made[0].transport)
        assert served.made[0].transport.getPeer().host == "127.0.0.1"
        exchange(tunnel, served.made[0], far)
        tunnel.result(port.stopListening())
        assert not tunnel.user.service._listeners

    def test_nothing_arrives_while_it_is_paused_and_nothing_is_lost(self, tunnel: Tunnel) -> None:
        ends, port = tunnel.target()
        endpoint = FarClientEndpoint(tunnel.client, "127.0.0.1", port)
        near = tunnel.result(endpoint.connect(Factory.forProtocol(End)))
        tunnel.until(lambda: ends.made and ends.made[0].transport)
        near.transport.pauseProducing()
        ends.made[0].transport.write(UP)
        ends.made[0].transport.loseConnection()
        tunnel.turn(50)
        assert (near.received, near.ended, near.lost) == (b"", False, None)
        near.transport.resumeProducing()
        tunnel.until(lambda: near.ended)
        assert near.received == UP
        near.transport.loseConnection()
        tunnel.until(lambda: near.lost is not None)


class TestAllOfAConfiguration:
    def config(self, tunnel: Tunnel, **changes: Any) -> SimpleNamespace:
        _, port = tunnel.target()
        values: dict[str, Any] = {
            "localForwards": [spec(f"0:127.0.0.1:{port}")],
            "dynamicForwards": [ForwardSpec(None, 0)],
            "remoteForwards": [spec("0:127.0.0.1:9"), spec("/nowhere/x:127.0.0.1:9")],
            "exitOnForwardFailure": False,
        }
        return SimpleNamespace(**(values | changes))

    def test_what_works_works_and_the_rest_is_told(self, tunnel: Tunnel) -> None:
        told = tunnel.result(tunnel.forwards.start(self.config(tunnel)))
        assert len(tunnel.forwards.open) == 3
        allocated = [line for line in told if line.startswith("Allocated port ")]
        assert len(allocated) == 3
        assert any(line.endswith(" for remote forward to 127.0.0.1:9") for line in allocated)
        assert any(line.endswith(" for local forward to SOCKS") for line in allocated)
        assert sum("does not listen on /nowhere/x" in line for line in told) == 1

    def test_one_failure_is_enough_where_that_is_wanted(self, tunnel: Tunnel) -> None:
        with pytest.raises(ForwardFailed, match="/nowhere/x"):
            tunnel.result(tunnel.forwards.start(self.config(tunnel, exitOnForwardFailure=True)))


def test_nothing_is_forwarded_unless_it_is_allowed(driver: Driver) -> None:
    tunnel = Tunnel(driver, ForwardingPolicy())
    endpoint = FarClientEndpoint(tunnel.client, "127.0.0.1", 9)
    with pytest.raises(ForwardFailed, match="not enabled"):
        tunnel.result(endpoint.connect(Factory.forProtocol(End)))
    with pytest.raises(ForwardFailed, match="does not listen"):
        tunnel.result(tunnel.forwards.remote(spec("0:127.0.0.1:9")))
    tunnel.close()
