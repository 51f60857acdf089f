"""What a decoder raises when the bytes do not have the form that the protocol gives them.

WireError(ValueError)
├── Truncated       the bytes end before the value does
├── TrailingBytes   the value ends before the bytes do
└── BadField        a field has a value that its type forbids
"""

from __future__ import annotations

import struct


class WireError(ValueError):
    """The bytes do not have the form that the protocol gives them."""


class Truncated(WireError, struct.error):
    """The bytes end before the value does. Applications may know this as a `struct.error`."""


class TrailingBytes(WireError):
    """The value ends before the bytes do."""


class BadField(WireError):
    """A field has a value that its type forbids: a negative mpint, a non-ASCII name."""
