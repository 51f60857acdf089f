"""The data types of RFC 4251 section 5."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.wire.errors import BadField, TrailingBytes, Truncated, WireError
from limpet.wire.fields import (
    MAX_MPINT_BITS,
    MP,
    NS,
    Reader,
    boolean,
    ffs,
    getMP,
    getNS,
    nameList,
    u32,
    u64,
)

# RFC 4251 section 5, the examples for mpint that are not negative.
EXAMPLES = [
    (0x0, "00 00 00 00"),
    (0x9A378F9B2E332A7, "00 00 00 08 09 a3 78 f9 b2 e3 32 a7"),
    (0x80, "00 00 00 02 00 80"),
]


class TestStrings:
    @given(st.binary())
    def test_oneRoundTrip(self, value: bytes) -> None:
        assert getNS(NS(value) + b"rest") == (value, b"rest")

    def test_textIsUTF8(self) -> None:
        assert NS("né") == b"\x00\x00\x00\x03n\xc3\xa9"
        assert Reader(NS("né")).text() == "né"
        with pytest.raises(BadField):
            Reader(NS(b"\xff")).text()

    @given(st.lists(st.binary(max_size=9), min_size=1, max_size=4))
    def test_several(self, values: list[bytes]) -> None:
        assert getNS(b"".join(map(NS, values)), len(values)) == (*values, b"")

    @pytest.mark.parametrize("data", [b"", b"\x00\x00\x00", NS(b"abc")[:-1], b"\xff\xff\xff\xffx"])
    def test_shortBuffersAreNoticed(self, data: bytes) -> None:
        with pytest.raises(Truncated):
            getNS(data)

    def test_aLimit(self) -> None:
        assert Reader(NS(b"abc")).string(3) == b"abc"
        with pytest.raises(BadField):
            Reader(NS(b"abcd")).string(3)


class TestMpints:
    @pytest.mark.parametrize(("number", "encoded"), EXAMPLES)
    def test_theExamplesOfTheRFC(self, number: int, encoded: str) -> None:
        assert MP(number) == bytes.fromhex(encoded)
        assert getMP(bytes.fromhex(encoded)) == (number, b"")

    @given(st.integers(0, 1 << 600))
    def test_aRoundTrip(self, number: int) -> None:
        assert getMP(MP(number) + MP(7) + b"x", 2) == (number, 7, b"x")

    def test_negativeNumbersAreNotSent(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            MP(-1)

    @pytest.mark.parametrize("raw", [b"\x00", b"\x00\x7f", b"\x00\x00\x80", b"\x80", b"\xff\x21"])
    def test_notMinimalOrNegative(self, raw: bytes) -> None:
        with pytest.raises(BadField):
            getMP(NS(raw))

    def test_theLimit(self) -> None:
        largest = (1 << MAX_MPINT_BITS) - 1
        assert Reader(MP(largest)).mpint() == largest
        with pytest.raises(BadField):
            Reader(MP(largest + 1)).mpint()
        with pytest.raises(BadField):
            Reader(MP(1 << 20)).mpint(20)


class TestNumbers:
    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.booleans())
    def test_aRoundTrip(self, small: int, large: int, flag: bool) -> None:
        reader = Reader(u32(small) + u64(large) + boolean(flag))
        assert (reader.u32(), reader.u64(), reader.boolean()) == (small, large, flag)
        reader.end()

    @pytest.mark.parametrize("number", [-1, 2**32])
    def test_outsideTheirRange(self, number: int) -> None:
        with pytest.raises(struct.error):
            u32(number)

    def test_anyByteButZeroIsTrue(self) -> None:
        assert [Reader(bytes((byte,))).boolean() for byte in (0, 1, 2, 255)] == [
            False,
            True,
            True,
            True,
        ]


class TestNameLists:
    @pytest.mark.parametrize(
        ("names", "encoded"),
        [((), b""), ((b"zlib",), b"zlib"), ((b"zlib", b"none"), b"zlib,none")],
    )
    def test_theExamplesOfTheRFC(self, names: tuple[bytes, ...], encoded: bytes) -> None:
        assert nameList(names) == NS(encoded)
        assert Reader(NS(encoded)).nameList() == names

    @given(st.binary(max_size=100))
    def test_whatIsReadIsNamesAndEncodesAsItWas(self, raw: bytes) -> None:
        try:
            names = Reader(NS(raw)).nameList()
        except BadField:
            return
        assert nameList(names) == NS(raw)
        assert all(0 < len(name) <= 64 for name in names)
        assert all(0x20 < byte < 0x7F for name in names for byte in name)

    @pytest.mark.parametrize(
        "raw", [b",", b"a,", b",a", b"a,,b", b"a b", b"a\x7f", b"\x80", b"a\x00", b"x" * 65]
    )
    def test_whatIsNone(self, raw: bytes) -> None:
        with pytest.raises(BadField):
            Reader(NS(raw)).nameList()


class TestReader:
    def test_itEndsWhereItsDataDo(self) -> None:
        reader = Reader(b"abc", 1)
        assert reader.remaining == 2
        with pytest.raises(TrailingBytes):
            reader.end()
        assert reader.rest() == b"bc"
        reader.end()
        with pytest.raises(Truncated):
            reader.byte()

    @pytest.mark.parametrize("offset", [-1, 4])
    def test_itDoesNotBeginElsewhere(self, offset: int) -> None:
        with pytest.raises(Truncated):
            Reader(b"abc", offset)

    def test_itDoesNotGoBack(self) -> None:
        with pytest.raises(Truncated):
            Reader(b"abc", 2).take(-1)

    @given(st.binary(max_size=40))
    def test_whateverComesOnlyWireErrorsAreRaised(self, data: bytes) -> None:
        for read in (
            Reader.string,
            Reader.text,
            Reader.mpint,
            Reader.nameList,
            Reader.u32,
            Reader.u64,
            Reader.boolean,
            Reader.byte,
        ):
            reader = Reader(data)
            try:
                read(reader)
            except WireError:
                continue
            assert reader.offset <= len(data)


class TestFfs:
    def test_theFirstOfOursThatTheyHave(self) -> None:
        assert ffs([b"a", b"b", b"c"], [b"c", b"b"]) == b"b"
        assert ffs([b"a"], [b"b"]) is None
        assert ffs([], []) is None
