"""Which groups a server gives and which a client takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from limpet.core.errors import KeyExchangeFailed
from limpet.core.kex import KEX_METHODS
from limpet.crypto.groups import knownGroup
from limpet.wire.fields import MP, Reader, u32
from tests.unit.core.kex.driver import clientSide, makeContext, pump, serverSide

METHOD = KEX_METHODS[b"diffie-hellman-group-exchange-sha256"]


def requested(minimum: int, preferred: int, maximum: int) -> bytes:
    return u32(minimum) + u32(preferred) + u32(maximum)


def groupFor(minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
    """Prime and generator that a server without a moduli file answers with."""
    server = serverSide(METHOD)
    server.receive(34, requested(minimum, preferred, maximum))
    assert server.sent[0].messageType == 31
    reader = Reader(server.sent[0].payload)
    answer = reader.mpint(), reader.mpint()
    reader.end()
    return answer


class TestServer:
    @pytest.mark.parametrize(
        ("request_", "size"),
        [
            ((2048, 3072, 8192), 3072),
            ((1024, 1024, 8192), 2048),
            ((1024, 2048, 2048), 2048),
            ((2048, 8192, 8192), 8192),
            ((2048, 7680, 8192), 8192),
            ((2048, 5000, 5000), 4096),
            ((3000, 3000, 16384), 3072),
            ((2048, 16384, 16384), 8192),
        ],
    )
    def test_theSmallestGroupOfAtLeastThePreferredSize(
        self, request_: tuple[int, int, int], size: int
    ) -> None:
        prime, generator = groupFor(*request_)
        assert prime == knownGroup(size).prime
        assert generator == 2

    @pytest.mark.parametrize(
        "request_",
        [
            (4096, 3072, 8192),
            (2048, 9000, 8192),
            (0, 0, 0),
            (0, 1023, 1023),
            (1, 512, 2047),
            (8193, 8193, 8193),
            (2**31, 2**31, 2**31),
            (8192, 4096, 2048),
            (2049, 2049, 3071),
        ],
    )
    def test_requestsThatCannotBeMet(self, request_: tuple[int, int, int]) -> None:
        server = serverSide(METHOD)
        with pytest.raises(KeyExchangeFailed):
            server.receive(34, requested(*request_))
        assert not server.sent

    def test_aGroupOutsideTheSizesAskedForIsNotSent(self) -> None:
        group = knownGroup(1024)

        def tooSmall(minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
            return group.generator, group.prime

        server = serverSide(METHOD, makeContext(choosePrime=tooSmall))
        with pytest.raises(KeyExchangeFailed):
            server.receive(34, requested(1024, 1024, 8192))
        assert not server.sent

    def test_theChooserIsAskedForWhatBothSidesAllow(self) -> None:
        asked = []

        def choose(minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
            asked.append((minimum, preferred, maximum))
            return 2, knownGroup(2048).prime

        server = serverSide(METHOD, makeContext(choosePrime=choose))
        server.receive(34, requested(1000, 1500, 20000))
        assert asked == [(2048, 2048, 8192)]


class TestClient:
    def test_itAsksFor3072BitsAndTakes2048To8192(self) -> None:
        sent = clientSide(METHOD).sent[0]
        assert (sent.messageType, sent.payload) == (34, requested(2048, 3072, 8192))

    @pytest.mark.parametrize("size", [2048, 3072, 4096, 6144, 8192])
    def test_theGroupsOfRFC3526AreTaken(self, size: int) -> None:
        client = clientSide(METHOD)
        client.receive(31, MP(knownGroup(size).prime) + MP(2))
        assert client.sent[-1].messageType == 32
        assert client.expected == 33

    def test_anUnknownSafePrimeIsCheckedAndTaken(self, unknownSafePrime: int) -> None:
        def choose(minimum: int, preferred: int, maximum: int) -> tuple[int, int]:
            return 5, unknownSafePrime

        context = makeContext(choosePrime=choose)
        client, server = clientSide(METHOD, context), serverSide(METHOD, context)
        pump(client, server)
        assert client.result is not None
        assert client.result == server.result

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda p: p + 2,
            lambda p: p - 1,
            lambda p: p + 4,
            lambda p: p ^ (1 << 1000),
        ],
    )
    def test_whatIsNoSafePrimeIsNot(
        self, unknownSafePrime: int, spoil: Callable[[int], int]
    ) -> None:
        client = clientSide(METHOD)
        client.sent.clear()
        with pytest.raises(KeyExchangeFailed, match="the server chose"):
            client.receive(31, MP(spoil(unknownSafePrime)) + MP(2))
        assert not client.sent
