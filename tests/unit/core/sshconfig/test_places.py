"""Destinations, jump hosts, forwardings."""

from __future__ import annotations

import pytest

from limpet.core.sshconfig.places import (
    MAX_JUMPS,
    BadPlace,
    ForwardSpec,
    JumpHost,
    checkHost,
    checkUser,
    parseDestination,
    parseForward,
    parseJumps,
    parsePort,
)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a", "a.example", "10.0.0.1", "::1", "fe80::1%eth0", "bücher.example", "a_b-c"]
    )
    def test_hosts(self, name: str) -> None:
        assert checkHost(name) == name

    @pytest.mark.parametrize("name", ["bob", "b.o-b_", "DOMAIN\\bob", "bob@realm", "bjørn", "b+x"])
    def test_users(self, name: str) -> None:
        assert checkUser(name) == name

    @pytest.mark.parametrize(
        "name", ["", "-x", "a b", "a\n", "a\0", "$(x)", "`x`", "a;b", "a|b", "a&b", "'a'", '"a"']
    )
    def test_what_a_shell_or_an_option_parser_acts_on_is_no_name(self, name: str) -> None:
        with pytest.raises(BadPlace):
            checkHost(name)
        with pytest.raises(BadPlace):
            checkUser(name)

    @pytest.mark.parametrize(
        "name", ["a/b", "..", ".", "a%00b", "%h", "a,b", "*", "a!", "#a", "x" * 256, "a@b"]
    )
    def test_what_is_no_host_in_a_path_or_a_list(self, name: str) -> None:
        with pytest.raises(BadPlace):
            checkHost(name)

    def test_a_user_ends_with_no_backslash(self) -> None:
        with pytest.raises(BadPlace, match="backslash"):
            checkUser("a\\")

    def test_spaces_are_for_names_that_a_file_gives(self) -> None:
        assert checkUser("Domain User", allowSpaces=True) == "Domain User"
        with pytest.raises(BadPlace):
            checkUser("a\tb", allowSpaces=True)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "22x", "", "１", "0x16", "022222"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(BadPlace):
        parsePort(text)


class TestDestinations:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("h", JumpHost(None, "h")),
            ("u@h", JumpHost("u", "h")),
            ("u@v@h", JumpHost("u@v", "h")),
            ("::1", JumpHost(None, "::1")),
            ("u@[::1]", JumpHost("u", "::1")),
            ("ssh://u@h:2222", JumpHost("u", "h", 2222)),
            ("ssh://[::1]:22/", JumpHost(None, "::1", 22)),
            ("ssh://h", JumpHost(None, "h")),
        ],
    )
    def test_are_read(self, text: str, expected: JumpHost) -> None:
        assert parseDestination(text) == expected

    @pytest.mark.parametrize(
        "text", ["", "@h", "u@", "h:22", "ssh://h:x", "ssh://h/p", "ssh://h%00x\0", "-l", "u@-h"]
    )
    def test_or_refused(self, text: str) -> None:
        if text == "h:22":
            # A colon is an IPv6 address to `ssh`; the name is then not found.
            assert parseDestination(text) == JumpHost(None, "h:22")
            return
        with pytest.raises(BadPlace):
            parseDestination(text)


class TestJumps:
    def test_are_read_in_order(self) -> None:
        assert parseJumps("u@a:2,b,[::1]:3,ssh://c:4") == (
            JumpHost("u", "a", 2),
            JumpHost(None, "b"),
            JumpHost(None, "::1", 3),
            JumpHost(None, "c", 4),
        )

    def test_none_is_none(self) -> None:
        assert parseJumps("None") == ()

    @pytest.mark.parametrize(
        "text", ["", "a,,b", "a:0", "a:x", "[::1", "[::1]x", "-a", "a b", ",".join("a" * 99)]
    )
    def test_or_refused(self, text: str) -> None:
        assert len(text.split(",")) in (1, 3) or len(text.split(",")) > MAX_JUMPS
        with pytest.raises(BadPlace):
            parseJumps(text)

    @pytest.mark.parametrize("text", ["u@a:2", "[::1]:3", "a", "u@[fe80::1]:4"])
    def test_are_written_as_they_are_read(self, text: str) -> None:
        assert str(parseJumps(text)[0]) == text


class TestForwards:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("8080:h:80", ForwardSpec(None, 8080, "h", 80)),
            ("localhost:8080:h:80", ForwardSpec("localhost", 8080, "h", 80)),
            ("[::1]:8080:[::2]:80", ForwardSpec("::1", 8080, "::2", 80)),
            (":8080:h:80", ForwardSpec("", 8080, "h", 80)),
            ("*:8080:h:80", ForwardSpec("*", 8080, "h", 80)),
            ("8080:/s", ForwardSpec(None, 8080, targetPath="/s")),
            ("a:8080:/s", ForwardSpec("a", 8080, targetPath="/s")),
            ("/l:h:80", ForwardSpec(None, None, "h", 80, listenPath="/l")),
            ("/l:/s", ForwardSpec(None, None, listenPath="/l", targetPath="/s")),
            ("/l\\:x:/s", ForwardSpec(None, None, listenPath="/l:x", targetPath="/s")),
        ],
    )
    def test_local(self, text: str, expected: ForwardSpec) -> None:
        found = parseForward(text)
        assert found == expected
        assert not found.isDynamic

    @pytest.mark.parametrize("text", ["1080", "localhost:1080", "[::1]:1080", "*:1080"])
    def test_dynamic(self, text: str) -> None:
        found = parseForward(text, dynamic=True)
        assert found.isDynamic
        assert found.listenPort == 1080
        assert parseForward(text, remote=True) == found

    def test_the_server_may_choose_a_port(self) -> None:
        assert parseForward("0:h:80", remote=True).listenPort == 0
        with pytest.raises(BadPlace):
            parseForward("0:h:80")

    @pytest.mark.parametrize(
        "text",
        ["", "8080", "h:80", "8080:h", "x:h:80", "1:h:0", "1:h:99999", "1:2:3:4:5", "[::1:1:h:2"]
        + ["1::2", "[::1]x:1:h:2", "/a", "1:h:/s:2"],
    )
    def test_or_refused(self, text: str) -> None:
        with pytest.raises(BadPlace):
            parseForward(text)

    @pytest.mark.parametrize("text", ["", "a:b:1", "/s", "0", "1:2:3"])
    def test_what_is_not_dynamic(self, text: str) -> None:
        with pytest.raises(BadPlace):
            parseForward(text, dynamic=True)
