"""Escapes: what a person types at a terminal for the client and not for the program far away.

Rule: an escape begins with its character as the first one of a line, and nothing but escapes is
taken out of what is typed. Pure: bytes in, bytes and escapes out.

    at the start of a line ── ~ ──▶ held ── a letter of an escape ──▶ the escape
                                      ├──── ~ ──▶ one ~ is sent
                                      └──── anything else ──▶ both are sent
"""

from __future__ import annotations

from enum import Enum

LINE_ENDS = b"\r\n"


class Escape(Enum):
    """What a person may ask the client for; the value is what is typed after the character."""

    CLOSE = b"."
    SUSPEND = b"\x1a"
    HELP = b"?"
    BREAK = b"B"
    REKEY = b"R"
    LIST = b"#"
    COMMAND = b"C"
    BACKGROUND = b"&"
    LOUDER = b"v"
    QUIETER = b"V"


_BY_LETTER = {escape.value[0]: escape for escape in Escape}

_HELP = (
    (Escape.CLOSE, ".", "end the connection, at once"),
    (Escape.SUSPEND, "^Z", "suspend the client"),
    (Escape.BREAK, "B", "send a BREAK"),
    (Escape.REKEY, "R", "agree on new keys"),
    (Escape.LIST, "#", "list what is open on the connection"),
    (Escape.COMMAND, "C", "open a command line, for forwardings (EnableEscapeCommandline)"),
    (Escape.LOUDER, "v", "say more (-v)"),
    (Escape.QUIETER, "V", "say less"),
    (Escape.HELP, "?", "this list"),
)


class EscapeReader:
    """Takes the escapes out of what is typed.

    Args:
        character: The escape character, one byte.
    """

    def __init__(self, character: bytes = b"~") -> None:
        if len(character) != 1:
            raise ValueError(f"an escape character is one byte, not {len(character)}")
        self.character = character
        self._atLineStart = True
        self._held = False

    def feed(self, data: bytes) -> list[bytes | Escape]:
        """Take what was typed.

        Returns:
            What to send and what to do, in order; pieces of bytes are never empty.
        """
        if not self._held and not self._atLineStart and not self._hasLineEnd(data[:-1]):
            # Most of what is typed, and all that is pasted but for the ends of lines.
            if data:
                self._atLineStart = data[-1] in LINE_ENDS
            return [data] if data else []
        found: list[bytes | Escape] = []
        plain = bytearray()
        mark = self.character[0]
        for byte in data:
            if self._held:
                self._held = False
                escape = _BY_LETTER.get(byte)
                if escape is not None and byte != mark:
                    if plain:
                        found.append(bytes(plain))
                        plain.clear()
                    found.append(escape)
                    continue
                plain.append(mark)
                if byte == mark:
                    self._atLineStart = False
                    continue
            elif self._atLineStart and byte == mark:
                self._held = True
                continue
            plain.append(byte)
            self._atLineStart = byte in LINE_ENDS
        if plain:
            found.append(bytes(plain))
        return found

    @staticmethod
    def _hasLineEnd(data: bytes) -> bool:
        return b"\r" in data or b"\n" in data

    def help(self) -> str:
        """The list of escapes, lines that end with a newline."""
        shown = shownCharacter(self.character)
        lines = [f"{shown}{letter:<3} {meaning}" for _, letter, meaning in _HELP]
        lines.append(f"{shown}{shown:<3} send the character itself")
        lines.append("Escapes are seen right after a line's end only.")
        return "\n".join(lines) + "\n"


def shownCharacter(character: bytes) -> str:
    """A character as a person would name it: "~", "^]", or "\\xe9" for one outside of ASCII."""
    code = character[0]
    if code < 32 or code == 127:
        return f"^{chr(code ^ 64)}"
    return chr(code) if code < 127 else f"\\x{code:02x}"
