"""What the system says of names and addresses; nothing here asks the network."""

from __future__ import annotations

import ctypes
import socket
from typing import Any

import pytest

from limpet.client import names
from limpet.client.names import (
    LocalAddress,
    addressOfInterface,
    localAddresses,
    numericAddress,
    systemLookUp,
)


class TestNames:
    def test_where_a_name_leads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def answer(*arguments: Any) -> Any:
            assert arguments[0] == b"web"
            return [(socket.AF_INET, 1, 6, "real.example", ("192.0.2.1", 0))] * 2

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        assert systemLookUp("web") == "real.example"

    def test_no_such_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def answer(*arguments: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "no")

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        assert systemLookUp("web") is None

    @pytest.mark.parametrize(
        ("host", "family", "found"),
        [
            ("127.1", "any", "127.0.0.1"),
            ("127.0.0.1", "inet6", None),
            ("0::0:1", "any", "::1"),
            ("::1", "inet", None),
            ("a", "any", None),
            ("fe80::1%nosuch0", "any", None),
            ("1.2.3.4.5", "any", None),
            ("\udcff", "any", None),
        ],
    )
    def test_addresses(self, host: str, family: str, found: str | None) -> None:
        assert numericAddress(host, family) == found


class TestInterfaces:
    ADDRESSES = (
        LocalAddress("lo", "127.0.0.1", True),
        LocalAddress("eth0", "fe80::1%eth0", False),
        LocalAddress("eth0", "2001:db8::1", False),
        LocalAddress("eth0", "192.0.2.1", False),
        LocalAddress("eth1", "fe80::2%eth1", False),
    )

    def test_one_of_this_machine(self) -> None:
        found = {address.text: address for address in localAddresses()}
        assert found["127.0.0.1"].isLoopback
        assert addressOfInterface(found["127.0.0.1"].interface, "inet") == "127.0.0.1"

    @pytest.mark.parametrize(
        ("interface", "family", "found"),
        [
            ("eth0", "inet", "192.0.2.1"),
            ("eth0", "inet6", "2001:db8::1"),
            ("eth0", "any", "2001:db8::1"),
            ("eth1", "inet6", "fe80::2%eth1"),
            ("eth1", "inet", None),
            ("lo", "any", "127.0.0.1"),
            ("eth9", "any", None),
        ],
    )
    def test_the_address_that_leads_furthest(
        self, monkeypatch: pytest.MonkeyPatch, interface: str, family: str, found: str | None
    ) -> None:
        monkeypatch.setattr(names, "localAddresses", lambda: list(self.ADDRESSES))
        assert addressOfInterface(interface, family) == found

    def test_a_system_that_does_not_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Library:
            def getifaddrs(self, first: Any) -> int:
                return -1

        monkeypatch.setattr(ctypes, "CDLL", lambda *ignored, **more: Library())
        assert localAddresses() == []
