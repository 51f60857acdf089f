"""Rules about where forwarding may lead."""

from __future__ import annotations

import pytest

from limpet.core.destinations import (
    EVERYWHERE,
    MAX_RULES,
    BadRule,
    Destinations,
    faultOfHost,
    faultOfPath,
    reachedAddress,
)


def allowed(rules: list[str], host: str, address: str, port: int = 80, user: str = "alice") -> bool:
    destinations = Destinations(rules)
    name = host.encode()
    return destinations.allowsName(user.encode(), name, port) and destinations.allowsAddress(
        user.encode(), name, address, port
    )


class TestRules:
    @pytest.mark.parametrize(
        "network",
        [
            "10.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/0.255.255.255",
            "10.0.0.0/0008",
            "[::ffff:10.0.0.0/104]",
        ],
    )
    def test_G10_aNetworkIsExcludedHoweverItIsWritten(self, network: str) -> None:
        assert not allowed(["*:*", f"!{network}:*"], "db.internal", "10.1.2.3")
        assert allowed(["*:*", f"!{network}:*"], "example.org", "192.0.2.1")
        assert allowed([f"{network}:*"], "db.internal", "10.1.2.3")

    @pytest.mark.parametrize(
        ("rules", "host", "address", "port"),
        [
            (["*:*"], "example.org", "192.0.2.1", 80),
            (["example.org:80"], "Example.ORG", "192.0.2.1", 80),
            (["*.example.org:*"], "db.example.org", "192.0.2.1", 5432),
            (["192.0.2.1:80"], "192.0.2.1", "192.0.2.1", 80),
            (["192.0.2.0/24:80"], "example.org", "192.0.2.9", 80),
            (["192.0.2.*:80"], "example.org", "192.0.2.9", 80),
            (["[2001:db8::1]:80"], "2001:db8:0::1", "2001:db8::1", 80),
            (["[2001:db8::/32]:80"], "v6.example.org", "2001:db8::7", 80),
            (["*:8000-8099"], "h", "192.0.2.1", 8000),
            (["*:8000-8099"], "h", "192.0.2.1", 8099),
            (["alice@*:*"], "h", "192.0.2.1", 1),
            (["*:*", "!10.0.0.0/8:*"], "h", "192.0.2.1", 1),
            (["*:*", "!bob@*:*"], "h", "192.0.2.1", 1),
        ],
    )
    def test_what_a_rule_allows(self, rules: list[str], host: str, address: str, port: int) -> None:
        assert allowed(rules, host, address, port)

    @pytest.mark.parametrize(
        ("rules", "host", "address", "port"),
        [
            ([], "h", "192.0.2.1", 80),
            (["example.org:80"], "example.org", "192.0.2.1", 81),
            (["example.org:80"], "example.com", "192.0.2.1", 80),
            (["192.0.2.0/24:80"], "example.org", "192.0.3.1", 80),
            (["*:8000-8099"], "h", "192.0.2.1", 8100),
            (["bob@*:*"], "h", "192.0.2.1", 1),
            (["*:*", "!10.0.0.0/8:*"], "rebound.example.org", "10.1.2.3", 1),
            (["!10.0.0.0/8:*", "*:*"], "10.1.2.3", "10.1.2.3", 1),
            (["*:*", "!evil.example.org:*"], "EVIL.example.org", "192.0.2.1", 1),
            (["*:*", "!127.0.0.0/8:*"], "::ffff:127.0.0.1", "::ffff:127.0.0.1", 1),
            (["*:*", "![::1]:*"], "localhost", "::1", 1),
            (["/*"], "h", "192.0.2.1", 1),
        ],
    )
    def test_what_it_does_not(self, rules: list[str], host: str, address: str, port: int) -> None:
        assert not allowed(rules, host, address, port)

    def test_a_name_is_looked_up_only_if_some_rule_could_allow_it(self) -> None:
        assert not Destinations(["db.example.org:*"]).allowsName(b"a", b"other.example.org", 1)
        assert Destinations(["10.0.0.0/8:*"]).allowsName(b"a", b"other.example.org", 1)
        assert not Destinations(["10.0.0.0/8:1"]).allowsName(b"a", b"other.example.org", 2)

    def test_sockets(self) -> None:
        rules = Destinations(["/run/user/*", "bob@/srv/bob.sock", "!/run/user/0/*", "*:*"])
        assert rules.allowsPath(b"alice", b"/run/user/1000/x")
        assert rules.allowsPath(b"bob", b"/srv/bob.sock")
        assert not rules.allowsPath(b"alice", b"/srv/bob.sock")
        assert not rules.allowsPath(b"alice", b"/run/user/0/x")
        assert not rules.allowsPath(b"alice", b"/etc/x")

    def test_everywhere(self) -> None:
        assert EVERYWHERE.allowsPath(b"a", b"/x")
        assert EVERYWHERE.allowsAddress(b"a", b"h", "2001:db8::1", 1)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "host",
            ":80",
            "host:",
            "host:0x50",
            "host:65536",
            "host:9-3",
            "::1:80",
            "10.0.0.0/33:1",
            "!!10.0.0.1:*",
            "alice@!10.0.0.1:*",
            "!" + "a" * 1025 + ":*",
            "!/" + "a" * 1025,
        ],
    )
    def test_what_is_no_rule(self, text: str) -> None:
        with pytest.raises(BadRule):
            Destinations([text])

    def test_too_many(self) -> None:
        with pytest.raises(BadRule):
            Destinations(["*:*"] * (MAX_RULES + 1))

    def test_names_that_are_no_text(self) -> None:
        """As the command line gives them, where somebody types bytes that are not UTF-8."""
        rules = Destinations(["\udcff@*:22", "!/run/\udcff", "/run/*"])
        assert rules.allowsName(b"\xff", b"host", 22)
        assert not rules.allowsName(b"other", b"host", 22)
        assert not rules.allowsPath(b"other", b"/run/\xff")

    def test_a_path_with_an_at(self) -> None:
        assert Destinations(["/run/a@b"]).allowsPath(b"alice", b"/run/a@b")


@pytest.mark.parametrize(
    ("address", "reached"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:0.0.0.0", "127.0.0.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("name", "name"),
    ],
)
def test_what_an_address_reaches(address: str, reached: str) -> None:
    assert reachedAddress(address) == reached


@pytest.mark.parametrize("port", [0, -1, 65536, 2**32 - 1])
def test_G10_ports_that_are_none(port: int) -> None:
    assert faultOfHost(b"example.org", port)


@pytest.mark.parametrize("host", [b"", b"a\0b", b"a b", b"a\nb", b"u@h", b"a/b", b"x" * 256])
def test_G10_hosts_that_are_none(host: bytes) -> None:
    assert faultOfHost(host, 80)


@pytest.mark.parametrize(
    "host", [b"example.org", b"127.1", b"::1", b"fe80::1%eth0", b"\xc3\xa9.org"]
)
def test_hosts_that_may_be_tried(host: bytes) -> None:
    assert faultOfHost(host, 80) is None


@pytest.mark.parametrize("path", [b"x", b"", b"/a\0b", b"/a/../b", b"/" + b"x" * 107])
def test_paths_that_are_none(path: bytes) -> None:
    assert faultOfPath(path)


def test_a_path_that_may_be_tried() -> None:
    assert faultOfPath(b"/run/a..b/c") is None
