"""Patterns for remote names."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.client.filecopy import globbing
from tests.pair.sftpserver import MemoryServer

TREE = dict.fromkeys(("a.txt", "b.txt", "c.py", ".hidden", "d/x.txt", "e/x.txt", "e/y", "s*r"), b"")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[ab].txt", ["a.txt", "b.txt"]),
        ("[!a].txt", ["b.txt"]),
        ("[^a].txt", ["b.txt"]),
        ("[a-b].*", ["a.txt", "b.txt"]),
        ("*/x.txt", ["d/x.txt", "e/x.txt"]),
        ("*/*", ["d/x.txt", "e/x.txt", "e/y"]),
        ("e/*", ["e/x.txt", "e/y"]),
        (".*", [".hidden"]),
        ("*hidden", []),
        ("[.]hidden", []),
        ("nothing*", []),
        ("a.txt/*", []),
        ("a.txt", ["a.txt"]),
        ("z.txt", []),
        ("s\\*r", ["s*r"]),
        ("[a", []),
        ("/home/u/d/*", ["/home/u/d/x.txt"]),
        ("**.py", ["c.py"]),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, found: list[str]) -> None:
    server = MemoryServer(TREE)
    assert server.result(server.files().glob(pattern)) == found


@given(st.binary(min_size=1, max_size=20))
def test_a_quoted_name_matches_itself_and_is_no_wildcard(name: bytes) -> None:
    pattern = globbing.quoted(name)
    assert not globbing.hasWildcard(pattern)
    assert globbing.unquoted(pattern) == name
    assert globbing.Component(pattern).match(name) or name.startswith(b".")


@given(
    st.text("ab-]![*?^", max_size=8).filter(lambda p: not p.startswith("[^") and "[^" not in p),
    st.text("ab-]![*?", min_size=1, max_size=6),
)
def test_without_backslashes_it_agrees_with_fnmatch(pattern: str, name: str) -> None:
    matches = globbing.Component(pattern.encode()).match(name.encode())
    assert matches == fnmatch.fnmatchcase(name, pattern)


def test_F7_a_name_that_nearly_matches_costs_no_more_than_its_length() -> None:
    """A server could name a file so that a pattern of seven stars was at it for years."""
    component = globbing.Component(b"*a" * 7 + b"*b")
    assert not component.match(b"a" * 255)
    assert component.match(b"a" * 254 + b"b")
