"""Encodings as applications use them."""

from __future__ import annotations

import struct

import pytest

from limpet.ssh.common import MP, NS, getMP, getNS
from limpet.wire.errors import BadField


def test_numbersWithLeadingZeros() -> None:
    assert getMP(NS(b"\0\0\x05") + MP(7) + b"rest", 2) == (5, 7, b"rest")
    assert getMP(NS(b"\x80")) == (128, b"")


def test_numbersHaveALimit() -> None:
    with pytest.raises(BadField):
        getMP(NS(b"\x01" * 3000))


@pytest.mark.parametrize("decode", [getNS, getMP])
def test_whatIsCutShortIsAStructError(decode: object) -> None:
    assert callable(decode)
    with pytest.raises(struct.error):
        decode(b"\0\0\0\5abc")
