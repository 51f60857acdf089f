"""How a line of ssh_config becomes a keyword and arguments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core.sshconfig.lines import (
    MAX_ARGUMENTS,
    MAX_LINE_LENGTH,
    BadConfig,
    Source,
    quoted,
    splitArguments,
    splitLine,
)

HERE = Source("config", 7)


class TestKeyword:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Port 22", ("Port", "22")),
            ("  Port\t22  ", ("Port", "22")),
            ("Port=22", ("Port", "22")),
            ("Port = 22", ("Port", "22")),
            ("Port\t=\t22", ("Port", "22")),
            ("Port == 22", ("Port", "= 22")),
            ('"Port" 22', ("Port", "22")),
            ("Port", ("Port", "")),
            ("Port 22\r", ("Port", "22")),
            ("SetEnv A=B", ("SetEnv", "A=B")),
        ],
    )
    def test_is_what_stands_first(self, text: str, expected: tuple[str, str]) -> None:
        assert splitLine(text, HERE) == expected

    @pytest.mark.parametrize("text", ["", "   ", "# Port 22", "  # x", "\r"])
    def test_there_is_none_in_empty_lines_and_comments(self, text: str) -> None:
        assert splitLine(text, HERE) is None

    @pytest.mark.parametrize("text", ['"Port 22', "a\0b", "x" * (MAX_LINE_LENGTH + 1)])
    def test_a_line_that_cannot_be_read_is_named(self, text: str) -> None:
        with pytest.raises(BadConfig, match="^config line 7: "):
            splitLine(text, HERE)


class TestArguments:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            ("a b\tc", ["a", "b", "c"]),
            ('"a b" c', ["a b", "c"]),
            ("'a b' c", ["a b", "c"]),
            ('a"b c"d', ["ab cd"]),
            ('"it\'s"', ["it's"]),
            ('""', [""]),
            ("a # b", ["a"]),
            ("a#b", ["a#b"]),
            ('"a # b"', ["a # b"]),
            (r"a\ b", ["a b"]),
            (r"a\"b", ['a"b']),
            (r"a\\b", ["a\\b"]),
            (r"a\nb", ["a\\nb"]),
            ('"a\\ b"', ["a\\ b"]),
            ("a\\", ["a\\"]),
        ],
    )
    def test_are_split_at_blanks(self, text: str, expected: list[str]) -> None:
        assert splitArguments(text, HERE) == expected

    @pytest.mark.parametrize("text", ['"a', "a 'b", 'a"'])
    def test_quotes_have_to_close(self, text: str) -> None:
        with pytest.raises(BadConfig, match="line 7: a quote"):
            splitArguments(text, HERE)

    def test_there_are_not_more_than_anybody_needs(self) -> None:
        with pytest.raises(BadConfig):
            splitArguments("a " * (MAX_ARGUMENTS + 1), HERE)


@given(st.text())
def test_what_is_quoted_is_one_argument(text: str) -> None:
    assert splitArguments(quoted(text), HERE) == [text]


def test_what_needs_no_quotes_gets_none() -> None:
    for text in ("~/.ssh/id_ed25519", "DOMAIN\\bob", "a#b", "2222"):
        assert quoted(text) == text
