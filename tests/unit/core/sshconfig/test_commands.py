"""Command lines as arguments, without a shell."""

from __future__ import annotations

import subprocess

import pytest

from limpet.core.sshconfig.commands import NeedsShell, splitCommand
from limpet.core.sshconfig.tokens import BadToken

TOKENS = {"h": "a b;$(x)`y`", "p": "22"}
ENVIRONMENT = {"V": "v w", "HOME": "/h"}


def split(text: str) -> list[str]:
    return splitCommand(text, TOKENS, ENVIRONMENT, "/h")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nc -X 5 host %p", ["nc", "-X", "5", "host", "22"]),
        ("exec nc host", ["nc", "host"]),
        ("nc '%p' \"%p\"", ["nc", "22", "22"]),
        ("nc a' b'c", ["nc", "a bc"]),
        (r"nc a\ b", ["nc", "a b"]),
        (r'nc "a\"b\\"', ["nc", 'a"b\\']),
        ("nc '' x", ["nc", "", "x"]),
        ("~/bin/x ~/y a~/z '~/q'", ["/h/bin/x", "/h/y", "a~/z", "~/q"]),
        ('x ~ "~" "~/q" \\~/q ~"/q" \'${~}\'', ["x", "/h", "~", "~/q", "~/q", "~/q", "${~}"]),
        ("$V ${V}x $NONE.", ["v w", "v wx", "."]),
        ("'$V'", ["$V"]),
        ("nc %% # comment", ["nc", "%"]),
        ("nc a#b", ["nc", "a#b"]),
        ("nc h 2>/dev/null", ["nc", "h"]),
        ("nc h 2> /dev/null", ["nc", "h"]),
        ('sh -c "a | b; c %p"', ["sh", "-c", "a | b; c 22"]),
        ("sh -c 'a > b && c'", ["sh", "-c", "a > b && c"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert split(text) == expected


@pytest.mark.parametrize("text", ["%h", "x%h", "'%h'", '"%h"'])
def test_what_a_token_stands_for_stays_in_its_word(text: str) -> None:
    (word,) = split(text)
    assert word.removeprefix("x") == TOKENS["h"]


@pytest.mark.parametrize(
    "text",
    [
        "a | b",
        "a|b",
        "a; b",
        "a && b",
        "a & ",
        "a > f",
        "a >f",
        "a < f",
        "a 2>&1",
        "a 2>/dev/null b",
        "a $(b)",
        "a `b`",
        'a "$(b)"',
        'a "`b`"',
        "(a)",
        "a 'b",
        'a "b',
        "",
        "exec",
        "# only a comment",
    ],
)
def test_what_needs_a_shell_is_refused(text: str) -> None:
    with pytest.raises(NeedsShell):
        split(text)


def test_tokens_that_do_not_exist_are_told() -> None:
    with pytest.raises(BadToken):
        split("nc %q")


@pytest.mark.parametrize(
    "text",
    ["a 'b c' \"d e\" f", r"a\ b 'c\d' \"e", "a '' b", "'a'\"b\"c", "a  \t b", '$HOME "$HOME"'],
)
def test_words_are_those_of_a_shell(text: str) -> None:
    program = f'for word in {text}; do printf "%s\\0" "$word"; done'
    done = subprocess.run(
        ["sh", "-c", program], capture_output=True, text=True, env={"HOME": "/h"}, timeout=10
    )
    assert split(text) == done.stdout.split("\0")[:-1]
