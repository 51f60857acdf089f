"""What `%h` and its like, and `${NAME}`, stand for (ssh_config(5), TOKENS).

Rule: what a token is replaced by is never looked at again for tokens, and an unknown token or an
environment variable that is not set is an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


class BadToken(ValueError):
    """A token that does not exist there; the message says which do."""


def connectionHash(localHost: str, host: str, port: str, user: str, jump: str) -> str:
    """What `%C` stands for: a name for the connection that says nothing about it."""
    text = localHost + host + port + user + jump
    return hashlib.sha1(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def expand(text: str, tokens: Mapping[str, str]) -> str:
    """`text` with each `%x` replaced by `tokens["x"]`, and `%%` by a percent sign.

    Raises:
        BadToken: A token is not among them.
    """
    pieces: list[str] = []
    rest = text
    while True:
        before, percent, rest = rest.partition("%")
        pieces.append(before)
        if not percent:
            return "".join(pieces)
        letter, rest = rest[:1], rest[1:]
        if letter == "%":
            pieces.append("%")
        elif letter and letter in tokens:
            pieces.append(tokens[letter])
        else:
            known = " ".join(f"%{name}" for name in sorted(tokens))
            raise BadToken(f"%{letter} has no meaning here; there are %% {known}")


def expandEnvironment(text: str, environment: Mapping[str, str]) -> str:
    """`text` with each `${NAME}` replaced by that variable.

    Raises:
        BadToken: A variable is not set, or a brace does not close.
    """
    pieces: list[str] = []
    rest = text
    while True:
        before, dollar, rest = rest.partition("${")
        pieces.append(before)
        if not dollar:
            return "".join(pieces)
        name, brace, rest = rest.partition("}")
        if not brace:
            raise BadToken("a ${ without its }")
        if name not in environment:
            raise BadToken(f"the environment variable {name} is not set")
        pieces.append(environment[name])


def expandAll(text: str, tokens: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Both at once: neither looks at what the other put in.

    Raises:
        BadToken: As `expand` and `expandEnvironment` do.
    """
    pieces: list[str] = []
    rest = text
    while True:
        before, dollar, rest = rest.partition("${")
        pieces.append(expand(before, tokens))
        if not dollar:
            return "".join(pieces)
        name, brace, rest = rest.partition("}")
        pieces.append(expandEnvironment("${" + name + brace, environment))


def expandHome(path: str, home: str) -> str:
    """`path` with a leading `~` replaced by the home directory; `~other` stays as it is."""
    if path == "~":
        return home
    return home.rstrip("/") + path[1:] if path.startswith("~/") else path
