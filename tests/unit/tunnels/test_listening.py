"""Where forwarding listens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from twisted.internet.error import CannotListenError

from benchmarks.servers import freePort
from limpet.tunnels.listening import (
    EVERY_ADDRESS,
    LOOPBACK,
    ForwardedPort,
    Listener,
    addressesFor,
    listenOn,
)
from tests.pair.tunnels import Ends, requireIPv6
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]


@pytest.mark.parametrize(
    ("asked", "withGateway", "without"),
    [
        ("", EVERY_ADDRESS, LOOPBACK),
        ("*", EVERY_ADDRESS, LOOPBACK),
        ("localhost", LOOPBACK, LOOPBACK),
        ("127.0.0.1", ("127.0.0.1",), ("127.0.0.1",)),
        ("::1", ("::1",), ("::1",)),
        ("0.0.0.0", ("0.0.0.0",), LOOPBACK),
        ("::", ("::",), LOOPBACK),
        ("192.0.2.1", ("192.0.2.1",), LOOPBACK),
        ("example.org", ("example.org",), LOOPBACK),
        ("127.1", ("127.1",), LOOPBACK),
    ],
)
def test_addresses(asked: str, withGateway: Sequence[str], without: Sequence[str]) -> None:
    assert addressesFor(asked, gatewayPorts=True) == withGateway
    assert addressesFor(asked, gatewayPorts=False) == without


def hosts(listener: Listener) -> list[str]:
    return [host for host, _ in listener.addresses()]


@pytest.mark.parametrize("addresses", [LOOPBACK, EVERY_ADDRESS])
def test_both_families_have_the_same_port(driver: Driver, addresses: Sequence[str]) -> None:
    requireIPv6()
    listener = listenOn(driver.reactor, addresses, 0, Ends())
    assert hosts(listener) == list(addresses)
    assert {port for _, port in listener.addresses()} == {listener.port}
    listener.stopListening()
    driver.turn()


def test_an_address_that_the_machine_does_not_have_is_left_out(driver: Driver) -> None:
    listener = listenOn(driver.reactor, ["192.0.2.1", "127.0.0.1"], 0, Ends())
    assert hosts(listener) == ["127.0.0.1"]
    listener.stopListening()
    driver.turn()
    with pytest.raises(CannotListenError):
        listenOn(driver.reactor, ["192.0.2.1"], 0, Ends())


@pytest.mark.parametrize("taken", LOOPBACK)
def test_a_port_that_is_taken_on_one_address_is_taken(driver: Driver, taken: str) -> None:
    requireIPv6()
    first = listenOn(driver.reactor, [taken], freePort(), Ends())
    with pytest.raises(CannotListenError):
        listenOn(driver.reactor, LOOPBACK, first.port, Ends())
    driver.turn()
    # And nothing is left of the attempt.
    (other,) = set(LOOPBACK) - {taken}
    second = listenOn(driver.reactor, [other], first.port, Ends())
    for listener in (first, second):
        listener.stopListening()
    driver.turn()


def test_a_port_of_our_choice_is_free_on_every_address(driver: Driver) -> None:
    """The system chooses by one address; on another the port may be somebody else's."""
    requireIPv6()
    rivals: list[Listener] = []
    real = ForwardedPort.startListening

    def startListening(port: ForwardedPort) -> None:
        if port.interface == "::1" and len(rivals) < 3:
            patch.setattr(ForwardedPort, "startListening", real)
            assert port.port
            rivals.append(listenOn(driver.reactor, ["::1"], port.port, Ends()))
            patch.setattr(ForwardedPort, "startListening", startListening)
        real(port)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ForwardedPort, "startListening", startListening)
        listener = listenOn(driver.reactor, LOOPBACK, 0, Ends())
    assert hosts(listener) == list(LOOPBACK)
    assert len({listener.port, *(rival.port for rival in rivals)}) == 4
    for each in (listener, *rivals):
        each.stopListening()
    driver.turn()
