"""Tokens and variables: what is put in is never looked at again."""

from __future__ import annotations

import pytest

from limpet.core.sshconfig.tokens import (
    BadToken,
    connectionHash,
    expand,
    expandAll,
    expandEnvironment,
    expandHome,
)

TOKENS = {"h": "host", "p": "22", "n": "%p${HOME}"}
ENVIRONMENT = {"HOME": "/home/u", "ODD": "%h"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a", "a"),
        ("%h:%p", "host:22"),
        ("100%%", "100%"),
        ("%%h", "%h"),
        ("%n", "%p${HOME}"),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert expand(text, TOKENS) == expected


@pytest.mark.parametrize("text", ["%x", "a%", "% h"])
def test_a_token_that_does_not_exist_is_told_with_those_that_do(text: str) -> None:
    with pytest.raises(BadToken, match="%% %h %n %p"):
        expand(text, TOKENS)


def test_variables() -> None:
    assert expandEnvironment("${HOME}/x${ODD}", ENVIRONMENT) == "/home/u/x%h"
    for text in ("${NONE}", "${HOME", "${}"):
        with pytest.raises(BadToken):
            expandEnvironment(text, ENVIRONMENT)


def test_neither_looks_at_what_the_other_put_in() -> None:
    assert expandAll("${ODD}/%n/$x", TOKENS, ENVIRONMENT) == "%h/%p${HOME}/$x"


def test_homes() -> None:
    assert expandHome("~", "/h/") == "/h/"
    assert expandHome("~/x", "/h/") == "/h/x"
    assert expandHome("~other/x", "/h") == "~other/x"
    assert expandHome("/a/~/x", "/h") == "/a/~/x"


def test_a_connection_has_a_name_of_its_own() -> None:
    first = connectionHash("l", "h", "22", "u", "")
    assert len(first) == 40
    assert first != connectionHash("l", "h", "23", "u", "")
