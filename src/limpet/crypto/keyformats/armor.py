"""Base64 between two lines that say what it is: the armour of PEM, OpenSSH and RFC 4716 files.

Rule: one block, and nothing after it; Base64 is read strictly.

RFC 7468 (PEM), RFC 4716 section 3.
"""

from __future__ import annotations

import base64
import binascii

from limpet.crypto.errors import BadKeyError

LINE_LENGTH = 70
"""Characters of Base64 in a line that we write (what ssh-keygen writes; RFC 4716 allows 72)."""


def decodeBase64(text: bytes) -> bytes:
    """The bytes of one run of Base64. Raises BadKeyError for anything else in it."""
    # Python lets one padding character too many pass, even where it is strict.
    if len(text) % 4:
        raise BadKeyError("a key whose Base64 is damaged")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise BadKeyError("a key whose Base64 is damaged") from None


def unwrap(data: bytes, begin: bytes, end: bytes) -> list[bytes]:
    """The lines between the line `begin` and the line `end`, without white space at their ends."""
    lines = [line.strip() for line in data.strip().splitlines()]
    if len(lines) < 2 or lines[0] != begin:
        raise BadKeyError("a key file that does not begin as it should")
    if lines[-1] != end or lines.count(end) != 1:
        raise BadKeyError("a key file that does not end as it should")
    return lines[1:-1]


def wrap(body: bytes, begin: bytes, end: bytes, headers: tuple[bytes, ...] = ()) -> bytes:
    """`body` as Base64 lines between `begin` and `end`, after `headers`."""
    text = base64.b64encode(body)
    lines = [text[start : start + LINE_LENGTH] for start in range(0, len(text), LINE_LENGTH)]
    return b"\n".join((begin, *headers, *lines, end, b""))
