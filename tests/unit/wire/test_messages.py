"""The messages of the transport: decode after encode is the identity, and nothing else parses."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.wire import messages
from limpet.wire.errors import BadField, TrailingBytes, Truncated, WireError
from limpet.wire.fields import NS, u32
from limpet.wire.messages import (
    Debug,
    Disconnect,
    ExtInfo,
    KexInit,
    ServiceAccept,
    ServiceRequest,
    Unimplemented,
)

NAME = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64).map(
    lambda text: text.replace(",", "_").encode()
)
NAMES = st.lists(NAME, max_size=6).map(tuple)
OFFER = st.builds(
    KexInit,
    cookie=st.binary(min_size=16, max_size=16),
    keyExchanges=NAMES,
    hostKeyAlgorithms=NAMES,
    ciphersCS=NAMES,
    ciphersSC=NAMES,
    macsCS=NAMES,
    macsSC=NAMES,
    compressionsCS=NAMES,
    compressionsSC=NAMES,
    languagesCS=NAMES,
    languagesSC=NAMES,
    firstKexPacketFollows=st.booleans(),
    reserved=st.integers(0, 2**32 - 1),
)


def anOffer() -> KexInit:
    lists = [(f"list{number}-a".encode(), f"list{number}-b".encode()) for number in range(10)]
    return KexInit(b"0123456789abcdef", *lists)  # type: ignore[arg-type]  # ten lists


class TestKexInit:
    @given(offer=OFFER)
    def test_decodeAfterEncode(self, offer: KexInit) -> None:
        assert KexInit.decode(offer.encode()) == offer

    def test_theBytes(self) -> None:
        """Field by field, as RFC 4253 section 7.1 lists them."""
        offer = dataclasses.replace(anOffer(), firstKexPacketFollows=True, reserved=7)
        lists = b"".join(NS(f"list{number}-a,list{number}-b") for number in range(10))
        assert offer.encode() == b"0123456789abcdef" + lists + b"\x01" + b"\x00\x00\x00\x07"

    def test_everyTruncationIsNoticed(self) -> None:
        body = anOffer().encode()
        for length in range(len(body)):
            with pytest.raises(Truncated):
                KexInit.decode(body[:length])

    def test_bytesLeftOverAreNoticed(self) -> None:
        with pytest.raises(TrailingBytes):
            KexInit.decode(anOffer().encode() + b"\x00")

    @pytest.mark.parametrize("name", [b"", b"a b", b"\x00", b"caf\xc3\xa9", b"x" * 65, b"\x7f"])
    def test_namesThatAreNone(self, name: bytes) -> None:
        offer = dataclasses.replace(anOffer(), macsSC=(b"fine", name))
        with pytest.raises(BadField):
            KexInit.decode(offer.encode())

    def test_aNameOf64BytesIsFine(self) -> None:
        offer = dataclasses.replace(anOffer(), macsSC=(b"x" * 64,))
        assert KexInit.decode(offer.encode()).macsSC == (b"x" * 64,)

    def test_knownOffersAreNotParsedAgain(self) -> None:
        messages._readOffer.cache_clear()
        for cookie in (b"A" * 16, b"B" * 16):
            offer = dataclasses.replace(anOffer(), cookie=cookie)
            assert KexInit.decode(offer.encode()).cookie == cookie
        assert messages._readOffer.cache_info().hits == 1

    def test_longOffersAreNotRemembered(self) -> None:
        messages._readOffer.cache_clear()
        many = tuple(b"name-%d" % number for number in range(1000))
        offer = dataclasses.replace(anOffer(), keyExchanges=many)
        assert KexInit.decode(offer.encode()).keyExchanges == many
        assert messages._readOffer.cache_info().currsize == 0


class TestDisconnect:
    @given(reason=st.integers(0, 2**32 - 1), words=st.binary(), language=st.binary())
    def test_decodeAfterEncode(self, reason: int, words: bytes, language: bytes) -> None:
        message = Disconnect(reason, words, language)
        assert Disconnect.decode(message.encode()) == message

    def test_theLanguageMayBeMissing(self) -> None:
        assert Disconnect.decode(u32(2) + NS(b"bye")) == Disconnect(2, b"bye")

    def test_theDescriptionMayNot(self) -> None:
        with pytest.raises(Truncated):
            Disconnect.decode(u32(2))


class TestDebug:
    @given(show=st.booleans(), words=st.binary(), language=st.binary())
    def test_decodeAfterEncode(self, show: bool, words: bytes, language: bytes) -> None:
        message = Debug(show, words, language)
        assert Debug.decode(message.encode()) == message

    def test_theLanguageMayBeMissing(self) -> None:
        assert Debug.decode(b"\x01" + NS(b"hm")) == Debug(True, b"hm")


class TestUnimplemented:
    @given(sequence=st.integers(0, 2**32 - 1))
    def test_decodeAfterEncode(self, sequence: int) -> None:
        message = Unimplemented(sequence)
        assert Unimplemented.decode(message.encode()) == message

    @pytest.mark.parametrize("body", [b"", b"\x00" * 3, b"\x00" * 5])
    def test_itIsFourBytes(self, body: bytes) -> None:
        with pytest.raises(WireError):
            Unimplemented.decode(body)


@pytest.mark.parametrize("kind", [ServiceRequest, ServiceAccept])
class TestServices:
    def test_decodeAfterEncode(self, kind: type[ServiceRequest] | type[ServiceAccept]) -> None:
        assert kind.decode(kind(b"ssh-userauth").encode()) == kind(b"ssh-userauth")

    @pytest.mark.parametrize("body", [b"", NS(b"x" * 65), NS(b"x") + b"y", NS(b"xyz")[:-1]])
    def test_itIsOneName(
        self, kind: type[ServiceRequest] | type[ServiceAccept], body: bytes
    ) -> None:
        with pytest.raises(WireError):
            kind.decode(body)


class TestExtInfo:
    @given(pairs=st.dictionaries(NAME, st.binary(), max_size=5))
    def test_decodeAfterEncode(self, pairs: dict[bytes, bytes]) -> None:
        assert ExtInfo.decode(ExtInfo(pairs).encode()).extensions == pairs

    def test_theBytes(self) -> None:
        message = ExtInfo({b"server-sig-algs": b"ssh-ed25519", b"ping@openssh.com": b"0"})
        assert message.encode() == (
            u32(2)
            + NS(b"server-sig-algs")
            + NS(b"ssh-ed25519")
            + NS(b"ping@openssh.com")
            + NS(b"0")
        )

    def test_ofANameThatComesTwiceTheFirstValueCounts(self) -> None:
        body = u32(2) + NS(b"a") + NS(b"1") + NS(b"a") + NS(b"2")
        assert ExtInfo.decode(body).extensions == {b"a": b"1"}

    def test_valuesMayHoldAnyBytes(self) -> None:
        assert ExtInfo.decode(u32(1) + NS(b"a") + NS(b"\x00\xff")).extensions == {b"a": b"\x00\xff"}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            u32(1),
            u32(0) + b"x",
            u32(2) + NS(b"a") + NS(b"1"),
            u32(1) + NS(b"") + NS(b"1"),
            u32(1) + NS(b"x" * 65) + NS(b"1"),
        ],
    )
    def test_whatDoesNotParse(self, body: bytes) -> None:
        with pytest.raises(WireError):
            ExtInfo.decode(body)
