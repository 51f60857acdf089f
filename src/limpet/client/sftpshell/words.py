"""Command lines cut into words: quotes, backslashes, and patterns that survive them.

Rule: a word is a pattern of `limpet.client.filecopy.globbing`, in which what was quoted is escaped;
`literal` is what it stands for by itself.
"""

from __future__ import annotations

from typing import NamedTuple

from limpet.client.filecopy import globbing

_SPACE = b" \t\r\n"
_QUOTES = b"'\""
_MAGIC = b"*?[\\"


class Unfinished(ValueError):
    """The line ends within quotes, or after a backslash."""


class Word(NamedTuple):
    """A word of a line.

    Attributes:
        pattern: What it stands for, wildcards included.
        start: Where it begins in the line.
        quote: The quotation mark that is still open at the end of the line, or nothing.
    """

    pattern: bytes
    start: int
    quote: bytes = b""

    @property
    def literal(self) -> bytes:
        """The word as it is, without wildcards."""
        return globbing.unquoted(self.pattern)


def split(line: bytes) -> list[Word]:
    """The words of a line; from a `#` that begins a word on, it is a comment.

    Raises:
        Unfinished: A quotation mark has no second one.
    """
    words = splitOpen(line)
    if words and words[-1].quote:
        mark = words[-1].quote.decode()
        raise Unfinished(f"a {mark} has no second one; write \\{mark} for the character itself")
    return words


def splitOpen(line: bytes) -> list[Word]:
    """The same for a line that is still being typed: the last word may be open."""
    words: list[Word] = []
    at = 0
    while at < len(line):
        if line[at] in _SPACE:
            at += 1
            continue
        if line[at : at + 1] == b"#":
            break
        word, at = _word(line, at)
        words.append(word)
    return words


def _word(line: bytes, start: int) -> tuple[Word, int]:
    """The word that begins at `start`, and where it ends."""
    pattern = bytearray()
    quote = 0
    at = start
    while at < len(line):
        character = line[at]
        at += 1
        if quote:
            if character == quote:
                quote = 0
            elif character == 0x5C and line[at : at + 1] in (b"\\", bytes([quote])):
                _append(pattern, line[at])
                at += 1
            else:
                _append(pattern, character)
        elif character in _QUOTES:
            quote = character
        elif character == 0x5C:
            if at < len(line):
                _append(pattern, line[at])
                at += 1
        elif character in _SPACE:
            at -= 1
            break
        else:
            pattern.append(character)
    return Word(bytes(pattern), start, bytes([quote]) if quote else b""), at


def _append(pattern: bytearray, character: int) -> None:
    """A character that stands for itself."""
    if character in _MAGIC:
        pattern += b"\\"
    pattern.append(character)


def quoted(text: bytes, quote: bytes = b"") -> bytes:
    """`text` as it has to be typed to be one word and no pattern.

    Args:
        text: The text.
        quote: The quotation mark that stands before it already.
    """
    if quote:
        return text.replace(b"\\", b"\\\\").replace(quote, b"\\" + quote)
    special = _SPACE + _QUOTES + _MAGIC + b"#"
    return b"".join(b"\\" + bytes([c]) if c in special else bytes([c]) for c in text)
