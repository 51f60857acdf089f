"""Completions: what is offered reads back as what it stands for."""

from __future__ import annotations

import pytest

from limpet.client.sftpshell.completion import completions, localNames
from limpet.client.sftpshell.words import split

REMOTE: dict[bytes, list[tuple[bytes, bool]]] = {
    b"": [(b"docs", True), (b"draft one.txt", False), (b".hidden", False), (b"a*b", False)],
    b"docs": [(b"x.txt", False), (b"y", True)],
    b"/": [(b"etc", True)],
    b"/etc": [(b"passwd", False)],
}


def offered(line: bytes) -> list[bytes]:
    return completions(line, lambda path: REMOTE.get(path, []), lambda _: [(b"local", False)])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"re", [b"reget ", b"rename ", b"reput "]),
        (b"LS", [b"ls "]),
        (b"nothing", []),
        (b"get d", [b"docs/", b"draft\\ one.txt "]),
        (b"get ", [b"a\\*b ", b"docs/", b"draft\\ one.txt "]),
        (b"get 'dr", [b"'draft one.txt' "]),
        (b'get "dr', [b'"draft one.txt" ']),
        (b"get draft\\ o", [b"draft\\ one.txt "]),
        (b"get draft\\ ", [b"draft\\ one.txt "]),
        (b"get .", [b".hidden "]),
        (b"get docs/", [b"docs/x.txt ", b"docs/y/"]),
        (b"get /e", [b"/etc/"]),
        (b"get /etc/p", [b"/etc/passwd "]),
        (b"get docs ", [b"local "]),
        (b"get -r d", [b"docs/", b"draft\\ one.txt "]),
        (b"get -", []),
        (b"put l", [b"local "]),
        (b"put l d", [b"docs/", b"draft\\ one.txt "]),
        (b"chmod 6", []),
        (b"chmod 644 do", [b"docs/"]),
        (b"rm docs do", [b"docs/"]),
        (b"pwd d", []),
        (b"unknown d", []),
        (b"mv d", [b"docs/", b"draft\\ one.txt "]),
        (b"cd zzz/", []),
    ],
)
def test_what_is_offered(line: bytes, found: list[bytes]) -> None:
    assert offered(line) == found


@pytest.mark.parametrize("line", [b"get ", b"get '", b'get "', b"get dr"])
def test_it_reads_back(line: bytes) -> None:
    names = {name for name, _ in REMOTE[b""]}
    for word in offered(line):
        if not word.endswith(b"/"):
            assert split(b"get " + word)[1].literal in names


def test_local_names(tmp_path: object) -> None:
    assert localNames(b"/nonexistent") == []
    assert (b"etc", True) in localNames(b"/")
