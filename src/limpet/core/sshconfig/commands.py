"""A command line of the configuration as arguments, so that no shell has to be asked.

Rule: words are split before tokens are put in, so that whatever a token stands for stays within
its word; a command that would need a shell is refused by name (attacks.md K3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from limpet.core.sshconfig.tokens import expand

_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_TO_NOWHERE = re.compile(r">\s*/dev/null\s*(#.*)?")
_OPERATORS = "|&;<>()\n"
_ESCAPED_IN_QUOTES = '"\\$`'


class NeedsShell(ValueError):
    """The command uses what only a shell does; the message says what, and what to do instead."""


class _Piece(NamedTuple):
    """A stretch of a word, of one kind of quoting.

    Attributes:
        text: It, free of its quotes.
        hasTokens: Whether %-tokens are replaced in it.
        hasVariables: Whether $-variables are.
        isBare: Whether it stands without quotes.
    """

    text: str
    hasTokens: bool = True
    hasVariables: bool = True
    isBare: bool = False


def splitCommand(
    text: str, tokens: Mapping[str, str], environment: Mapping[str, str], home: str
) -> list[str]:
    """The arguments of a command line, with tokens and variables replaced.

    A leading `exec`, a trailing `2>/dev/null` and a comment are dropped: they mean nothing without
    a shell.

    Args:
        text: The command line, from a configuration file.
        tokens: What its %-tokens stand for.
        environment: What `$NAME` and `${NAME}` outside of single quotes stand for; one that is not
            set stands for nothing, as in a shell.
        home: What a word `~`, or a leading `~/`, stands for where it is not in quotes.

    Raises:
        NeedsShell: There is a pipe, a redirection, a substitution or the like, or quotes do not
            close.
        BadToken: A token is not among `tokens`.
    """
    words = _words(text)
    if words[:1] == [[_bare("exec")]]:
        words = words[1:]
    if not words:
        raise NeedsShell("there is no command in it")
    return [
        "".join(_filledIn(piece, tokens, environment) for piece in _atHome(word, home))
        for word in words
    ]


def _bare(text: str) -> _Piece:
    return _Piece(text, isBare=True)


def _atHome(word: list[_Piece], home: str) -> list[_Piece]:
    """The word with the home directory in place of its leading ~."""
    first = word[0]
    if word == [_bare("~")]:
        return [_Piece(home, False, False)]
    if not (first.isBare and first.text.startswith("~/")):
        return word
    rest = first._replace(text=first.text[1:])
    return [_Piece(home.rstrip("/"), False, False), rest, *word[1:]]


def _filledIn(piece: _Piece, tokens: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """The piece's text; neither tokens nor variables look at what the other put in."""
    if not piece.hasTokens:
        return piece.text
    if not piece.hasVariables:
        return expand(piece.text, tokens)
    found: list[str] = []
    at = 0
    for variable in _VARIABLE.finditer(piece.text):
        found.append(expand(piece.text[at : variable.start()], tokens))
        found.append(environment.get(variable[1] or variable[2], ""))
        at = variable.end()
    found.append(expand(piece.text[at:], tokens))
    return "".join(found)


def _words(text: str) -> list[list[_Piece]]:
    """The words of a command line, each as its pieces."""
    found: list[list[_Piece]] = []
    word: list[_Piece] | None = None
    at = 0
    while at < len(text):
        char = text[at]
        if char in " \t":
            if word is not None:
                found.append(word)
            word = None
            at += 1
            continue
        if char == "#" and word is None:
            break
        if char in _OPERATORS:
            if word == [_bare("2")] and _TO_NOWHERE.fullmatch(text, at):
                return found
            raise _refusal(char)
        word = [] if word is None else word
        if char == "'":
            end = text.find("'", at + 1)
            if end < 0:
                raise NeedsShell("a quote in it does not close")
            word.append(_Piece(text[at + 1 : end], hasVariables=False))
            at = end + 1
        elif char == '"':
            pieces, at = _doubleQuoted(text, at + 1)
            word.extend(pieces)
        elif char == "\\" and at + 1 < len(text):
            word.append(_Piece(text[at + 1], False, False))
            at += 2
        else:
            end = at + 1
            while end < len(text) and text[end] not in " \t'\"\\" + _OPERATORS:
                end += 1
            word.append(_bare(_withoutSubstitution(text[at:end] + _next(text, end))[: end - at]))
            at = end
    if word is not None:
        found.append(word)
    return found


def _next(text: str, end: int) -> str:
    """The character at `end` if a parenthesis, which `$` makes a substitution of."""
    return "(" if text[end : end + 1] == "(" else ""


def _doubleQuoted(text: str, at: int) -> tuple[list[_Piece], int]:
    """The pieces within double quotes, and where the text goes on behind them."""
    pieces: list[_Piece] = []
    start = at
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] and text[at + 1] in _ESCAPED_IN_QUOTES:
            pieces.append(_Piece(_withoutSubstitution(text[start:at])))
            pieces.append(_Piece(text[at + 1], False, False))
            at += 2
            start = at
        else:
            at += 1
    if at == len(text):
        raise NeedsShell("a quote in it does not close")
    pieces.append(_Piece(_withoutSubstitution(text[start:at])))
    return pieces, at + 1


def _withoutSubstitution(text: str) -> str:
    for sign in ("`", "$("):
        if sign in text:
            raise _refusal(sign)
    return text


def _refusal(what: str) -> NeedsShell:
    return NeedsShell(
        f"it uses {what!r}, which only a shell understands, and Limpet runs it without one; "
        "put it in a script, or write: sh -c '…'"
    )
