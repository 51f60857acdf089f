"""One module per form that a key has in a file or a message, and the guess of which it is."""

from limpet.crypto.keyformats.detection import decode, guessType

__all__ = ["decode", "guessType"]
