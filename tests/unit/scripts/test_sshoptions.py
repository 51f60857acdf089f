"""The letters of ssh(1) mean for us what they mean for ssh: `ssh -G` is the judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from limpet.client.config import ClientConfig, loadClientConfig
from limpet.scripts.sshoptions import LETTERS, Invocation, Usage, parse
from tests.interop.peers import requirePeer


def test_options_may_stand_on_both_sides_of_the_destination() -> None:
    for arguments in (
        ["-p", "2222", "-l", "ann", "web1", "ls", "-l"],
        ["web1", "-p2222", "-l", "ann", "ls", "-l"],
        ["-p2222", "web1", "-l", "ann", "--", "ls", "-l"],
    ):
        found = parse(arguments)
        assert found.host == "web1"
        assert ("Port", "2222") in found.overrides
        assert ("User", "ann") in found.overrides
        assert found.command == "ls -l"


def test_the_commands_own_options_are_the_commands() -> None:
    assert parse(["h", "grep", "-v", "x"]).command == "grep -v x"
    assert parse(["h", "grep", "-v", "x"]).overrides == []


@pytest.mark.parametrize(
    ("destination", "host", "overrides"),
    [
        ("web1", "web1", []),
        ("ann@web1", "web1", [("User", "ann")]),
        ("a@b@web1", "web1", [("User", "a@b")]),
        ("ssh://ann@web1:2200", "web1", [("User", "ann"), ("Port", "2200")]),
        ("ssh://[::1]:2200", "::1", [("Port", "2200")]),
        ("::1", "::1", []),
    ],
)
def test_destinations(destination: str, host: str, overrides: list[tuple[str, str]]) -> None:
    found = parse([destination])
    assert (found.host, found.overrides) == (host, overrides)


def test_the_letter_for_the_user_comes_before_the_destination() -> None:
    assert parse(["-l", "bob", "ann@web1"]).overrides == [("User", "bob"), ("User", "ann")]


def test_loudness_adds_up() -> None:
    assert parse(["-v", "h"]).overrides == [("LogLevel", "DEBUG1")]
    assert parse(["-vv", "h"]).overrides == [("LogLevel", "DEBUG2")]
    assert parse(["-vvvvv", "h"]).overrides == [("LogLevel", "DEBUG3")]


def test_a_terminal_asked_for_twice_is_forced() -> None:
    assert parse(["-t", "h"]).overrides == [("RequestTTY", "yes")]
    assert parse(["-tt", "h"]).overrides == [("RequestTTY", "force")]
    assert parse(["-t", "h", "-t", "vi"]).overrides == [("RequestTTY", "force")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Port=22", ("Port", "22")),
        ("Port 22", ("Port", "22")),
        (" Port = 22 ", ("Port", "22")),
        ("ProxyCommand=nc -x a=b %h", ("ProxyCommand", "nc -x a=b %h")),
        ("SetEnv A=b", ("SetEnv", "A=b")),
    ],
)
def test_keywords(text: str, expected: tuple[str, str]) -> None:
    assert parse(["-o", text, "h"]).overrides == [expected]


def test_forwardings() -> None:
    found = parse(["-L8080:db:5432", "-R", "0:localhost:22", "-D1080", "-D", "[::1]:1081", "h"])
    (local,) = found.localForwards
    assert (local.listenPort, local.targetHost, local.targetPort) == (8080, "db", 5432)
    (remote,) = found.remoteForwards
    assert (remote.listenPort, remote.targetHost, remote.targetPort) == (0, "localhost", 22)
    assert [forward.listenPort for forward in found.dynamicForwards] == [1080, 1081]
    assert found.dynamicForwards[1].listenHost == "::1"


def test_standard_input_and_output_forwarded() -> None:
    found = parse(["-W", "[::1]:22", "h"])
    assert found.forwardTo == ("::1", 22)
    assert ("ClearAllForwardings", "yes") in found.overrides
    assert ("SessionType", "none") in found.overrides


def test_a_second_M_asks() -> None:
    assert ("ControlMaster", "yes") in parse(["-M", "h"]).overrides
    assert ("ControlMaster", "ask") in parse(["-MM", "h"]).overrides


def test_what_ends_at_once_needs_no_destination() -> None:
    assert parse(["-V"]).showsVersion
    assert parse(["-Q", "kex"]).query == "kex"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ""),
        (["-p", "22"], "no host is named"),
        (["-p"], "-p requires argument"),
        (["-Z", "h"], "-Z not recognized"),
        (["-w", "0:0", "h"], "Tunnel"),
        (["-1", "h"], "not safe"),
        (["-oPort", "h"], "KEYWORD=value"),
        (["-o", "", "h"], "KEYWORD=value"),
        (["-N", "-s", "h", "sftp"], "-N and -s"),
        (["-J", "a", "-J", "b", "h"], "joined by commas"),
        (["-L", "nonsense", "h"], "-L: 'nonsense' is not a forwarding"),
        (["-W", "::1:22", "h"], "brackets"),
        (["-W", "h:0", "h"], "HOST:PORT"),
        (["--", "-oProxyCommand=x"], "begins with a dash"),
        (["ann@-oProxyCommand=x"], "begins with a dash"),
        (["-l", "-x", "h"], "begins with a dash"),
        (["-l", "a$(x)", "h"], "it holds"),
        (["h`x`"], "it holds"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], words: str) -> None:
    with pytest.raises(Usage) as caught:
        parse(arguments)
    assert words in str(caught.value)
    assert bool(words) == bool(str(caught.value))


def test_what_has_no_effect_is_told() -> None:
    found = parse(["-X", "-K", "h"])
    assert len(found.notices) == 2
    assert parse(["-x", "-k", "-S", "none", "-2", "h"]).notices == []


def test_every_letter_is_known() -> None:
    """Each letter is refused by name, told, or taken; none falls through."""
    for index, letter in enumerate(LETTERS):
        if letter == ":":
            continue
        value = "x:1" if LETTERS[index + 1 : index + 2] == ":" else ""
        value = {"L": "1:h:2", "R": "1:h:2", "D": "1", "o": "Port=1", "S": "none"}.get(
            letter, value
        )
        try:
            found = parse([f"-{letter}{value}", "h"])
        except Usage as refusal:
            refused = str(refusal)
        else:
            refused = ""
            assert found != Invocation(host="h") or letter in "2xS"
        assert refused == "" or refused.startswith(f"-{letter}: ")


COMPARED = {
    "hostname": "hostName",
    "user": "user",
    "port": "port",
    "addressfamily": "addressFamily",
    "compression": "compression",
    "requesttty": "requestTTY",
    "loglevel": "logLevel",
}
SSH_SAYS = {
    ("requesttty", "true"): "yes",
    ("requesttty", "false"): "no",
    ("loglevel", "DEBUG"): "DEBUG1",
    ("loglevel", "SILENT"): "QUIET",
}


@pytest.mark.parametrize(
    "arguments",
    [
        ["h"],
        ["-p", "2200", "ann@h"],
        ["-p", "2200", "ssh://ann@h:2201"],
        ["-l", "bob", "ann@h", "-p", "23"],
        ["-4", "-6", "h"],
        ["-C", "h"],
        ["-oCompression=no", "-C", "h"],
        ["-C", "-oCompression=no", "h"],
        ["-t", "h"],
        ["-t", "-t", "h", "x"],
        ["-T", "h"],
        ["-T", "-t", "h"],
        ["-t", "-T", "h"],
        ["-q", "h"],
        ["-v", "h"],
        ["-v", "-v", "h"],
        ["-q", "-v", "h"],
        ["-v", "-q", "h"],
        ["-oLogLevel=ERROR", "-v", "h"],
        ["-6", "-4", "h"],
        ["-vvv", "h"],
        ["-o", "RequestTTY=no", "-t", "h"],
        ["-o", "User=ann", "-l", "bob", "h"],
        ["-l", "bob", "-o", "User=ann", "carl@h"],
        ["-o", "Port=7", "-p", "8", "h"],
    ],
)
def test_ssh_understands_the_same(arguments: list[str], tmp_path: Path) -> None:
    printed = subprocess.run(
        [requirePeer("ssh"), "-F", "none", "-G", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout
    judge = dict(line.split(None, 1) for line in printed.splitlines() if " " in line)
    found = parse(arguments)
    config = loadClientConfig(
        found.host, overrides=found.overrides, files=(), localUser="me", home=str(tmp_path)
    )
    for keyword, attribute in COMPARED.items():
        ours = shownAsSsh(config, attribute)
        theirs = SSH_SAYS.get((keyword, judge[keyword]), judge[keyword])
        if keyword == "user" and ours == "me":
            continue  # nobody was named: each takes who runs it
        assert ours == theirs, keyword


def shownAsSsh(config: ClientConfig, attribute: str) -> str:
    value = getattr(config, attribute)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
