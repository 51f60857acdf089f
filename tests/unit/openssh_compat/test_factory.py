"""Host keys and moduli where OpenSSH keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest

from limpet.core.moduli import parseModuli
from limpet.openssh_compat.factory import OpenSSHFactory
from limpet.openssh_compat.primes import parseModuliFile
from limpet.ssh.keys import Key, createKeyFiles
from limpet.ssh.transport import DH_GENERATOR, DH_PRIME

MODULI = f"# a comment\n20260101000000 2 6 100 2047 {DH_GENERATOR} {DH_PRIME:X}\n"


@pytest.fixture
def factory(tmp_path: Path) -> OpenSSHFactory:
    made = OpenSSHFactory()
    made.dataRoot = made.moduliRoot = str(tmp_path)
    return made


def test_theKeysOfTheDirectory(factory: OpenSSHFactory, tmp_path: Path) -> None:
    key = Key.generate("ed25519")
    createKeyFiles(key, tmp_path / "ssh_host_ed25519_key")
    createKeyFiles(Key.generate("ecdsa"), tmp_path / "other_key")
    assert factory.getPrivateKeys() == {b"ssh-ed25519": key}
    assert factory.getPublicKeys() == {b"ssh-ed25519": key.public()}


def test_aFileThatIsNoKeyIsLeftOut(factory: OpenSSHFactory, tmp_path: Path) -> None:
    createKeyFiles(Key.generate("ecdsa"), tmp_path / "ssh_host_ecdsa_key")
    createKeyFiles(Key.generate("ed25519"), tmp_path / "ssh_host_other_key", passphrase="secret")
    (tmp_path / "ssh_host_broken_key").write_text("nothing")
    assert list(factory.getPrivateKeys()) == [b"ecdsa-sha2-nistp256"]


def test_itStarts(factory: OpenSSHFactory, tmp_path: Path) -> None:
    createKeyFiles(Key.generate("ed25519"), tmp_path / "ssh_host_ed25519_key")
    factory.startFactory()
    assert factory.primes is None
    assert list(factory.privateKeys) == [b"ssh-ed25519"]


def test_theModuli(factory: OpenSSHFactory, tmp_path: Path) -> None:
    (tmp_path / "moduli").write_text(MODULI)
    assert factory.getPrimes() == {2048: [(DH_GENERATOR, DH_PRIME)]}
    assert parseModuliFile(tmp_path / "moduli") == parseModuli(MODULI)


def test_noModuli(factory: OpenSSHFactory, tmp_path: Path) -> None:
    assert factory.getPrimes() is None
    with pytest.raises(FileNotFoundError):
        parseModuliFile(tmp_path / "moduli")
