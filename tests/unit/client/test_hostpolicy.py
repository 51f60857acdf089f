"""Who vouches for a host's key: pinned keys, a function, a KnownHostsFile, the user's files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.python.filepath import FilePath

from limpet.client.errors import HostKeyRefused
from limpet.client.hostpolicy import (
    DocumentedKnownHosts,
    JudgedHostKeys,
    KnownHostsPolicy,
    PinnedHostKeys,
    hostKeyOf,
)
from limpet.client.knownhosts import KnownHostsFile
from limpet.error import HostKeyChanged, UserRejectedKey
from limpet.ssh.keys import Key
from tests.pair.dialled import configFor

KEY = Key.generate("ed25519").public()
OTHER = Key.generate("ecdsa").public()
RSA = Key.generate("rsa", 2048).public()


class No:
    """Says no."""

    def prompt(self, text: bytes) -> Any:
        return defer.succeed(False)

    def warn(self, text: bytes) -> None:
        """Nothing to tell."""


def outcome(judged: Any) -> Any:
    """What a judgement comes to; what it fails with is raised."""
    found: list[Any] = []
    defer.maybeDeferred(lambda: judged).addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def line(name: str, key: Key) -> bytes:
    return name.encode() + b" " + key.toString("OPENSSH") + b"\n"


class TestPinned:
    def test_keysAndFingerprints(self) -> None:
        for pinned in (PinnedHostKeys([KEY]), PinnedHostKeys([KEY.displayFingerprint() + "="])):
            assert pinned.verify(configFor(), None, KEY.blob(), None) is True
            with pytest.raises(HostKeyRefused, match=re.escape(OTHER.displayFingerprint())):
                pinned.verify(configFor(), None, OTHER.blob(), None)

    def test_asksForTheirKindsFirst(self) -> None:
        algorithms = PinnedHostKeys([RSA, OTHER]).algorithms(configFor())
        assert set(algorithms[:3]) == {b"rsa-sha2-512", b"rsa-sha2-256", b"ecdsa-sha2-nistp256"}
        assert sorted(algorithms) == sorted(configFor().hostKeyAlgorithms)

    def test_neverWhatTheConfigurationExcludes(self) -> None:
        config = configFor(HostKeyAlgorithms="ssh-ed25519")
        assert PinnedHostKeys([RSA]).algorithms(config) == [b"ssh-ed25519"]

    def test_noKeyAtAll(self) -> None:
        for blob in (b"", b"x", KEY.blob()[:-1], b"\0\0\0\x07ssh-cert-v01@openssh.com"):
            with pytest.raises(HostKeyRefused):
                PinnedHostKeys([KEY]).verify(configFor(), None, blob, None)
            with pytest.raises(HostKeyRefused):
                hostKeyOf(blob)


class TestJudged:
    @pytest.mark.parametrize("verdict", [True, False, None, 1, "yes"])
    def test_onlyTrueIsYes(self, verdict: object) -> None:
        asked: list[Any] = []

        def judge(*arguments: Any) -> Any:
            asked.append(arguments)
            return defer.succeed(verdict)

        judged = JudgedHostKeys(judge).verify(configFor(Port=2222), None, KEY.blob(), None)
        if verdict is True:
            assert outcome(judged) is True
        else:
            with pytest.raises(HostKeyRefused):
                outcome(judged)
        assert asked == [("server.test", 2222, KEY)]


class TestDocumented:
    def policy(self, path: Path) -> DocumentedKnownHosts:
        return DocumentedKnownHosts(KnownHostsFile.fromPath(FilePath(str(path))))

    def test_known(self, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        path.write_bytes(line("server.test", KEY))
        judged = self.policy(path).verify(configFor(), None, KEY.blob(), No())
        assert outcome(judged) is True

    def test_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        path.write_bytes(line("server.test", OTHER))
        with pytest.raises(HostKeyChanged):
            outcome(self.policy(path).verify(configFor(), None, KEY.blob(), No()))

    def test_new(self, tmp_path: Path) -> None:
        policy = self.policy(tmp_path / "known_hosts")
        with pytest.raises(UserRejectedKey):
            outcome(policy.verify(configFor(), None, KEY.blob(), No()))

    def test_anotherPort(self, tmp_path: Path) -> None:
        """With its port first, as OpenSSH writes it; then without, as Conch does."""
        path, config = tmp_path / "known_hosts", configFor(Port=2222)
        path.write_bytes(line("[server.test]:2222", KEY))
        assert outcome(self.policy(path).verify(config, None, KEY.blob(), No())) is True
        path.write_bytes(line("server.test", KEY))
        assert outcome(self.policy(path).verify(config, None, KEY.blob(), No())) is True
        path.write_bytes(line("[server.test]:2222", OTHER) + line("server.test", KEY))
        with pytest.raises(HostKeyChanged):
            outcome(defer.maybeDeferred(self.policy(path).verify, config, None, KEY.blob(), No()))


def test_theUsersFiles(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_bytes(line("server.test", OTHER))
    options: dict[str, Any] = {"UserKnownHostsFile": path, "GlobalKnownHostsFile": "/dev/null"}
    config = configFor(StrictHostKeyChecking="yes", **options)
    policy = KnownHostsPolicy()
    assert policy.algorithms(config)[0] == b"ecdsa-sha2-nistp256"
    assert outcome(policy.verify(config, None, OTHER.blob(), No())) is True
    with pytest.raises(HostKeyRefused):
        outcome(policy.verify(config, None, KEY.blob(), No()))
