"""Patterns and address lists, also against Python's own matcher."""

from __future__ import annotations

import fnmatch
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.patterns import (
    MAX_PATTERN_LENGTH,
    matchAddressList,
    matchPattern,
    matchPatternList,
    parseAddress,
)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (b"", b"", True),
        (b"", b"a", False),
        (b"*", b"", True),
        (b"?", b"", False),
        (b"?", b"a", True),
        (b"a*c", b"abbc", True),
        (b"a*c", b"abbcd", False),
        (b"*.example.com", b"www.example.com", True),
        (b"*.example.com", b"example.com", False),
        (b"*a*b", b"xxaxxaxxb", True),
        (b"[a]", b"a", False),
        (b"[a]", b"[a]", True),
    ],
)
def test_matchPattern(pattern: bytes, text: bytes, expected: bool) -> None:
    assert matchPattern(pattern, text) is expected


@pytest.mark.parametrize("pattern", [b"*" + b"a" * 511 + b"b", b"*a" * 500 + b"b", b"?*" * 512])
def test_F7_aStepForEachByteAndNoMore(pattern: bytes) -> None:
    """With 63 such in one's authorized_keys, each request to forward held up everybody."""
    lines = 0

    def count(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    text = b"a" * MAX_PATTERN_LENGTH
    sys.settrace(count)
    try:
        matchPattern(pattern, text)
    finally:
        sys.settrace(None)
    assert lines < 10 * (len(pattern) + len(text))


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_likeFnmatch(pattern: str, text: str) -> None:
    assert matchPattern(pattern.encode(), text.encode()) == fnmatch.fnmatchcase(text, pattern)


@pytest.mark.parametrize(
    ("patterns", "text", "expected"),
    [
        (b"a,b", b"b", True),
        (b"a,b", b"c", False),
        (b"*,!b", b"b", False),
        (b"!b,*", b"b", False),
        (b"!b", b"a", False),
        (b",", b"", False),
        (b"", b"a", False),
    ],
)
def test_matchPatternList(patterns: bytes, text: bytes, expected: bool) -> None:
    assert matchPatternList(patterns, text) is expected


@pytest.mark.parametrize(
    ("patterns", "address", "expected"),
    [
        (b"192.0.2.0/24", "192.0.2.9", True),
        (b"192.0.2.0/24", "192.0.3.9", False),
        (b"192.0.2.0/24", "::ffff:192.0.2.9", True),
        (b"192.0.2.*", "192.0.2.9", True),
        (b"2001:db8::/32", "2001:db8::1", True),
        (b"2001:db8::/32", "192.0.2.1", False),
        (b"2001:0DB8:0::1", "2001:db8::1", True),
        (b"2001:DB8::*", "2001:db8::1", True),
        (b"fe80::1", "fe80::1%eth0", True),
        (b"10.0.0.0/8,!10.1.0.0/16", "10.2.0.1", True),
        (b"10.0.0.0/8,!10.1.0.0/16", "10.1.0.1", False),
        (b"*,!10.1.2.3", "10.1.2.3", False),
        (b"*", "host.example.com", False),
        (b"host.example.com", "192.0.2.1", False),
        (b"", "192.0.2.1", False),
    ],
)
def test_matchAddressList(patterns: bytes, address: str, expected: bool) -> None:
    assert matchAddressList(patterns, address) is expected


def test_parseAddress() -> None:
    assert str(parseAddress("::ffff:127.0.0.1")) == "127.0.0.1"
    assert parseAddress("127.1") is None
    assert parseAddress("") is None
