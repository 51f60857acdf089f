"""Escapes are taken out of what is typed, whatever the pieces it comes in, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.client.escapes import Escape, EscapeReader, shownCharacter


def read(*pieces: bytes, character: bytes = b"~") -> list[bytes | Escape]:
    reader = EscapeReader(character)
    return [found for piece in pieces for found in reader.feed(piece)]


def test_an_escape_is_the_first_thing_on_a_line() -> None:
    assert read(b"~.") == [Escape.CLOSE]
    assert read(b"ls\r~.") == [b"ls\r", Escape.CLOSE]
    assert read(b"ls\n~.") == [b"ls\n", Escape.CLOSE]


def test_in_the_middle_of_a_line_it_is_none() -> None:
    assert read(b"ls ~.") == [b"ls ~."]
    assert read(b"l", b"~", b".") == [b"l", b"~", b"."]


def test_it_may_come_in_pieces() -> None:
    assert read(b"\r", b"~", b".") == [b"\r", Escape.CLOSE]
    assert read(b"x", b"\r", b"~", b"?") == [b"x", b"\r", Escape.HELP]


def test_twice_the_character_is_the_character() -> None:
    assert read(b"~~.") == [b"~."]
    assert read(b"~~~.") == [b"~~."]


def test_what_is_no_escape_is_sent_whole() -> None:
    assert read(b"~/bin/x") == [b"~/bin/x"]
    assert read(b"~\r~.") == [b"~\r", Escape.CLOSE]


def test_one_may_follow_another() -> None:
    assert read(b"~?~#~.") == [Escape.HELP, Escape.LIST, Escape.CLOSE]


@pytest.mark.parametrize("escape", list(Escape))
def test_every_escape_is_seen(escape: Escape) -> None:
    assert read(b"a\r~" + escape.value + b"b") == [b"a\r", escape, b"b"]


def test_another_character() -> None:
    assert read(b"~.\r\x1d.", character=b"\x1d") == [b"~.\r", Escape.CLOSE]
    # A character that is also an escape's letter can still be sent.
    assert read(b"..x", character=b".") == [b".x"]


def test_a_character_is_one_byte() -> None:
    for character in (b"", b"ab"):
        with pytest.raises(ValueError):
            EscapeReader(character)


def test_nothing_gives_nothing() -> None:
    assert read(b"") == []
    assert read(b"a", b"") == [b"a"]


def test_help_names_what_can_be_typed() -> None:
    text = EscapeReader(b"\x1d").help()
    for letter in ("^].", "^]^Z", "^]#", "^]?", "^]^]"):
        assert letter in text


@pytest.mark.parametrize(
    ("character", "shown"),
    [(b"~", "~"), (b"\x1d", "^]"), (b"\x7f", "^?"), (b"\xe9", "\\xe9")],
)
def test_a_character_is_named(character: bytes, shown: str) -> None:
    assert shownCharacter(character) == shown


@given(st.lists(st.sampled_from([b"~", b".", b"\r", b"\n", b"a", b"?", b"~~", b"\rab"])))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    whole = read(b"".join(pieces))
    joined: list[bytes | Escape] = []
    for found in read(*pieces):
        if isinstance(found, bytes) and joined and isinstance(joined[-1], bytes):
            joined[-1] += found
        else:
            joined.append(found)
    assert joined == whole


@given(st.binary())
def test_without_the_character_all_is_sent(data: bytes) -> None:
    typed = data.replace(b"~", b"")
    assert b"".join(found for found in read(typed) if isinstance(found, bytes)) == typed
