"""Flags, times, amounts and lists of algorithms."""

from __future__ import annotations

import pytest

from limpet.core.sshconfig import values
from limpet.core.sshconfig.values import BadValue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("1h30", 3630),
        ("2D", 172800),
        ("1w", 604800),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert values.time(text) == seconds


@pytest.mark.parametrize("text", ["x", "m", "-1", "1y", "9" * 11, "3551w"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(BadValue):
        values.time(text)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["1G"], (1 << 30, 0)),
        (["default", "1h"], (0, 3600)),
        (["500m", "none"], (500 << 20, 0)),
        (["4096"], (4096, 0)),
        (["0"], (0, 0)),
    ],
)
def test_rekey_limits(words: list[str], expected: tuple[int, int]) -> None:
    assert values.rekeyLimit(words) == expected


@pytest.mark.parametrize(
    "words", [[], ["15"], ["1X"], ["1G", "1h", "x"], ["9999999P"], ["-1"], ["G"]]
)
def test_what_is_no_rekey_limit(words: list[str]) -> None:
    with pytest.raises(BadValue):
        values.rekeyLimit(words)


@pytest.mark.parametrize(
    ("text", "char"), [("none", "none"), ("~", "~"), ("^A", "\x01"), ("^a", "\x01"), ("^[", "\x1b")]
)
def test_escape_characters(text: str, char: str) -> None:
    assert values.escapeChar(text) == char


@pytest.mark.parametrize("text", ["abc", "^", "^1x", ""])
def test_what_is_no_escape_character(text: str) -> None:
    if text == "^":
        assert values.escapeChar(text) == "^"
        return
    with pytest.raises(BadValue):
        values.escapeChar(text)


@pytest.mark.parametrize("text", ["x", "", "１", "1e3", "99999999999", "--1"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(BadValue):
        values.integer(text)


class TestNumberOfArguments:
    def test_one_is_one(self) -> None:
        read = values.one(values.text)
        assert read(["a"]) == "a"
        for words in ([], [""], ["a", "b"]):
            with pytest.raises(BadValue):
                read(words)

    def test_many_are_one_or_more(self) -> None:
        read = values.many(values.text)
        assert read(["a", "b"]) == ("a", "b")
        for words in ([], ["a", ""]):
            with pytest.raises(BadValue):
                read(words)


class TestAlgorithms:
    DEFAULT = (b"a1", b"a2", b"b")
    KNOWN = frozenset((*DEFAULT, b"old"))

    @pytest.mark.parametrize(
        ("wanted", "found", "missing"),
        [
            ("b,a1", [b"b", b"a1"], []),
            ("b,x", [b"b"], ["x"]),
            ("x", [], ["x"]),
            ("+old", [b"a1", b"a2", b"b", b"old"], []),
            ("+a1", [b"a1", b"a2", b"b"], []),
            ("^b,old", [b"b", b"old", b"a1", b"a2"], []),
            ("-a*", [b"b"], []),
            ("-a1,b", [b"a2"], []),
            ("-*", [], []),
            ("-none", [b"a1", b"a2", b"b"], []),
        ],
    )
    def test_a_list_is_put_together(
        self, wanted: str, found: list[bytes], missing: list[str]
    ) -> None:
        assert values.preferred(wanted, self.DEFAULT, self.KNOWN) == (found, missing)
