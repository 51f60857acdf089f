"""Group C: attacks on the exchange of keys, as far as negotiation and the methods decide them.

What depends on phases, timers and queues (C2, C4, C6, C8, C10 to C12) stands with the transport's.
"""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
from typing import Any

import pytest

from limpet.core.errors import KeyExchangeFailed, NoCommonAlgorithm, ProtocolViolation
from limpet.core.kex import KEX_METHODS
from limpet.core.negotiation import (
    ALL_MODERN,
    DEFAULT,
    LEGACY,
    AlgorithmLists,
    makeKexInit,
    negotiate,
    readKexInit,
)
from limpet.crypto import agreement, groups
from limpet.crypto.agreement import ECDH, MLKEM768, X25519, DiffieHellman
from limpet.crypto.groups import knownGroup
from limpet.ssh.factory import SSHFactory
from limpet.ssh.transport import SSHServerTransport
from limpet.wire.errors import BadField, WireError
from limpet.wire.fields import MP, NS, u32
from limpet.wire.messages import ExtInfo, KexInit
from tests.unit.core.kex.driver import clientSide, makeContext, pump, serverSide

COOKIE = b"0123456789abcdef"
CLIENT_MARKS = (b"ext-info-c", b"kex-strict-c-v00@openssh.com")
SERVER_MARKS = (b"ext-info-s", b"kex-strict-s-v00@openssh.com")
GEX = KEX_METHODS[b"diffie-hellman-group-exchange-sha256"]


def offer(
    isClient: bool, lists: AlgorithmLists = DEFAULT, firstKex: bool = True, **changes: Any
) -> KexInit:
    return dataclasses.replace(makeKexInit(lists, COOKIE, isClient, firstKex), **changes)


class TestC1Terrapin:
    @pytest.mark.parametrize("isClient", [True, False])
    def test_C1_strict_is_always_advertised_in_the_first_exchange(self, isClient: bool) -> None:
        mark = (CLIENT_MARKS if isClient else SERVER_MARKS)[1]
        for lists in (DEFAULT, ALL_MODERN, LEGACY):
            assert mark in makeKexInit(lists, COOKIE, isClient, True).keyExchanges

    def test_C1_without_strict_AES_GCM_is_preferred_to_chacha20(self) -> None:
        suite = negotiate(offer(True), offer(False, keyExchanges=DEFAULT.keyExchanges), True, True)
        assert not suite.strict
        assert suite.cipherCS == suite.cipherSC == b"aes128-gcm@openssh.com"

    def test_C1_a_peer_without_strict_can_be_turned_away(self) -> None:
        plain = offer(False, keyExchanges=DEFAULT.keyExchanges)
        with pytest.raises(KeyExchangeFailed):
            negotiate(offer(True), plain, True, True, requireStrict=True)


class TestC3PseudoAlgorithms:
    @pytest.mark.parametrize("isClient", [True, False])
    def test_C3_never_taken_as_a_method(self, isClient: bool) -> None:
        """Even if both lists hold the same mark, which no honest pair does."""
        marks = CLIENT_MARKS + SERVER_MARKS
        with pytest.raises(NoCommonAlgorithm) as caught:
            negotiate(
                offer(True, keyExchanges=marks), offer(False, keyExchanges=marks), isClient, True
            )
        assert (caught.value.ours, caught.value.theirs) == ((), ())
        assert caught.value.reasonCode == 3

    def test_C3_marks_before_the_methods_change_nothing(self) -> None:
        client = offer(True, keyExchanges=(*CLIENT_MARKS, *DEFAULT.keyExchanges))
        suite = negotiate(client, offer(False), False, True)
        assert suite.kex == DEFAULT.keyExchanges[0]
        assert suite.strict

    @pytest.mark.parametrize("isClient", [True, False])
    def test_C3_marks_in_a_rekey_are_ignored(self, isClient: bool) -> None:
        suite = negotiate(offer(True), offer(False), isClient, False)
        assert not suite.strict
        assert not suite.peerSupportsExtInfo

    def test_C3_the_mark_of_the_other_role_is_none(self) -> None:
        client = offer(True, keyExchanges=(*DEFAULT.keyExchanges, *SERVER_MARKS))
        suite = negotiate(client, offer(False), False, True)
        assert not suite.strict
        assert not suite.peerSupportsExtInfo

    @pytest.mark.parametrize("name", sorted(KEX_METHODS), ids=bytes.decode)
    def test_C3_stripping_the_mark_changes_the_signed_hash(self, name: bytes) -> None:
        sent = b"\x14" + offer(True).encode()
        seen = b"\x14" + offer(True, keyExchanges=DEFAULT.keyExchanges).encode()
        client = clientSide(KEX_METHODS[name], makeContext(clientKexInit=sent))
        server = serverSide(KEX_METHODS[name], makeContext(clientKexInit=seen))
        pump(client, server)
        assert client.result is not None
        assert server.result is not None
        assert client.result.exchangeHash != server.result.exchangeHash


class TestC5ExtInfo:
    @pytest.mark.parametrize("count", [1, 1000, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_C5_the_count_is_bounded_by_the_bytes(self, count: int) -> None:
        with pytest.raises(BadField, match="promised"):
            ExtInfo.decode(u32(count) + b"\x00" * 7)

    def test_C5_a_value_of_NULs_or_of_a_megabyte_is_a_value(self) -> None:
        for value in (b"\x00" * 9, b"x," * (1 << 19)):
            body = ExtInfo({b"server-sig-algs": value}).encode()
            assert ExtInfo.decode(body).extensions == {b"server-sig-algs": value}


class TestC7RoleConfusion:
    """A method waits for one message of one role: the transport refuses any other number."""

    @pytest.mark.parametrize("name", sorted(KEX_METHODS), ids=bytes.decode)
    def test_C7_before_its_message_a_server_computes_nothing(
        self, name: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*arguments: object) -> None:
            raise AssertionError("a key was made before the peer's message came")

        for kind in (X25519, ECDH, DiffieHellman, MLKEM768):
            monkeypatch.setattr(kind, "__init__", never)
        server = serverSide(KEX_METHODS[name])
        assert not server.sent
        assert server.expected == (34 if b"group-exchange" in name else 30)

    @pytest.mark.parametrize("name", sorted(KEX_METHODS), ids=bytes.decode)
    def test_C7_a_client_waits_for_the_servers_message(self, name: bytes) -> None:
        assert clientSide(KEX_METHODS[name]).expected == 31

    def test_C7_group_exchange_goes_step_by_step(self) -> None:
        server = serverSide(GEX)
        server.receive(34, u32(2048) + u32(2048) + u32(8192))
        assert server.expected == 32
        client = clientSide(GEX)
        client.receive(31, MP(knownGroup(2048).prime) + MP(2))
        assert client.expected == 33


class TestC9GuessedPackets:
    def test_C9_a_wrong_guess_costs_one_packet_and_no_memory(self) -> None:
        client = offer(True, keyExchanges=DEFAULT.keyExchanges[::-1], firstKexPacketFollows=True)
        payload = b"\x14" + client.encode()
        server = offer(False)
        assert negotiate(readKexInit(payload), server, False, True).ignoreGuessedPacket
        gc.collect()
        tracemalloc.start()
        for number in range(1000):
            body = b"\x14" + (b"%016d" % number) + payload[17:]
            assert negotiate(readKexInit(body), server, False, False).ignoreGuessedPacket
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert grown < 200_000

    def test_C9_a_right_guess_stands(self) -> None:
        client = offer(True, firstKexPacketFollows=True)
        assert not negotiate(client, offer(False), False, True).ignoreGuessedPacket


class TestC13NameLists:
    @pytest.mark.parametrize(
        "names",
        [
            b"a" * 65,
            b"a" * 200_000,
            b"a,,b",
            b",a",
            b"a,",
            b",",
            b"a\x00b",
            b"caf\xc3\xa9",
            b"a b",
            b"a\n",
            b"\x1b[2J",
        ],
    )
    def test_C13_names_that_are_none(self, names: bytes) -> None:
        good = offer(True)
        encoded = good.encode()
        spoilt = encoded.replace(NS(b",".join(good.macsSC)), NS(names))
        with pytest.raises(KeyExchangeFailed) as caught:
            readKexInit(b"\x14" + spoilt)
        assert caught.value.reasonCode == 3
        assert len(caught.value.description) < 200
        assert caught.value.description.isprintable()

    def test_C13_empty_lists(self) -> None:
        payload = b"\x14" + COOKIE + b"\x00" * 45
        with pytest.raises(NoCommonAlgorithm) as caught:
            negotiate(readKexInit(payload), offer(False), False, True)
        assert caught.value.reasonCode == 3

    def test_C13_a_list_as_long_as_a_packet_takes_linear_work(self) -> None:
        """Counted in comparisons: two lists of n names need some n of them, not n times n."""
        compared = 0

        class Name(bytes):
            def __eq__(self, other: object) -> bool:
                nonlocal compared
                compared += 1
                return bytes.__eq__(self, other)

            __hash__ = bytes.__hash__

        count = 5000
        client = tuple(Name(b"c%05d" % number) for number in range(count))
        server = tuple(Name(b"s%05d" % number) for number in range(count))
        common = (Name(b"aes128-ctr"),)
        suite = negotiate(
            offer(True, ciphersCS=client + common),
            offer(False, ciphersCS=server + common),
            False,
            True,
        )
        assert suite.cipherCS == b"aes128-ctr"
        assert compared < 10 * count

    def test_C13_duplicates_do_no_harm(self) -> None:
        peer = offer(True, ciphersCS=(b"aes128-ctr",) * 5000, macsCS=(b"hmac-sha2-256",) * 3)
        suite = negotiate(readKexInit(b"\x14" + peer.encode()), offer(False), False, True)
        assert suite.cipherCS == b"aes128-ctr"

    def test_C13_lists_are_never_shown_whole(self) -> None:
        names = tuple(b"name-%05d" % number for number in range(3000))
        with pytest.raises(NoCommonAlgorithm) as caught:
            negotiate(offer(True, ciphersCS=names), offer(False), False, True)
        assert len(caught.value.description) < 1000

    def test_C13_a_length_field_that_lies(self) -> None:
        encoded = offer(True).encode()
        for lie in (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x01\x00\x00"):
            with pytest.raises(KeyExchangeFailed):
                readKexInit(b"\x14" + encoded[:16] + lie + encoded[20:])


class TestC14NegotiationErrors:
    def test_C14_an_AEAD_needs_no_common_MAC(self) -> None:
        peer = offer(True, ciphersCS=(b"aes256-gcm@openssh.com",), macsCS=(), macsSC=())
        suite = negotiate(peer, offer(False), False, True)
        assert (suite.macCS, suite.macSC) == (b"", b"")

    @pytest.mark.parametrize("macs", [(), (b"none",), (b"hmac-md5-96",)])
    def test_C14_any_other_cipher_does(self, macs: tuple[bytes, ...]) -> None:
        for direction, field in (("ciphersCS", "macsCS"), ("ciphersSC", "macsSC")):
            changes: dict[str, Any] = {direction: (b"aes128-ctr",), field: macs}
            peer = offer(True, **changes)
            with pytest.raises(NoCommonAlgorithm) as caught:
                negotiate(peer, offer(False), False, True)
            assert caught.value.kind.startswith("MAC")

    def test_C14_none_is_never_taken(self) -> None:
        """Not even if our own list had been set to it."""
        everything: dict[str, Any] = {
            "ciphersCS": (b"none",),
            "ciphersSC": (b"none",),
            "macsCS": (b"none",),
            "macsSC": (b"none",),
        }
        with pytest.raises(NoCommonAlgorithm):
            negotiate(offer(True, **everything), offer(False, **everything), False, True)
        macs = {**everything, "ciphersCS": (b"aes128-ctr",), "ciphersSC": (b"aes128-ctr",)}
        with pytest.raises(NoCommonAlgorithm):
            negotiate(offer(True, **macs), offer(False, **macs), False, True)

    def test_C14_none_is_never_offered(self) -> None:
        lists = dataclasses.replace(DEFAULT, ciphers=[b"none"], macs=[b"none"])
        made = makeKexInit(lists, COOKIE, False, True)
        assert made.ciphersCS == made.ciphersSC == made.macsCS == made.macsSC == ()

    def test_C14_the_directions_may_differ(self) -> None:
        peer = offer(
            True,
            ciphersCS=(b"aes256-ctr",),
            ciphersSC=(b"aes128-gcm@openssh.com",),
            macsCS=(b"hmac-sha2-512-etm@openssh.com",),
        )
        suite = negotiate(peer, offer(False), False, True)
        assert (suite.cipherCS, suite.macCS) == (b"aes256-ctr", b"hmac-sha2-512-etm@openssh.com")
        assert (suite.cipherSC, suite.macSC) == (b"aes128-gcm@openssh.com", b"")

    def test_C14_the_reserved_field_is_left_to_the_future(self) -> None:
        peer = offer(True, reserved=0xDEADBEEF)
        assert readKexInit(b"\x14" + peer.encode()) == peer
        assert negotiate(peer, offer(False), False, True).kex

    def test_C14_KEXINIT_is_hashed_as_received(self) -> None:
        """The boolean may be any byte but zero, so an encoding of what was read would differ."""
        name = b"curve25519-sha256"
        odd = bytearray(b"\x14" + offer(True, firstKexPacketFollows=True).encode())
        odd[-5] = 0x7F
        assert readKexInit(bytes(odd)).firstKexPacketFollows
        results = []
        for clientKexInit in (bytes(odd), b"\x14" + readKexInit(bytes(odd)).encode()):
            client = clientSide(KEX_METHODS[name], makeContext(clientKexInit=bytes(odd)))
            server = serverSide(KEX_METHODS[name], makeContext(clientKexInit=clientKexInit))
            pump(client, server)
            assert client.result is not None
            assert server.result is not None
            results.append(client.result.exchangeHash == server.result.exchangeHash)
        assert results == [True, False]


class TestC15WeakAlgorithms:
    WEAK = (b"sha1", b"md5", b"-cbc", b"3des", b"arcfour", b"dss", b"group1-", b"none", b"ssh-rsa")

    @pytest.mark.parametrize("lists", [DEFAULT, ALL_MODERN])
    def test_C15_nothing_weak_without_the_legacy_profile(self, lists: AlgorithmLists) -> None:
        names = (*lists.keyExchanges, *lists.publicKeys, *lists.ciphers, *lists.macs)
        assert [name for name in names for weak in self.WEAK if weak in name] == []

    @pytest.mark.parametrize(
        "changes",
        [
            {"keyExchanges": (b"diffie-hellman-group1-sha1", b"diffie-hellman-group14-sha1")},
            {"hostKeyAlgorithms": (b"ssh-dss", b"ssh-rsa")},
            {"ciphersCS": (b"3des-cbc", b"aes128-cbc", b"arcfour", b"none")},
            {
                "ciphersSC": (b"aes128-ctr",),
                "macsSC": (b"hmac-md5", b"hmac-sha1", b"hmac-sha1-96", b"none"),
            },
            {"keyExchanges": (b"ecdh-sha2-1.3.132.0.1", b"ecdh-sha2-nistk163")},
            {"compressionsCS": (b"zlib",)},
        ],
    )
    def test_C15_a_peer_that_has_nothing_else_is_turned_away(self, changes: dict[str, Any]) -> None:
        with pytest.raises(NoCommonAlgorithm) as caught:
            negotiate(offer(True, **changes), offer(False), False, True)
        assert caught.value.reasonCode == 3


class TestC16ExpensiveGroups:
    def test_C16_no_finite_field_by_default(self) -> None:
        assert not [name for name in DEFAULT.keyExchanges if b"diffie-hellman" in name]

    @pytest.mark.parametrize(
        "name",
        [b"diffie-hellman-group14-sha256", b"diffie-hellman-group18-sha512"],
        ids=bytes.decode,
    )
    @pytest.mark.parametrize("value", [0, 1, 2, 4])
    def test_C16_a_value_that_is_refused_costs_no_exponentiation_with_it(
        self, name: bytes, value: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*arguments: object) -> None:
            raise AssertionError("computed with a value out of its range")

        monkeypatch.setattr(agreement, "_fastPublic", never)
        server = serverSide(KEX_METHODS[name])
        with pytest.raises(ProtocolViolation):
            server.receive(30, MP(value))

    @pytest.mark.parametrize("size", [4096, 6144, 8192])
    def test_C16_a_server_computes_in_no_large_group_of_its_own(self, size: int) -> None:
        """That took 160 ms at 8192 bits, as often as a client liked, and nobody else was served."""
        factory = SSHFactory()
        factory.primes = {2048: [(2, (1 << 2047) | 1)], size: [(2, (1 << size - 1) | 1)]}
        server = SSHServerTransport()
        server.factory = factory
        assert server._choosePrime(2048, size, 8192) == (2, knownGroup(size).prime)
        assert server._choosePrime(2048, 2048, 8192) == (2, (1 << 2047) | 1)
        factory.primes = {7680: [(2, (1 << 7679) | 1)]}
        with pytest.raises(KeyExchangeFailed):
            server._choosePrime(7680, 7680, 7680)


class TestC17GroupSizes:
    @pytest.mark.parametrize(
        "request_",
        [
            (8192, 3072, 2048),
            (2048, 1024, 8192),
            (2048, 0, 8192),
            (0, 0, 0),
            (1023, 1023, 1023),
            (2**31, 2**31, 2**31),
            (2**32 - 1, 2**32 - 1, 2**32 - 1),
            (0, 2**32 - 1, 1),
        ],
    )
    def test_C17_server_requests_that_make_no_sense(self, request_: tuple[int, int, int]) -> None:
        server = serverSide(GEX)
        with pytest.raises(KeyExchangeFailed):
            server.receive(34, b"".join(map(u32, request_)))
        assert not server.sent

    def test_C17_server_does_not_wait_for_the_old_request(self) -> None:
        assert serverSide(GEX).expected == 34
        with pytest.raises(WireError):
            serverSide(GEX).receive(34, u32(2048))

    @pytest.mark.parametrize("size", [512, 1024, 2047, 8193, 16384])
    def test_C17_client_sizes_outside_2048_to_8192(
        self, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.refuseUncomputed(MP((1 << size) - 1) + MP(2), monkeypatch)

    def test_C17_client_number_of_16385_bits(self) -> None:
        with pytest.raises(WireError):
            clientSide(GEX).receive(31, MP((1 << 16385) - 1) + MP(2))

    @pytest.mark.parametrize("generator", [0, 1, knownGroup(2048).prime - 1])
    def test_C17_client_generators(self, generator: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuseUncomputed(MP(knownGroup(2048).prime) + MP(generator), monkeypatch)

    def test_C17_client_even_or_composite_primes(self) -> None:
        prime = knownGroup(2048).prime
        for number in (prime - 1, prime + 2, prime - 4, (1 << 2048) - 1):
            client = clientSide(GEX)
            client.sent.clear()
            with pytest.raises(KeyExchangeFailed) as caught:
                client.receive(31, MP(number) + MP(2))
            assert caught.value.reasonCode == 3
            assert not client.sent

    def test_C17_client_large_unknown_primes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuseUncomputed(MP(knownGroup(8192).prime - 2) + MP(2), monkeypatch)

    def test_C17_client_numbers_that_are_negative(self) -> None:
        with pytest.raises(WireError):
            clientSide(GEX).receive(31, NS(b"\xff" * 256) + MP(2))

    def refuseUncomputed(self, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(number: int) -> bool:
            raise AssertionError("computed with a group out of its limits")

        monkeypatch.setattr(groups, "isSafePrime", never)
        client = clientSide(GEX)
        client.sent.clear()
        with pytest.raises(KeyExchangeFailed) as caught:
            client.receive(31, body)
        assert caught.value.reasonCode == 3
        assert not client.sent
