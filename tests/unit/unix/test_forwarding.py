"""What an account of the system may forward, and what of that an application may change."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from limpet.core.destinations import Destinations
from limpet.error import ConchError
from limpet.ssh.connection import MAX_CHANNELS
from limpet.tunnels.serving import MAX_FORWARDING_CHANNELS, ForwardingPolicy
from limpet.unix.accounts import Account
from limpet.unix.realm import UnixConchUser
from limpet.wire.fields import NS, u32
from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED
from limpet.wire.requests import TcpForward
from tests.unit.ssh.doubles import RecordingConnection, started
from tests.unit.unix.driving import Driver, driver

__all__ = ["driver"]

TCP = TcpForward(b"127.0.0.1", 9, b"", 0).encode()


def user(
    driver: Driver, policy: ForwardingPolicy | None, kind: type[UnixConchUser] = UnixConchUser
) -> tuple[UnixConchUser, RecordingConnection]:
    avatar = kind(Account.current(), reactor=driver.reactor, forwarding=policy)
    connection = started()
    connection.transport.avatar = avatar
    avatar.conn = connection
    return avatar, connection


@pytest.mark.parametrize("kind", [b"direct-tcpip", b"direct-streamlocal@openssh.com"])
@pytest.mark.parametrize("policy", [None, ForwardingPolicy(), ForwardingPolicy(remote=True)])
def test_what_is_not_allowed_is_prohibited(
    driver: Driver, kind: bytes, policy: ForwardingPolicy | None
) -> None:
    avatar, _ = user(driver, policy)
    with pytest.raises(ConchError) as refusal:
        avatar.lookupChannel(kind, 1, 1, TCP)
    assert refusal.value.data == OPEN_ADMINISTRATIVELY_PROHIBITED


@pytest.mark.parametrize(
    "request_",
    [
        (b"tcpip-forward", NS(b"") + u32(0)),
        (b"cancel-tcpip-forward", NS(b"") + u32(0)),
        (b"streamlocal-forward@openssh.com", NS(b"/tmp/x")),
        (b"cancel-streamlocal-forward@openssh.com", NS(b"/tmp/x")),
        (b"hostkeys-prove-00@openssh.com", b""),
        (b"unknown", b""),
    ],
)
def test_nor_does_anything_listen(driver: Driver, request_: tuple[bytes, bytes]) -> None:
    avatar, connection = user(driver, None)
    assert not avatar.gotGlobalRequest(*request_)
    assert connection.maxChannels == MAX_CHANNELS


def test_one_who_may_forward_has_more_channels_and_ends_what_listens(driver: Driver) -> None:
    avatar, connection = user(driver, ForwardingPolicy(remote=True))
    results: list[Any] = []
    avatar.gotGlobalRequest(b"tcpip-forward", NS(b"") + u32(0)).addBoth(results.append)
    ((_, payload),) = results
    (port,) = struct.unpack(">L", payload)
    assert port
    assert connection.maxChannels == MAX_FORWARDING_CHANNELS
    avatar.logout()
    driver.turn()
    assert set(driver.reactor.getReaders()) == {driver.reactor.waker}


def test_rules_know_the_user(driver: Driver) -> None:
    name = Account.current().name
    for rule, allowed in ((f"{name}@*:*", True), ("somebody-else@*:*", False)):
        policy = ForwardingPolicy(local=True, permitOpen=Destinations([rule]))
        avatar, _ = user(driver, policy)
        try:
            avatar.lookupChannel(b"direct-tcpip", 1, 1, TCP)
        except ConchError:
            assert not allowed
        else:
            assert allowed


def test_an_application_may_answer_by_itself(driver: Driver) -> None:
    class Own(UnixConchUser):
        def global_tcpip_forward(self, data: bytes) -> Any:
            return True, b"mine"

        def global_keepalive_example_org(self, data: bytes) -> Any:
            return 1

    avatar, _ = user(driver, None, Own)
    assert avatar.gotGlobalRequest(b"tcpip-forward", b"") == (True, b"mine")
