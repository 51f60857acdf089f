"""What a client may set, and what a session starts with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from limpet.unix.accounts import Account
from limpet.unix.environment import (
    CLIENT_VARIABLES,
    MAX_VARIABLES,
    ROOT_PATH,
    USER_PATH,
    ClientVariables,
    connectionEnvironment,
    isPermitted,
    isValue,
    loginEnvironment,
)

SOMEONE = Account("someone", 1000, 1000, (1000,), "/home/someone", "/bin/zsh")


@pytest.mark.parametrize("name", [b"LANG", b"LC_ALL", b"LC_", b"TERM", b"GIT_PROTOCOL"])
def test_whatIsInTheListMayBeSet(name: bytes) -> None:
    assert isPermitted(name, CLIENT_VARIABLES)


@pytest.mark.parametrize(
    "name",
    [
        *(b"LD_PRELOAD", b"BASH_ENV", b"PATH", b"LANGUAGE", b"lang", b"LC", b"GIT_SSH_COMMAND"),
        *(b"", b"LC_A=B", b"LC_ALL\0", b"LC_()", b"LC_\xc3\xa9", b"LC_ A", b"LC_" + b"A" * 300),
    ],
)
def test_whatIsNotInTheListOrNoNameMayNot(name: bytes) -> None:
    assert not isPermitted(name, CLIENT_VARIABLES)


def test_evenAListOfEverythingTakesOnlyNames() -> None:
    assert isPermitted(b"ANYTHING", [b"*"])
    assert not isPermitted(b"BASH_FUNC_x()", [b"*"])
    assert not isPermitted(b"1ST", [b"*"])


@given(st.binary(max_size=20))
def test_aPatternIsNoMoreThanAPrefix(name: bytes) -> None:
    assert isPermitted(name, [b"A.*"]) is False


@pytest.mark.parametrize("value", [b"a\0b", b"a\nb", b"a\rb"])
def test_valuesThatForgeALineAreNone(value: bytes) -> None:
    assert not isValue(value)
    assert not ClientVariables().set(b"LANG", value)


def test_numberAndSizeAreBounded() -> None:
    variables = ClientVariables([b"*"])
    for number in range(MAX_VARIABLES):
        assert variables.set(b"V%d" % number, b"x")
    assert not variables.set(b"ONE_MORE", b"x")
    assert variables.set(b"V0", b"another value")
    assert variables.values[b"V0"] == b"another value"
    big = ClientVariables([b"*"])
    assert big.set(b"A", b"x" * 60000)
    assert not big.set(b"B", b"x" * 6000)
    assert big.set(b"A", b"x" * 1000)
    assert big.set(b"B", b"x" * 6000)


def test_aLoginHasItsAccountsVariables() -> None:
    environment = loginEnvironment(SOMEONE)
    assert environment == {
        b"HOME": b"/home/someone",
        b"USER": b"someone",
        b"LOGNAME": b"someone",
        b"SHELL": b"/bin/zsh",
        b"PATH": USER_PATH.encode(),
    }
    root = Account("root", 0, 0, (0,), "/root", "/bin/sh")
    assert loginEnvironment(root)[b"PATH"] == ROOT_PATH.encode()
    assert loginEnvironment(root, "/opt/bin")[b"PATH"] == b"/opt/bin"


def test_addressesOfTheConnection() -> None:
    peer = IPv4Address("TCP", "192.0.2.1", 40000)
    host = IPv4Address("TCP", "192.0.2.2", 22)
    assert connectionEnvironment(peer, host) == {
        b"SSH_CLIENT": b"192.0.2.1 40000 22",
        b"SSH_CONNECTION": b"192.0.2.1 40000 192.0.2.2 22",
    }
    six = IPv6Address("TCP", "2001:db8::1", 40000)
    assert b"2001:db8::1 40000" in connectionEnvironment(six, host)[b"SSH_CLIENT"]
    dressed = [
        IPv6Address("TCP", f"::ffff:{address.host}", address.port) for address in (peer, host)
    ]
    assert connectionEnvironment(*dressed) == connectionEnvironment(peer, host)
    scoped = IPv6Address("TCP", "fe80::1%eth0", 40000)
    assert b"fe80::1%eth0 40000" in connectionEnvironment(scoped, host)[b"SSH_CLIENT"]
    assert connectionEnvironment(UNIXAddress(b"/x"), host) == {}
    assert connectionEnvironment(None, None) == {}
