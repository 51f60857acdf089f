"""Lines cut into words, and words that survive it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.client.filecopy import globbing
from limpet.client.sftpshell.words import Unfinished, quoted, split, splitOpen


@pytest.mark.parametrize(
    ("line", "patterns"),
    [
        (b"", []),
        (b"  ls \t -l ", [b"ls", b"-l"]),
        (b"get 'a b' \"c d\"", [b"get", b"a b", b"c d"]),
        (b"get a\\ b", [b"get", b"a b"]),
        (b"get *.c '*.c' \\*.c \"[a]\"", [b"get", b"*.c", b"\\*.c", b"\\*.c", b"\\[a]"]),
        (b"get 'it'\\''s'", [b"get", b"it's"]),
        (b"get 'it\\'s'", [b"get", b"it's"]),
        (b'get "a\\"b\\\\c\\d"', [b"get", b'a"b\\\\c\\\\d']),
        (b"get ''", [b"get", b""]),
        (b"# all of it", []),
        (b"ls # the rest", [b"ls"]),
        (b"ls a#b", [b"ls", b"a#b"]),
        (b"ls \xff\xc3\xbc", [b"ls", b"\xff\xc3\xbc"]),
    ],
)
def test_words(line: bytes, patterns: list[bytes]) -> None:
    assert [word.pattern for word in split(line)] == patterns


@pytest.mark.parametrize("line", [b"get 'a", b'get "a', b"'"])
def test_an_open_quotation(line: bytes) -> None:
    with pytest.raises(Unfinished):
        split(line)
    assert splitOpen(line)[-1].quote in (b"'", b'"')


@given(st.binary(min_size=1, max_size=20), st.sampled_from([b"", b"'", b'"']))
def test_what_is_quoted_is_one_word_that_means_itself(text: bytes, quote: bytes) -> None:
    word = split(b"get " + quote + quoted(text, quote) + quote)[1]
    assert word.literal == text
    assert not globbing.hasWildcard(word.pattern)
