"""What the letters of `limpet sftp` and `limpet cp` mean."""

from __future__ import annotations

import pytest

from limpet.scripts.transferoptions import Place, Usage, parseCp, parsePlace, parseSFTP


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("file", Place(None, b"file")),
        ("./a:b", Place(None, b"./a:b")),
        ("/a:b", Place(None, b"/a:b")),
        ("h:", Place("h", b"")),
        ("h:f", Place("h", b"f")),
        ("h:a:b", Place("h", b"a:b")),
        ("u@h:/f g", Place("h", b"/f g", "u")),
        ("u@[::1]:f", Place("::1", b"f", "u")),
        ("[::1]:f", Place("::1", b"f")),
        ("h:\udcff", Place("h", b"\xff")),
        ("sftp://h", Place("h", b"")),
        ("sftp://u@h:22/a%20b", Place("h", b"a b", "u", 22)),
        ("scp://h//abs", Place("h", b"/abs")),
        ("sftp://[::1]:2222/x", Place("::1", b"x", None, 2222)),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert parsePlace(text) == place


@pytest.mark.parametrize("text", [":f", "sftp://", "sftp://h:port/", "-oProxyCommand=x:f"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(Usage):
        parsePlace(text)


def test_letters_become_keywords() -> None:
    transfer = parseSFTP(
        ["-4C", "-P", "2222", "-i", "key", "-oUser=me", "-J", "jump", "-c", "aes128-ctr", "-F", "f",
         "you@host:dir"]
    )  # fmt: skip
    assert transfer.configFile == "f"
    overrides = transfer.overrides(transfer.places[0])
    assert overrides[:6] == [
        ("User", "you"),
        ("AddressFamily", "inet"),
        ("Compression", "yes"),
        ("ProxyJump", "jump"),
        ("Ciphers", "aes128-ctr"),
        ("Port", "2222"),
    ]
    assert ("User", "me") in overrides
    assert ("ClearAllForwardings", "yes") in overrides
    assert ("PermitLocalCommand", "no") in overrides


def test_letters_about_copying() -> None:
    transfer = parseSFTP(["-afprV", "-b", "-", "-B", "1000", "-R", "3", "-l", "800", "host"])
    assert transfer.copying == {"resume": True, "sync": True, "preserve": True, "verify": True}
    assert (transfer.recursive, transfer.batch) == (True, "-")
    assert (transfer.buffer, transfer.requests, transfer.rate) == (1000, 3, 100_000)
    transfer = parseSFTP(["-Xnrequests=5", "-Xbuffer=9999999", "-qN", "host:", "here"])
    assert (transfer.requests, transfer.buffer, transfer.quiet) == (5, 261120, False)
    assert transfer.localPath == "here"
    transfer = parseCp(["-rp", "a", "b", "h:", "--links=copy", "--in-place", "--resume", "-B"])
    assert transfer.copying == {
        "preserve": True,
        "links": "copy",
        "atomic": False,
        "resume": True,
    }
    assert transfer.assigned == {"BatchMode": "yes"}
    assert [place.path for place in transfer.places] == [b"a", b"b", b""]


def test_a_server_that_is_a_program() -> None:
    transfer = parseSFTP(["-D", "/usr/lib/sftp-server -e"])
    assert (transfer.command, transfer.places) == ("/usr/lib/sftp-server -e", [Place(None, b"")])


@pytest.mark.parametrize(
    "arguments",
    [[], ["a", "b", "c"], ["-z", "h"], ["-S", "x", "h"], ["-X", "other=1", "h"], ["-l", "0", "h"],
     ["-o", "novalue", "h"]],
)  # fmt: skip
def test_sftp_mistakes(arguments: list[str]) -> None:
    with pytest.raises(Usage):
        parseSFTP(arguments)


@pytest.mark.parametrize(
    "arguments", [[], ["a"], ["-R", "a", "b"], ["-O", "a", "b"], ["--links=x", "a", "b"]]
)
def test_cp_mistakes(arguments: list[str]) -> None:
    with pytest.raises(Usage):
        parseCp(arguments)


def test_help() -> None:
    assert parseSFTP(["-h"]).help
    assert parseCp(["--help"]).help
