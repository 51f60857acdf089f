"""Every method: both our sides agree, and each agrees with AsyncSSH's other side."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.core.errors import ProtocolViolation
from limpet.core.kex import KEX_METHODS, KexContext
from limpet.crypto.derive import deriveKey
from limpet.wire.errors import WireError
from tests.unit.core.kex.asyncsshpeer import AsyncSSHPeer
from tests.unit.core.kex.driver import (
    HOST_KEY,
    clientSide,
    exchangeKeys,
    makeContext,
    pump,
    serverSide,
    toySignature,
)

# AsyncSSH's use of a module of cryptography that is to go, and nothing that we can help.
pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")

ALL = sorted(KEX_METHODS)
QUICK = [b"mlkem768x25519-sha256", b"curve25519-sha256", b"ecdh-sha2-nistp256"]
LOSES_ZEROS = [
    b"curve25519-sha256",
    b"ecdh-sha2-nistp256",
    b"diffie-hellman-group14-sha256",
]


def names(method: bytes) -> str:
    return method.decode()


def withAsyncSSHServer(name: bytes) -> tuple[bytes, bytes, AsyncSSHPeer]:
    context = makeContext()
    ours = clientSide(KEX_METHODS[name], context)
    theirs = AsyncSSHPeer(name, context, isClient=False)
    while ours.result is None:
        while ours.sent:
            message = ours.sent.popleft()
            theirs.receive(message.messageType, message.payload)
        while theirs.sent:
            ours.receive(*theirs.sent.pop(0))
    assert ours.result.signature == toySignature(ours.result.exchangeHash)
    return ours.result.sharedSecret, ours.result.exchangeHash, theirs


def withAsyncSSHClient(name: bytes) -> tuple[bytes, bytes, AsyncSSHPeer]:
    context = makeContext()
    ours = serverSide(KEX_METHODS[name], context)
    theirs = AsyncSSHPeer(name, context, isClient=True)
    while theirs.sent or ours.sent:
        while theirs.sent:
            ours.receive(*theirs.sent.pop(0))
        while ours.sent:
            message = ours.sent.popleft()
            theirs.receive(message.messageType, message.payload)
    assert ours.result is not None
    return ours.result.sharedSecret, ours.result.exchangeHash, theirs


@pytest.mark.parametrize("name", ALL, ids=names)
class TestEveryMethod:
    def test_bothSidesAgree(self, name: bytes) -> None:
        client, server = exchangeKeys(KEX_METHODS[name])
        assert client == server
        assert client.hostKeyBlob == HOST_KEY
        assert client.signature == toySignature(server.exchangeHash)

    def test_twoExchangesHaveNothingInCommon(self, name: bytes) -> None:
        first, _ = exchangeKeys(KEX_METHODS[name])
        second, _ = exchangeKeys(KEX_METHODS[name])
        assert first.sharedSecret != second.sharedSecret
        assert first.exchangeHash != second.exchangeHash

    def test_ourClientAgreesWithAnAsyncSSHServer(self, name: bytes) -> None:
        secret, exchangeHash, theirs = withAsyncSSHServer(name)
        assert (secret, exchangeHash) == (theirs.sharedSecret, theirs.exchangeHash)

    def test_ourServerAgreesWithAnAsyncSSHClient(self, name: bytes) -> None:
        secret, exchangeHash, theirs = withAsyncSSHClient(name)
        assert (secret, exchangeHash) == (theirs.sharedSecret, theirs.exchangeHash)
        for length in (0, 1, 16, 64, 200):
            ours = deriveKey(
                KEX_METHODS[name].hashName, secret, exchangeHash, b"C", b"session", length
            )
            assert ours == theirs.deriveKey(b"C", b"session", length)

    def test_everyPartOfTheConnectionIsInTheHash(self, name: bytes) -> None:
        context = makeContext()
        fields = ("clientVersion", "serverVersion", "clientKexInit", "serverKexInit")
        for changed in fields:
            other = dataclasses.replace(context, **{changed: getattr(context, changed) + b"x"})
            client, server = self.exchangeWith(name, context, other)
            assert client != server

    def exchangeWith(
        self, name: bytes, forClient: KexContext, forServer: KexContext
    ) -> tuple[bytes, bytes]:
        client = clientSide(KEX_METHODS[name], forClient)
        server = serverSide(KEX_METHODS[name], forServer)
        pump(client, server)
        assert client.result is not None
        assert server.result is not None
        assert client.result.sharedSecret == server.result.sharedSecret
        return client.result.exchangeHash, server.result.exchangeHash

    def test_closingAnExchangeHalfwayIsQuiet(self, name: bytes) -> None:
        side = clientSide(KEX_METHODS[name])
        side.exchange.close()
        assert side.result is None

    def test_truncatedAndLengthenedMessagesAreRefused(self, name: bytes) -> None:
        """What our client sends first, cut at a few places and with a byte too many."""
        body = clientSide(KEX_METHODS[name]).sent[0].payload
        for wrong in (b"", body[:3], body[:-1], body + b"\x00", b"\xff\xff\xff\xff" + body[4:]):
            server = serverSide(KEX_METHODS[name])
            assert server.expected is not None
            with pytest.raises((WireError, ProtocolViolation)):
                server.receive(server.expected, wrong)
            assert not server.sent


class TestSecretsWithLeadingZeros:
    """Row D4 in small: enough exchanges that secrets with zero and with high first bits come up."""

    @pytest.mark.parametrize("name", LOSES_ZEROS, ids=names)
    def test_shortSecretsAgreeWithAsyncSSH(self, name: bytes) -> None:
        full = len(exchangeKeys(KEX_METHODS[name])[0].sharedSecret)
        lengths = set()
        for _ in range(6000):
            secret, exchangeHash, theirs = withAsyncSSHClient(name)
            assert (secret, exchangeHash) == (theirs.sharedSecret, theirs.exchangeHash)
            lengths.add(len(secret) - full)
            if len(lengths) >= 3:
                break
        else:
            pytest.fail(f"no secret with a leading zero byte came up: {lengths}")


class TestAnyBytes:
    @pytest.mark.parametrize("name", QUICK, ids=names)
    @settings(max_examples=150, deadline=None)
    @given(body=st.binary(max_size=1400))
    def test_aServerRefusesThemInItsOwnWords(self, name: bytes, body: bytes) -> None:
        server = serverSide(KEX_METHODS[name])
        assert server.expected is not None
        with pytest.raises((WireError, ProtocolViolation)):
            server.receive(server.expected, body)

    @pytest.mark.parametrize("name", QUICK, ids=names)
    @settings(max_examples=150, deadline=None)
    @given(body=st.binary(max_size=1400))
    def test_aClientRefusesThemInItsOwnWords(self, name: bytes, body: bytes) -> None:
        client = clientSide(KEX_METHODS[name])
        assert client.expected is not None
        with pytest.raises((WireError, ProtocolViolation)):
            client.receive(client.expected, body)


class TestContextAndResult:
    def test_secretsAreNotInTheirRepr(self) -> None:
        result, _ = exchangeKeys(KEX_METHODS[b"curve25519-sha256"])
        assert result.sharedSecret.hex() not in repr(result)
        assert repr(result.sharedSecret) not in repr(result)

    def test_aServerWithoutAHostKeyFailsAsAnExchangeDoes(self) -> None:
        context = KexContext(b"SSH-2.0-c", b"SSH-2.0-s", b"\x14", b"\x14")
        name = b"curve25519-sha256"
        client = clientSide(KEX_METHODS[name], context)
        server = serverSide(KEX_METHODS[name], context)
        with pytest.raises(ProtocolViolation):
            server.receive(30, client.sent[0].payload)

    def test_aServerWithoutGroupsFailsAsAnExchangeDoes(self) -> None:
        context = KexContext(b"SSH-2.0-c", b"SSH-2.0-s", b"\x14", b"\x14")
        name = b"diffie-hellman-group-exchange-sha256"
        client = clientSide(KEX_METHODS[name], context)
        server = serverSide(KEX_METHODS[name], context)
        with pytest.raises(ProtocolViolation):
            server.receive(34, client.sent[0].payload)
