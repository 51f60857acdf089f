"""Keys from secrets: RFC 4253 section 7.2, spelled out once more."""

from __future__ import annotations

import hashlib

import pytest

from limpet.crypto.derive import HASHES, deriveKey

SECRET = b"\x00\x00\x00\x04\x00\xab\xcd\xef"
HASH = b"h" * 32
SESSION = b"s" * 32


class TestDeriveKey:
    @pytest.mark.parametrize("hashName", sorted(HASHES))
    @pytest.mark.parametrize("letter", [b"A", b"B", b"C", b"D", b"E", b"F"])
    def test_theRecurrence(self, hashName: str, letter: bytes) -> None:
        """K1 = HASH(K ‖ H ‖ X ‖ session), then each time HASH(K ‖ H ‖ all so far)."""

        def digest(data: bytes) -> bytes:
            return hashlib.new(hashName, data).digest()

        stream = digest(SECRET + HASH + letter + SESSION)
        while len(stream) < 300:
            stream += digest(SECRET + HASH + stream)
        for length in (0, 1, 12, 16, 20, 32, 33, 64, 65, 128, 300):
            key = deriveKey(hashName, SECRET, HASH, letter, SESSION, length)
            assert key == stream[:length]

    def test_theSixLettersGiveSixKeys(self) -> None:
        letters = (b"A", b"B", b"C", b"D", b"E", b"F")
        keys = {deriveKey("sha256", SECRET, HASH, letter, SESSION, 32) for letter in letters}
        assert len(keys) == 6
