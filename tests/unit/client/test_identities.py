"""Which keys are offered, in which order, and when a passphrase is asked for."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer

from limpet.client.identities import (
    AgentIdentity,
    FileIdentity,
    Identity,
    KeyIdentity,
    agentIdentities,
    inOrder,
    readIdentityFile,
)
from limpet.client.interaction import NobodyToAsk
from limpet.ssh.keys import BadKeyError, Certificate, Key, createKeyFiles
from tests.interop.peers import requirePeer

ED25519 = Key.generate("ed25519")
ECDSA = Key.generate("ecdsa")
RSA = Key.generate("rsa", 2048)


class Agent:
    """Signs, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def signData(self, blob: bytes, data: bytes, flags: int) -> Any:
        self.asked.append((blob, data, flags))
        return defer.succeed(b"signature")


def certificateFor(tmp_path: Path, key: Key) -> Certificate:
    authority, path = tmp_path / "authority", tmp_path / "certified"
    createKeyFiles(Key.generate("ed25519"), authority)
    createKeyFiles(key, path)
    command = [requirePeer("ssh-keygen"), "-q", "-s", authority, "-I", "x", "-n", "alice"]
    subprocess.run([*map(str, command), f"{path}.pub"], check=True, capture_output=True)
    return Certificate.fromString((tmp_path / "certified-cert.pub").read_bytes())


def never(prompt: bytes) -> Any:
    raise AssertionError(f"asked for {prompt!r}")


def result(deferred: Any) -> Any:
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    return outcome[0]


class TestOrder:
    def held(self, *keys: Key) -> list[AgentIdentity]:
        return agentIdentities(Agent(), [(key.public().blob(), b"held") for key in keys])

    def files(self, *keys: Key) -> list[Identity]:
        return [FileIdentity(key.public(), Path(f"/home/{key.type()}")) for key in keys]

    def test_theAgentsThatFilesNameThenItsOthersThenFiles(self) -> None:
        order = inOrder(self.files(RSA, ECDSA), [], self.held(ED25519, ECDSA), False)
        assert [(type(one).__name__, one.key) for one in order] == [
            ("AgentIdentity", ECDSA.public()),
            ("AgentIdentity", ED25519.public()),
            ("FileIdentity", RSA.public()),
        ]

    def test_onlyThoseThatFilesName(self) -> None:
        order = inOrder(self.files(RSA, ECDSA), [], self.held(ED25519, ECDSA), True)
        assert [one.key for one in order] == [ECDSA.public(), RSA.public()]

    def test_certificatesFirst(self, tmp_path: Path) -> None:
        certificate = certificateFor(tmp_path, RSA)
        order = inOrder(self.files(ECDSA, RSA), [certificate], [], False)
        assert [one.blob() for one in order] == [
            certificate.blob,
            ECDSA.public().blob(),
            RSA.public().blob(),
        ]
        assert order[0].supportedSignatureAlgorithms() == [
            b"rsa-sha2-512-cert-v01@openssh.com",
            b"rsa-sha2-256-cert-v01@openssh.com",
        ]

    def test_aCertificateWhoseKeyTheAgentHolds(self, tmp_path: Path) -> None:
        certificate = certificateFor(tmp_path, ECDSA)
        (first, *_) = inOrder([], [certificate], self.held(ECDSA), False)
        assert isinstance(first, AgentIdentity)
        assert first.blob() == certificate.blob

    def test_aCertificateWithoutItsKeyIsOfNoUse(self, tmp_path: Path) -> None:
        assert inOrder([], [certificateFor(tmp_path, ECDSA)], [], False) == []

    def test_eachOnce(self) -> None:
        order = inOrder(self.files(RSA, RSA), [], self.held(RSA, RSA), False)
        assert len(order) == 1

    def test_keysOfTheAgentThatWeDoNotKnow(self) -> None:
        found = agentIdentities(Agent(), [(b"\0\0\0\x04none", b""), (RSA.public().blob(), b"x")])
        assert [one.name for one in found] == ["x"]


class TestSigning:
    def test_inMemory(self) -> None:
        identity = KeyIdentity(RSA, "given")
        signature = result(identity.sign(b"data", b"rsa-sha2-512", never))
        assert RSA.public().verify(signature, b"data", b"rsa-sha2-512")

    def test_theAgentIsToldTheHash(self) -> None:
        agent = Agent()
        (identity,) = agentIdentities(agent, [(RSA.public().blob(), b"")])
        for algorithm, flags in ((b"rsa-sha2-256", 2), (b"rsa-sha2-512", 4)):
            assert result(identity.sign(b"data", algorithm, never)) == b"signature"
            assert agent.asked[-1] == (RSA.public().blob(), b"data", flags)

    def test_theAgentSignsForACertificateThatItDoesNotHold(self, tmp_path: Path) -> None:
        agent = Agent()
        (held,) = agentIdentities(agent, [(RSA.public().blob(), b"")])
        identity = held.withCertificate(certificateFor(tmp_path, RSA))
        identity.sign(b"data", b"rsa-sha2-512-cert-v01@openssh.com", never)
        assert agent.asked == [(RSA.public().blob(), b"data", 4)]


class TestFiles:
    def test_isReadWhenItSigns(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        createKeyFiles(ED25519, path)
        identity = readIdentityFile(path)
        assert identity.key == ED25519.public()
        assert result(identity.sign(b"x", b"ssh-ed25519", never)) == ED25519.sign(b"x")

    @pytest.mark.parametrize("hasPublicFile", [True, False])
    def test_thePassphraseIsAskedForWhenItSigns(self, tmp_path: Path, hasPublicFile: bool) -> None:
        path = tmp_path / "key"
        createKeyFiles(ED25519, path, passphrase="sesame")
        if not hasPublicFile:
            path.with_name("key.pub").unlink()
        identity = readIdentityFile(path)
        asked: list[bytes] = []
        answers = [b"wrong", b"sesame"]

        def ask(prompt: bytes) -> Any:
            asked.append(prompt)
            return defer.succeed(answers.pop(0))

        assert result(identity.sign(b"x", b"ssh-ed25519", ask)) == ED25519.sign(b"x")
        question = f"Passphrase for the key {path}: ".encode()
        assert asked == [question, b"That was not it. " + question]

    def test_threeWrongPassphrases(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        createKeyFiles(ED25519, path, passphrase="sesame")
        asked: list[bytes] = []

        def ask(prompt: bytes) -> Any:
            asked.append(prompt)
            return defer.succeed(b"guess")

        failure = result(readIdentityFile(path).sign(b"x", b"ssh-ed25519", ask))
        assert failure.check(BadKeyError)
        assert len(asked) == 3
        assert "guess" not in str(failure.value)

    def test_noPassphraseGivesUp(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        createKeyFiles(ED25519, path, passphrase="sesame")
        signing = readIdentityFile(path).sign(b"x", b"ssh-ed25519", lambda _: defer.succeed(b""))
        assert result(signing).check(NobodyToAsk)

    def test_aPublicFileOfAnotherKey(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        createKeyFiles(ED25519, path, passphrase="sesame")
        path.with_name("key.pub").write_bytes(ECDSA.public().toString("OPENSSH"))
        signing = readIdentityFile(path).sign(b"x", b"x", lambda _: defer.succeed(b"sesame"))
        assert result(signing).check(BadKeyError)

    def test_aFileThatOthersCanRead(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        createKeyFiles(ED25519, path)
        path.chmod(0o640)
        with pytest.raises(BadKeyError, match="chmod 600"):
            readIdentityFile(path)

    def test_aPublicFileAlone(self, tmp_path: Path) -> None:
        """Its private half is in an agent, or on a card."""
        path = tmp_path / "key"
        path.with_name("key.pub").write_bytes(ED25519.public().toString("OPENSSH"))
        assert readIdentityFile(path).key == ED25519.public()
        assert readIdentityFile(tmp_path / "key.pub").key == ED25519.public()

    def test_noFile(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            readIdentityFile(tmp_path / "key")


def test_reprsAndTextsHoldNothingPrivate() -> None:
    text = str(KeyIdentity(ED25519, "given"))
    assert text == f"key given (Ed25519 {ED25519.displayFingerprint()})"
