"""From two offers to a suite."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet.core import negotiation
from limpet.core.errors import KeyExchangeFailed, NoCommonAlgorithm
from limpet.core.kex import KEX_METHODS
from limpet.core.negotiation import (
    ALL_MODERN,
    DEFAULT,
    HARDENED,
    LEGACY,
    AlgorithmLists,
    makeKexInit,
    negotiate,
    readKexInit,
)
from limpet.crypto.ciphers import CIPHERS
from limpet.crypto.macs import MACS
from limpet.wire.messages import KexInit

COOKIE = b"0123456789abcdef"


def offer(isClient: bool, lists: AlgorithmLists = DEFAULT, **changes: Any) -> KexInit:
    """Our first KEXINIT in that role, with fields replaced."""
    return dataclasses.replace(makeKexInit(lists, COOKIE, isClient, True), **changes)


class TestMakeKexInit:
    def test_theFirstCarriesTheFlagsOfItsRole(self) -> None:
        client = makeKexInit(DEFAULT, COOKIE, True, True)
        server = makeKexInit(DEFAULT, COOKIE, False, True)
        assert client.keyExchanges == (
            *DEFAULT.keyExchanges,
            b"ext-info-c",
            b"kex-strict-c-v00@openssh.com",
        )
        assert server.keyExchanges == (
            *DEFAULT.keyExchanges,
            b"ext-info-s",
            b"kex-strict-s-v00@openssh.com",
        )

    @pytest.mark.parametrize("isClient", [True, False])
    def test_laterOnesDoNot(self, isClient: bool) -> None:
        assert makeKexInit(DEFAULT, COOKIE, isClient, False).keyExchanges == DEFAULT.keyExchanges

    def test_strictCanBeLeftOut(self) -> None:
        lists = makeKexInit(DEFAULT, COOKIE, True, True, strict=False).keyExchanges
        assert lists == (*DEFAULT.keyExchanges, b"ext-info-c")

    def test_theListsServeBothDirections(self) -> None:
        made = makeKexInit(DEFAULT, COOKIE, True, True)
        assert made.cookie == COOKIE
        assert made.hostKeyAlgorithms == DEFAULT.publicKeys
        assert made.ciphersCS == made.ciphersSC == DEFAULT.ciphers
        assert made.macsCS == made.macsSC == DEFAULT.macs
        assert made.compressionsCS == made.compressionsSC == (b"none",)
        assert (made.firstKexPacketFollows, made.reserved) == (False, 0)

    def test_namesThatWeDoNotKnowAreNotOffered(self) -> None:
        lists = AlgorithmLists(
            keyExchanges=[b"sntrup761x25519-sha512", b"ext-info-c", b"curve25519-sha256"],
            publicKeys=[b"ssh-ed25519"],
            ciphers=[b"blowfish-cbc", b"none", b"aes128-ctr"],
            macs=[b"umac-64@openssh.com", b"none", b"hmac-sha2-256"],
            compressions=[b"zlib", b"none"],
        )
        made = makeKexInit(lists, COOKIE, True, False)
        assert made.keyExchanges == (b"curve25519-sha256",)
        assert made.ciphersCS == (b"aes128-ctr",)
        assert made.macsCS == (b"hmac-sha2-256",)
        assert made.compressionsCS == (b"none",)


class TestReadKexInit:
    def test_thePayloadBeginsWithItsNumber(self) -> None:
        made = offer(True)
        assert readKexInit(b"\x14" + made.encode()) == made

    @pytest.mark.parametrize(
        "payload", [b"", b"\x15" + b"x" * 100, b"\x14", b"\x14" + b"\xff" * 90]
    )
    def test_anythingElseFailsTheExchange(self, payload: bytes) -> None:
        with pytest.raises(KeyExchangeFailed):
            readKexInit(payload)


class TestNegotiate:
    def test_theDefaults(self) -> None:
        for isClient in (True, False):
            suite = negotiate(offer(True), offer(False), isClient, True)
            assert suite.kex == b"mlkem768x25519-sha256"
            assert suite.hostKeyAlgorithm == b"ssh-ed25519"
            assert suite.cipherCS == suite.cipherSC == b"aes128-gcm@openssh.com"
            assert suite.macCS == suite.macSC == b""
            assert suite.compressionCS == suite.compressionSC == b"none"
            assert suite.strict
            assert suite.peerSupportsExtInfo
            assert not suite.ignoreGuessedPacket

    @given(
        client=st.permutations(DEFAULT.ciphers),
        server=st.permutations(DEFAULT.ciphers),
        clientKex=st.permutations(DEFAULT.keyExchanges),
        serverKex=st.permutations(DEFAULT.keyExchanges),
    )
    def test_theClientsOrderWins(
        self,
        client: list[bytes],
        server: list[bytes],
        clientKex: list[bytes],
        serverKex: list[bytes],
    ) -> None:
        suite = negotiate(
            offer(True, ciphersCS=tuple(client), keyExchanges=tuple(clientKex)),
            offer(False, ciphersCS=tuple(server[:3]), keyExchanges=tuple(serverKex[:3])),
            True,
            True,
        )
        assert suite.cipherCS == next(name for name in client if name in server[:3])
        assert suite.kex == next(name for name in clientKex if name in serverKex[:3])

    @given(
        lists=st.tuples(
            *(
                st.lists(st.sampled_from(sorted(known)), unique=True).map(tuple)
                for known in (KEX_METHODS, CIPHERS, CIPHERS, MACS, MACS)
            )
        )
    )
    def test_bothSidesComeToTheSame(self, lists: tuple[tuple[bytes, ...], ...]) -> None:
        kex, cs, sc, macCS, macSC = lists
        client = offer(
            True, keyExchanges=kex, ciphersCS=cs, ciphersSC=sc, macsCS=macCS, macsSC=macSC
        )
        server = offer(False, LEGACY)

        def outcome(isClient: bool) -> object:
            try:
                return dataclasses.replace(
                    negotiate(client, server, isClient, True), peerSupportsExtInfo=False
                )
            except NoCommonAlgorithm as error:
                return error.kind

        assert outcome(True) == outcome(False)

    def test_theDirectionsAreIndependent(self) -> None:
        suite = negotiate(
            offer(
                True,
                ciphersCS=(b"aes128-ctr",),
                ciphersSC=(b"chacha20-poly1305@openssh.com",),
                macsCS=(b"hmac-sha2-512",),
                macsSC=(),
                compressionsSC=(b"zlib@openssh.com",),
            ),
            offer(False, ALL_MODERN),
            True,
            True,
        )
        assert (suite.cipherCS, suite.macCS) == (b"aes128-ctr", b"hmac-sha2-512")
        assert (suite.cipherSC, suite.macSC) == (b"chacha20-poly1305@openssh.com", b"")
        assert (suite.compressionCS, suite.compressionSC) == (b"none", b"zlib@openssh.com")

    @pytest.mark.parametrize(
        ("field", "kind"),
        [
            ("keyExchanges", "key exchange"),
            ("hostKeyAlgorithms", "host key algorithm"),
            ("ciphersCS", "cipher (client to server)"),
            ("ciphersSC", "cipher (server to client)"),
            ("compressionsCS", "compression (client to server)"),
            ("compressionsSC", "compression (server to client)"),
        ],
    )
    def test_nothingInCommonSaysWhatBothOffer(self, field: str, kind: str) -> None:
        change: dict[str, Any] = {field: (b"x",)}
        client = offer(True, **change)
        server = dataclasses.replace(client, **{**change, field: (b"y",)})
        with pytest.raises(NoCommonAlgorithm) as asClient:
            negotiate(client, server, True, True)
        assert (asClient.value.kind, asClient.value.ours, asClient.value.theirs) == (
            kind,
            (b"x",),
            (b"y",),
        )
        with pytest.raises(NoCommonAlgorithm) as asServer:
            negotiate(client, server, False, True)
        assert (asServer.value.ours, asServer.value.theirs) == ((b"y",), (b"x",))
        assert str(asClient.value) == f"no common {kind}: we offer x; the peer offers y"

    def test_languagesAreNotNegotiated(self) -> None:
        client = offer(True, languagesCS=(b"en",), languagesSC=(b"en",))
        assert negotiate(client, offer(False), False, True).kex


class TestFlags:
    def test_strictTakesBoth(self) -> None:
        def strict(client: bool, server: bool) -> bool:
            return negotiate(
                makeKexInit(DEFAULT, COOKIE, True, True, strict=client),
                makeKexInit(DEFAULT, COOKIE, False, True, strict=server),
                True,
                True,
            ).strict

        assert [strict(True, True), strict(True, False), strict(False, True)] == [
            True,
            False,
            False,
        ]

    def test_strictCanBeRequired(self) -> None:
        server = makeKexInit(DEFAULT, COOKIE, False, True, strict=False)
        with pytest.raises(KeyExchangeFailed, match="strict"):
            negotiate(offer(True), server, True, True, requireStrict=True)
        later = makeKexInit(DEFAULT, COOKIE, True, False)
        assert negotiate(later, later, True, False, requireStrict=True).kex

    def test_extInfoIsThePeersWord(self) -> None:
        plain = makeKexInit(DEFAULT, COOKIE, False, False)
        assert not negotiate(offer(True), plain, True, True).peerSupportsExtInfo
        assert negotiate(offer(True), plain, False, True).peerSupportsExtInfo


class TestGuesses:
    def guess(self, isClient: bool, **changes: Any) -> bool:
        """Whether we, in that role, drop the packet of a peer that guessed and differs so."""
        peer = offer(not isClient, firstKexPacketFollows=True, **changes)
        ours = offer(isClient)
        client, server = (ours, peer) if isClient else (peer, ours)
        return negotiate(client, server, isClient, True).ignoreGuessedPacket

    @pytest.mark.parametrize("isClient", [True, False])
    def test_theSamePreferencesAreARightGuess(self, isClient: bool) -> None:
        assert not self.guess(isClient)

    @pytest.mark.parametrize("isClient", [True, False])
    def test_anotherFirstMethodIsAWrongOne(self, isClient: bool) -> None:
        assert self.guess(isClient, keyExchanges=DEFAULT.keyExchanges[::-1])

    @pytest.mark.parametrize("isClient", [True, False])
    def test_anotherFirstHostKeyIsAWrongOne(self, isClient: bool) -> None:
        assert self.guess(isClient, hostKeyAlgorithms=DEFAULT.publicKeys[::-1])

    @pytest.mark.parametrize("isClient", [True, False])
    def test_otherListsDoNotMatter(self, isClient: bool) -> None:
        assert not self.guess(isClient, ciphersCS=DEFAULT.ciphers[::-1])

    def test_ourOwnGuessIsNoneOfOurs(self) -> None:
        ours = offer(True, firstKexPacketFollows=True, keyExchanges=DEFAULT.keyExchanges[::-1])
        assert not negotiate(ours, offer(False), True, True).ignoreGuessedPacket
        assert negotiate(ours, offer(False), False, True).ignoreGuessedPacket


class TestProfiles:
    PROFILES = [DEFAULT, ALL_MODERN, HARDENED, LEGACY]

    @pytest.mark.parametrize("lists", PROFILES)
    def test_everyNameIsKnown(self, lists: AlgorithmLists) -> None:
        assert set(lists.keyExchanges) <= set(KEX_METHODS)
        assert set(lists.ciphers) <= set(CIPHERS) - {b"none"}
        assert set(lists.macs) <= set(MACS) - {b"none"}
        assert lists.compressions[0] == b"none"

    @pytest.mark.parametrize("lists", PROFILES)
    def test_noNameTwice(self, lists: AlgorithmLists) -> None:
        for names in dataclasses.astuple(lists):
            assert len(set(names)) == len(names)

    def test_theLegacyProfileHasEverything(self) -> None:
        assert set(LEGACY.keyExchanges) == set(KEX_METHODS)
        assert set(LEGACY.ciphers) == set(CIPHERS) - {b"none"}

    def test_theDefaultMethods(self) -> None:
        assert DEFAULT.keyExchanges == (
            b"mlkem768x25519-sha256",
            b"curve25519-sha256",
            b"curve25519-sha256@libssh.org",
            b"ecdh-sha2-nistp256",
            b"ecdh-sha2-nistp384",
            b"ecdh-sha2-nistp521",
        )

    def test_withoutMLKEMTheProfilesDoNotNameIt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(KEX_METHODS, b"mlkem768x25519-sha256")
        assert negotiation._available(*DEFAULT.keyExchanges) == DEFAULT.keyExchanges[1:]
