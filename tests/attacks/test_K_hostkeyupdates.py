"""attacks.md, K5: what a server starts by itself, above all further host keys (hostkeys-00)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer

from limpet.client import hostkeyupdates
from limpet.client.config import ClientConfig
from limpet.client.connecting import ClientService
from limpet.client.hostkeyupdates import MAX_KEYS, HostKeyUpdates
from limpet.core.knownhosts import hashName
from limpet.core.revokedkeys import IN_PLACE_LENGTH
from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob
from limpet.error import ConchError
from limpet.ssh.hostkeyproofs import HOST_KEYS, PROVE
from limpet.wire.fields import NS
from tests.keymaking import NOW, makeCertificate, makeKey

CURRENT = makeKey()
EC = makeKey("ecdsa", 256)
RSA = makeKey("rsa", 2048)
OTHER = makeKey(number=1)
SESSION = b"the session"


class Transport:
    isClient = True
    avatar = None
    hostKeyBlob = CURRENT.blob()
    sessionID = SESSION
    clock = None


class Service:
    """Answers a request to prove keys as `answer` says."""

    def __init__(self, answer: Callable[[list[bytes]], Any]) -> None:
        self.transport = Transport()
        self.asked: list[bytes] = []
        self._answer = answer

    def sendGlobalRequest(self, request: bytes, data: bytes, wantReply: bool) -> Any:
        assert (request, wantReply) == (PROVE, True)
        blobs = []
        while data:
            length = int.from_bytes(data[:4], "big")
            blobs.append(data[4 : 4 + length])
            data = data[4 + length :]
        self.asked += blobs
        return defer.maybeDeferred(self._answer, blobs)


class Person:
    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.told: list[bytes] = []

    def prompt(self, text: bytes) -> Any:
        self.asked.append(text)
        return self.answer

    def warn(self, text: bytes) -> None:
        self.told.append(text)


def signatureOf(blob: bytes, session: bytes = SESSION, algorithm: bytes | None = None) -> bytes:
    (key,) = [key for key in (CURRENT, EC, RSA, OTHER) if key.blob() == blob]
    return key.sign(NS(PROVE) + NS(session) + NS(blob), algorithm)


def prove(blobs: list[bytes]) -> bytes:
    """What an honest server answers."""
    return b"".join(NS(signatureOf(blob)) for blob in blobs)


def lineOf(hosts: bytes, key: Key = CURRENT) -> bytes:
    return hosts + b" " + key.public().toString("OPENSSH").strip() + b"\n"


class World:
    """A client, its file, and what the server does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.person = Person()
        self.config = ClientConfig(
            "web", "web", userKnownHostsFiles=[str(path)], updateHostKeys="yes"
        )
        path.write_bytes(lineOf(b"web"))

    def offer(
        self,
        keys: Sequence[Key | bytes],
        answer: Callable[[list[bytes]], Any] = prove,
        tail: bytes = b"",
    ) -> Service:
        service = Service(answer)
        updates = HostKeyUpdates(self.config, self.person, service, lambda: NOW)
        blobs = [key if isinstance(key, bytes) else key.blob() for key in keys]
        data = b"".join(map(NS, blobs)) + tail
        assert updates.offered(data) is False
        assert updates.offered(data) is False
        return service

    def assertUntouched(self, before: bytes | None = None) -> None:
        assert self.path.read_bytes() == (lineOf(b"web") if before is None else before)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "known_hosts")


def test_K5_provenKeysOfAKnownHostAreAdded(world: World) -> None:
    service = world.offer([CURRENT, EC, RSA, EC])
    assert service.asked == [EC.blob(), RSA.blob()]
    added = lineOf(b"web") + lineOf(b"web", EC) + lineOf(b"web", RSA)
    assert world.path.read_bytes() == added
    world.offer([CURRENT, EC, RSA])
    assert world.path.read_bytes() == added


def test_K5_theNameIsThatOfTheHostAndMayBeHashed(world: World) -> None:
    world.path.write_bytes(b"[web]:2222 " + lineOf(b"").lstrip())
    world.config = replace(world.config, port=2222, hashKnownHosts=True)
    world.offer([CURRENT, EC])
    line = world.path.read_bytes().splitlines()[1]
    assert line.startswith(b"|1|")


@pytest.mark.parametrize(
    "answer",
    [
        lambda blobs: b"",
        lambda blobs: prove(blobs[:1]),
        lambda blobs: prove(blobs) + NS(b""),
        lambda blobs: prove(blobs)[:-1],
        lambda blobs: b"".join(NS(signatureOf(blob, b"other")) for blob in blobs),
        lambda blobs: prove(blobs[::-1]),
        lambda blobs: (
            NS(signatureOf(EC.blob())) + NS(signatureOf(RSA.blob(), algorithm=b"ssh-rsa"))
        ),
        lambda blobs: NS(signatureOf(CURRENT.blob())) * 2,
        lambda blobs: NS(b"\0") * 2,
    ],
)
def test_K5_withoutAProofForEachNothingIsAdded(
    world: World, answer: Callable[[list[bytes]], Any]
) -> None:
    world.offer([CURRENT, EC, RSA], answer)
    world.assertUntouched()
    assert len(world.person.told) == 1


def test_K5_aServerThatRefusesToProveIsForgotten(world: World) -> None:
    world.offer([CURRENT, EC], lambda blobs: defer.fail(ConchError("no")))
    world.assertUntouched()
    assert world.person.told == []


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        lineOf(b"other"),
        lineOf(b"*"),
        lineOf(b"we?"),
        lineOf(b"web", OTHER),
        lineOf(b"@cert-authority web"),
        lineOf(b"@revoked web") + lineOf(b"web"),
    ],
)
def test_K5_onlyAHostThatItsOwnLineVouchesForMayTeach(world: World, lines: bytes) -> None:
    world.path.write_bytes(lines)
    assert world.offer([CURRENT, EC]).asked == []
    world.assertUntouched(lines)


def test_K5_aGlobalFileIsNotTheUsersWord(world: World, tmp_path: Path) -> None:
    other = tmp_path / "global"
    other.write_bytes(lineOf(b"web"))
    world.path.write_bytes(b"")
    world.config = replace(world.config, globalKnownHostsFiles=[str(other)])
    assert world.offer([CURRENT, EC]).asked == []


def test_K5_aHostKnownByItsCertificateMayNot(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = makeCertificate(CURRENT, OTHER, kind=certificateblob.HOST, principals=(b"web",))
    monkeypatch.setattr(Transport, "hostKeyBlob", blob)
    lines = lineOf(b"@cert-authority web", OTHER) + lineOf(hashName(b"web"))
    world.path.write_bytes(lines)
    assert world.offer([blob, EC]).asked == []
    world.assertUntouched(lines)


def test_K5_theKeyInUseHasToBeAmongThem(world: World) -> None:
    assert world.offer([EC, RSA]).asked == []


def test_K5_manyKeysAreNotLookedAt(world: World) -> None:
    assert world.offer([CURRENT, *[EC] * MAX_KEYS]).asked == []
    assert world.offer([CURRENT, *[NS(b"x") * 20] * 10_000]).asked == []
    world.assertUntouched()


def test_K5_whatIsNoKeyIsLeftOut(world: World) -> None:
    certificate = makeCertificate(EC, OTHER, kind=certificateblob.HOST)
    weak = NS(b"ssh-dss") + NS(b"x")
    service = world.offer([CURRENT, b"", b"\0\0\0\x0bssh-ed25519", certificate, weak, EC])
    assert service.asked == [EC.blob()]
    assert world.offer([CURRENT, RSA], tail=b"\0\0").asked == []


def test_K5_keysThatAreRevokedOrNotWantedAreNotLearnt(world: World, tmp_path: Path) -> None:
    lines = lineOf(b"web") + lineOf(b"@revoked *", EC)
    world.path.write_bytes(lines)
    revoked = tmp_path / "revoked"
    revoked.write_bytes(OTHER.public().toString("OPENSSH"))
    world.config = replace(world.config, revokedHostKeys=[str(revoked)], requiredRSASize=3072)
    assert world.offer([CURRENT, EC, OTHER, RSA]).asked == []
    world.config = replace(world.config, hostKeyAlgorithms=[b"ssh-ed25519"], requiredRSASize=2048)
    assert world.offer([CURRENT, RSA]).asked == []
    world.assertUntouched(lines)


@pytest.mark.parametrize("listed", [OTHER, EC])
def test_K5_aLongListOfRevokedKeysIsReadAsideFirst(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: Key
) -> None:
    waiting: list[tuple[defer.Deferred[Any], Callable[[], Any]]] = []

    def aside(reactor: Any, function: Any, *arguments: Any) -> defer.Deferred[Any]:
        waiting.append((defer.Deferred(), lambda: function(*arguments)))
        return waiting[-1][0]

    monkeypatch.setattr(hostkeyupdates, "aside", aside)
    revoked = tmp_path / "revoked"
    revoked.write_bytes(listed.public().toString("OPENSSH") + b"\n" + b"#" * IN_PLACE_LENGTH)
    world.config = replace(world.config, revokedHostKeys=[str(revoked)])
    service = world.offer([CURRENT, EC])
    assert service.asked == []
    ((done, look),) = waiting
    done.callback(look())
    assert service.asked == ([] if listed is EC else [EC.blob()])


@pytest.mark.parametrize("answer", [False, None, 1, defer.fail(ConchError("gone"))], ids=repr)
def test_K5_whoIsAskedMaySayNo(world: World, answer: Any) -> None:
    world.config = replace(world.config, updateHostKeys="ask")
    world.person.answer = answer
    world.offer([CURRENT, EC])
    assert EC.displayFingerprint().encode() in world.person.asked[0]
    world.assertUntouched()


def test_K5_whoIsAskedMaySayYes(world: World) -> None:
    world.config = replace(world.config, updateHostKeys="ask")
    world.offer([CURRENT, EC])
    assert world.path.read_bytes() == lineOf(b"web") + lineOf(b"web", EC)


def test_K5_withoutUpdateHostKeysTheOfferIsRefusedLikeAnyUnknownRequest() -> None:
    service: Any = ClientService(lambda: None)
    service.transport = Transport()
    assert not service.gotGlobalRequest(HOST_KEYS, NS(CURRENT.blob()) * 10_000)
    assert not service.gotGlobalRequest(b"keepalive@openssh.com", b"")
    assert not service.gotGlobalRequest(b"roaming", b"")
