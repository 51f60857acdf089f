"""A command line of the configuration as arguments, so that no shell has to be asked.

Rule: words are split before tokens are put in, so that whatever a token stands for stays within
its word; a command that would need a shell is refused by name (attacks.md K3).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from limpet.core.sshconfig.tokens import expand, expandHome

_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_SHELL_WORDS = re.compile(r"[|&;<>()]+")
_QUIET = ("2>", "/dev/null")


class NeedsShell(ValueError):
    """The command uses what only a shell does; the message says what, and what to do instead."""


def splitCommand(
    text: str, tokens: Mapping[str, str], environment: Mapping[str, str], home: str
) -> list[str]:
    """The arguments of a command line, with tokens and variables replaced.

    A leading `exec`, and a trailing `2>/dev/null`, are dropped: they mean nothing without a shell.

    Args:
        text: The command line, from a configuration file.
        tokens: What its %-tokens stand for.
        environment: What `$NAME` and `${NAME}` outside of single quotes stand for.
        home: What a leading `~/` of a word stands for.

    Raises:
        NeedsShell: There is a pipe, a redirection, a substitution or the like, or quotes do not
            close.
        BadToken: A token is not among `tokens`.
    """
    words = _beforeComment(_words(text))
    if words[-2:] == [*_QUIET]:
        words = words[:-2]
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words:
        raise NeedsShell("there is no command in it")
    found = []
    for word in words:
        if _SHELL_WORDS.fullmatch(word):
            raise _refusal(word)
        found.append(_unquoted(word, tokens, environment, home))
    return found


def _words(text: str) -> list[str]:
    """Words with their quotes still on; operators of a shell as words of their own."""
    lexer = shlex.shlex(text, posix=False, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return _joined(list(lexer))
    except ValueError:
        raise NeedsShell("a quote in it does not close") from None


def _beforeComment(words: list[str]) -> list[str]:
    for index, word in enumerate(words):
        if word.startswith("#"):
            return words[:index]
    return words


def _joined(words: list[str]) -> list[str]:
    """`2` `>` as one word: a number before a redirection belongs to it."""
    found: list[str] = []
    for word in words:
        if word == ">" and found and found[-1] == "2":
            found[-1] = "2>"
        else:
            found.append(word)
    return found


def _refusal(what: str) -> NeedsShell:
    return NeedsShell(
        f"it uses {what!r}, which only a shell understands, and Limpet runs it without one; "
        "put it in a script, or write: sh -c '…'"
    )


def _unquoted(
    word: str, tokens: Mapping[str, str], environment: Mapping[str, str], home: str
) -> str:
    """One word free of its quotes; tokens and variables are replaced piece by piece."""

    def variable(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return environment.get(name, "")

    def plain(piece: str) -> str:
        if "`" in piece or "$(" in piece:
            raise _refusal("`" if "`" in piece else "$(")
        # Tokens first in each stretch between variables, so that neither is looked at again.
        pieces = []
        at = 0
        for found in _VARIABLE.finditer(piece):
            pieces.append(expand(piece[at : found.start()], tokens))
            pieces.append(variable(found))
            at = found.end()
        pieces.append(expand(piece[at:], tokens))
        return "".join(pieces)

    result: list[str] = []
    if word.startswith("~/"):
        result.append(expandHome("~", home))
        word = word[1:]
    piece = ""
    at = 0
    while at < len(word):
        char = word[at]
        if char == "'":
            end = word.index("'", at + 1)
            result.append(plain(piece))
            result.append(expand(word[at + 1 : end], tokens))
            piece, at = "", end
        elif char == '"':
            result.append(plain(piece))
            piece = ""
            inner, at = _doubleQuoted(word, at + 1)
            result.append(plain(inner))
        elif char == "\\" and at + 1 < len(word):
            result.append(plain(piece))
            result.append(word[at + 1])
            piece, at = "", at + 1
        else:
            piece += char
        at += 1
    result.append(plain(piece))
    return "".join(result)


def _doubleQuoted(word: str, start: int) -> tuple[str, int]:
    inner = ""
    at = start
    while word[at] != '"':
        if word[at] == "\\" and word[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        inner += word[at]
        at += 1
    return inner, at
