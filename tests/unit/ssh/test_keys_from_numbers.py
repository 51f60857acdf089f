"""Keys from the numbers that `Key.data` gives, and the keys of manholes."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.python.filepath import FilePath

from limpet.ssh.keys import BadKeyError, Key, _getPersistentRSAKey

RSA = Key.generate("rsa", 2048)


def test_rsa() -> None:
    numbers = RSA.data()
    assert Key._fromRSAComponents(**numbers) == RSA
    assert Key._fromRSAComponents(n=numbers["n"], e=numbers["e"]) == RSA.public()
    assert Key._fromRSAComponents(numbers["n"], numbers["e"], numbers["d"]) == RSA


@pytest.mark.parametrize("bits", [256, 384, 521])
def test_ecdsa(bits: int) -> None:
    key = Key.generate("ecdsa", bits)
    numbers = key.data()
    assert Key._fromECComponents(**numbers) == key
    assert Key._fromECComponents(numbers["x"], numbers["y"], numbers["curve"]) == key.public()


def test_ed25519() -> None:
    key = Key.generate("ed25519")
    assert Key._fromEd25519Components(**key.data()) == key
    assert Key._fromEd25519Components(key.data()["a"]) == key.public()


def test_numbersThatDoNotFitTogether() -> None:
    numbers = RSA.data() | {"p": 3}
    with pytest.raises(BadKeyError):
        Key._fromRSAComponents(**numbers)


def test_theKeyOfAManhole(tmp_path: Path) -> None:
    path = FilePath(str(tmp_path / "new" / "key"))
    # Conch's programs ask for sizes that nothing takes any more.
    key = _getPersistentRSAKey(path, keySize=1024)
    assert (key.type(), key.size()) == ("RSA", 2048)
    assert _getPersistentRSAKey(path) == key
