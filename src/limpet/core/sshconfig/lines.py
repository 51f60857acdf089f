"""A line of ssh_config(5): its keyword, and its arguments free of quotes.

Rule: a line that cannot be read as it was meant is an error that names file and line; nothing is
guessed.

    Host example          # a comment
    IdentityFile "~/my keys/id"
    ProxyCommand=nc %h %p
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILE_LENGTH = 1024 * 1024
"""Longest configuration file, in characters (ours)."""

MAX_LINE_LENGTH = 16384
"""Longest line, in characters (ours)."""

MAX_ARGUMENTS = 1024
"""Most arguments of one line (ours)."""

_BLANKS = " \t"
_SPACE = " \t\r\n\f"


class BadConfig(ValueError):
    """The configuration cannot be used; the message names file and line, and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where something was written.

    Attributes:
        file: The file's name; "command line" for an option given there.
        line: The number of its line, from 1; 0 where there are no lines.
        system: Whether it is the whole system's configuration, not this user's.
    """

    file: str
    line: int = 0
    system: bool = False

    def __str__(self) -> str:
        return f"{self.file} line {self.line}" if self.line else self.file

    def error(self, problem: str) -> BadConfig:
        """The error that says `problem` of this place."""
        return BadConfig(f"{self}: {problem}")


COMMAND_LINE = Source("command line")
"""Where options come from that are in no file."""


def splitLine(text: str, source: Source) -> tuple[str, str] | None:
    """The keyword as it is written, and what follows it; None for an empty line or a comment.

    Raises:
        BadConfig: The line is too long, or holds NUL.
    """
    if len(text) > MAX_LINE_LENGTH:
        raise source.error(f"a line of more than {MAX_LINE_LENGTH} characters")
    if "\0" in text:
        raise source.error("a line with a NUL byte; this is no text file")
    text = text.strip(_SPACE)
    if not text or text.startswith("#"):
        return None
    if text.startswith('"'):
        keyword, quote, rest = text[1:].partition('"')
        if not quote:
            raise source.error("the quote at the start of the line does not close")
        return keyword, _afterEquals(rest)
    end = 0
    while end < len(text) and text[end] not in _SPACE and text[end] != "=":
        end += 1
    return text[:end], _afterEquals(text[end:])


def _afterEquals(rest: str) -> str:
    """What follows blanks with at most one `=` among them."""
    rest = rest.lstrip(_SPACE)
    return rest[1:].lstrip(_SPACE) if rest.startswith("=") else rest


def splitArguments(text: str, source: Source) -> list[str]:
    """The arguments in `text`: split at blanks, quotes removed, up to a comment.

    Both kinds of quotes join what they hold; a backslash takes its meaning from a quote or a
    backslash behind it, and outside quotes from a space. Anywhere else it is itself.

    Raises:
        BadConfig: A quote does not close, or there are more than `MAX_ARGUMENTS`.
    """
    found: list[str] = []
    word: list[str] | None = None
    quote = ""
    at = 0
    while at < len(text):
        char = text[at]
        if word is None:
            if char in _BLANKS:
                at += 1
                continue
            if char == "#":
                break
            word = []
        following = text[at + 1 : at + 2]
        if (
            char == "\\"
            and following
            and (following in "'\"\\" or (not quote and following == " "))
        ):
            word.append(following)
            at += 1
        elif not quote and char in _BLANKS:
            found.append("".join(word))
            word = None
        elif not quote and char in "'\"":
            quote = char
        elif quote and char == quote:
            quote = ""
        else:
            word.append(char)
        at += 1
    if quote:
        raise source.error(f"a quote ({quote}) that does not close")
    if word is not None:
        found.append("".join(word))
    if len(found) > MAX_ARGUMENTS:
        raise source.error(f"more than {MAX_ARGUMENTS} arguments")
    return found


def quoted(value: str) -> str:
    """`value` so that `splitArguments` reads it as one argument, whatever is in it."""
    if value.isascii() and value.isalnum():
        return value
    try:
        if splitArguments(value, COMMAND_LINE) == [value]:
            return value
    except BadConfig:
        pass
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
