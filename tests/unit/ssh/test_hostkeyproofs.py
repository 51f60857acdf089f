"""A server's host keys, told after the login and proven on request; attacks.md G9, D16."""

from __future__ import annotations

from typing import Any

import pytest

from limpet.core.negotiation import PROFILES
from limpet.crypto.signatures import nameOf, verifySignature
from limpet.ssh.hostkeyproofs import HOST_KEYS, PROVE, HostKeyProofs
from limpet.ssh.keys import Key
from limpet.wire import numbers as n
from limpet.wire.fields import NS, Reader
from tests.keymaking import makeKey
from tests.pair.attacker import Attacker
from tests.pair.stack import HOST_KEY, makeFactory

EC = Key.generate("ecdsa")
RSA = makeKey("rsa")
KEYS = (HOST_KEY, EC, RSA)


def makeAttacker(announces: bool = True, version: bytes | None = None) -> Attacker:
    factory = makeFactory()
    factory.privateKeys = {key.sshType(): key for key in KEYS}
    factory.publicKeys = {key.sshType(): key.public() for key in KEYS}
    factory.algorithms = PROFILES["default"]
    factory.announcesHostKeys = announces
    attacker = Attacker(factory)
    if version is not None:
        attacker.server.otherVersionString = version
    attacker.service()
    attacker.password()
    attacker.pump()
    heard = attacker.take()
    while heard[0][0] != n.MSG_USERAUTH_SUCCESS:
        del heard[0]
    attacker.client.heard[:] = heard[1:]
    return attacker


def blobsIn(data: bytes) -> list[bytes]:
    reader = Reader(data)
    found = []
    while reader.remaining:
        found.append(reader.string())
    return found


def announced(attacker: Attacker) -> list[bytes]:
    ((number, payload),) = attacker.take()
    reader = Reader(payload)
    assert (number, reader.string(), reader.boolean()) == (n.MSG_GLOBAL_REQUEST, HOST_KEYS, False)
    return blobsIn(reader.rest())


def prove(attacker: Attacker, data: bytes, wantReply: bytes = b"\1") -> Any:
    attacker.send(n.MSG_GLOBAL_REQUEST, NS(PROVE) + wantReply + data)
    attacker.pump()
    return attacker.take()


def test_allKeysAreToldAfterTheLogin() -> None:
    assert announced(makeAttacker()) == [key.public().blob() for key in KEYS]


def test_G9_aFactoryThatWasNotAskedToSaysNothing() -> None:
    attacker = makeAttacker(announces=False)
    assert attacker.take() == []
    assert prove(attacker, NS(HOST_KEY.public().blob())) == [(n.MSG_REQUEST_FAILURE, b"")]


@pytest.mark.parametrize("version", [b"SSH-2.0-TTSSH/2.72 Win32", b"SSH-2.0-Cisco-1.25"])
def test_aClientThatCannotHearOfItIsToldNothing(version: bytes) -> None:
    assert makeAttacker(version=version).take() == []


def test_G9_D16_eachKeyIsProvenOverThisSession() -> None:
    attacker = makeAttacker()
    blobs = announced(attacker)
    asked = [blobs[2], blobs[0], blobs[1]]
    ((number, answer),) = prove(attacker, b"".join(map(NS, asked)))
    assert number == n.MSG_REQUEST_SUCCESS
    signatures = blobsIn(answer)
    session = attacker.client.sessionID
    assert session is not None
    for blob, signature in zip(asked, signatures, strict=True):
        signed = NS(PROVE) + NS(session) + NS(blob)
        assert verifySignature(blob, nameOf(signature), signature, signed)
    assert nameOf(signatures[0]) == b"rsa-sha2-512"


def test_G9_noKeyIsSignedWithTwice(monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = makeAttacker()
    first, second, _ = announced(attacker)
    refused = [(n.MSG_REQUEST_FAILURE, b"")]
    assert prove(attacker, NS(first) + NS(first)) == refused
    assert prove(attacker, NS(first))[0][0] == n.MSG_REQUEST_SUCCESS
    monkeypatch.setattr(Key, "sign", None)
    for _ in range(100):
        assert prove(attacker, NS(first)) == refused
    assert prove(attacker, NS(second) + NS(first)) == refused


def test_G9_nothingElseIsSigned(monkeypatch: pytest.MonkeyPatch) -> None:
    attacker = makeAttacker()
    blob = announced(attacker)[0]
    monkeypatch.setattr(Key, "sign", None)
    other = Key.generate("ed25519").public().blob()
    for data in (b"", b"\0", NS(blob)[:-1], NS(blob) + b"\0", NS(other), NS(blob) + NS(other)):
        assert prove(attacker, data) == [(n.MSG_REQUEST_FAILURE, b"")]
    assert prove(attacker, NS(blob), wantReply=b"\0") == []


def test_aKeyThatThisConnectionHasNoAlgorithmForIsNotTold() -> None:
    attacker = makeAttacker()
    factory = attacker.factory
    factory.algorithms = None
    server = factory.buildProtocol(None)
    server.supportedPublicKeys = [b"ssh-ed25519"]
    server.keyAlg = b"ssh-ed25519"
    assert blobsIn(HostKeyProofs(server).announcement) == [HOST_KEY.public().blob()]


def test_anRsaKeySignsAsItDidInTheKeyExchange() -> None:
    server = makeAttacker().factory.buildProtocol(None)
    server.keyAlg = b"rsa-sha2-256"
    server.sessionID = b"session"
    blob = RSA.public().blob()
    (signature,) = blobsIn(HostKeyProofs(server).prove(NS(blob)))
    assert nameOf(signature) == b"rsa-sha2-256"
