"""`limpet.crypto.keyformats.putty`: files that puttygen 0.78 made, whole and damaged."""

from __future__ import annotations

import pytest

from limpet.crypto.errors import BadKeyError, EncryptedKeyError
from limpet.crypto.key import Key
from limpet.crypto.keyformats import guessType, putty

PLAIN_3 = b"""\
PuTTY-User-Key-File-3: ssh-ed25519
Encryption: none
Comment: me@here
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIJmQVHcDp6+FoUCHKzuGFTYfuUWVyiuTOsRnDaQC
6nUG
Private-Lines: 1
AAAAIDUwQe5gcrHOtsOOQ/1l5ROjxyMp8LIYpGHpsIKFU2V9
Private-MAC: bbd0797f3a5ed291f1fb5922a9d68cb83768c9f202cdf7e1117c36a38c8d5b5c
"""

ENCRYPTED_3 = b"""\
PuTTY-User-Key-File-3: ssh-ed25519
Encryption: aes256-cbc
Comment: me@here
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIJmQVHcDp6+FoUCHKzuGFTYfuUWVyiuTOsRnDaQC
6nUG
Key-Derivation: Argon2id
Argon2-Memory: 64
Argon2-Passes: 2
Argon2-Parallelism: 1
Argon2-Salt: 2c92298678278192fd4b973f1f077273
Private-Lines: 1
GltiUh25iBXluIqRmiff24JW1nAeyf7MBBJXKE9cZ2iRHdMd1ihGXkvmCmDIzhOC
Private-MAC: 8e8a1994414e0a6813123c38f04f1eadc2bd68597a7dc717f0e797baaddfb08f
"""

ENCRYPTED_2 = b"""\
PuTTY-User-Key-File-2: ssh-ed25519
Encryption: aes256-cbc
Comment: me@here
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIOnEXYg7NJDNskNn7ZgyQr0L0X/07wnnAG324yom
hJBa
Private-Lines: 1
cehbfnaEkVJuMlkQcgtCJdRZN9+u+RQSj7HTjwiMjaAw65ic8ldWnjIVDX+otyIS
Private-MAC: 15b466d6c3bbbaa316b45318964f35e2c4b45eb4
"""

PLAIN_2 = b"""\
PuTTY-User-Key-File-2: ecdsa-sha2-nistp256
Encryption: none
Comment: me@here
Public-Lines: 3
AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA/Ce5FHOQyH
BMYGJn/CTYRpoc6b8m/fdCcer5WF256AL8JQTZA0scokGp1E1/u8ixfcupt0JAmp
MrkRJutBL8o=
Private-Lines: 1
AAAAIF10c37aEILxHlVtlsG7Kh3xoh3NuPUjslyhRQ91U0Oq
Private-MAC: fb728ae588064af6186d0ec04a942a84e32ca519
"""

PASSPHRASE = "correct horse"


def damagedLines(data: bytes) -> list[bytes]:
    """The file with one line gone, twice there, or with another last character."""
    lines = data.splitlines()
    found = []
    for at, line in enumerate(lines):
        found.append(lines[:at] + lines[at + 1 :])
        found.append(lines[: at + 1] + lines[at:])
        found.append([*lines[:at], line[:-1] + bytes((line[-1] ^ 1,)), *lines[at + 1 :]])
    return [b"\n".join(some) for some in found]


@pytest.mark.parametrize("data", [ENCRYPTED_2, ENCRYPTED_3])
class TestEncrypted:
    def test_theKey(self, data: bytes) -> None:
        key = Key.fromString(data, passphrase=PASSPHRASE)
        assert key.sshType() == b"ssh-ed25519"
        assert key.comment == b"me@here"
        assert not key.isPublic()

    def test_thePassphrase(self, data: bytes) -> None:
        with pytest.raises(EncryptedKeyError):
            Key.fromString(data)
        with pytest.raises(BadKeyError, match="passphrase is wrong"):
            Key.fromString(data, passphrase="wrong")

    def test_damage(self, data: bytes) -> None:
        for damaged in damagedLines(data):
            with pytest.raises(BadKeyError):
                Key.fromString(damaged, "private_putty", PASSPHRASE)


@pytest.mark.parametrize("data", [PLAIN_2, PLAIN_3])
class TestPlain:
    def test_theKey(self, data: bytes) -> None:
        assert guessType(data) == "private_putty"
        key = Key.fromString(data)
        assert key.comment == b"me@here"
        assert key.verify(key.sign(b"x"), b"x")
        assert Key.fromString(data.replace(b"\n", b"\r\n")) == key

    def test_aPassphrase(self, data: bytes) -> None:
        with pytest.raises(BadKeyError, match="not encrypted"):
            Key.fromString(data, passphrase="x")

    def test_damage(self, data: bytes) -> None:
        for damaged in damagedLines(data):
            with pytest.raises(BadKeyError):
                Key.fromString(damaged, "private_putty")

    def test_everyPrefix(self, data: bytes) -> None:
        for length in range(len(data) - 1):
            with pytest.raises(BadKeyError):
                Key.fromString(data[:length], "private_putty")


class TestLimits:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            (b"Argon2-Memory: 64", b"Argon2-Memory: 262145"),
            (b"Argon2-Memory: 64", b"Argon2-Memory: 4294967296"),
            (b"Argon2-Memory: 64", b"Argon2-Memory: -1"),
            (b"Argon2-Memory: 64", b"Argon2-Memory: 0"),
            (b"Argon2-Passes: 2", b"Argon2-Passes: 65537"),
            (b"Argon2-Passes: 2", b"Argon2-Passes: 99999999999"),
            (b"Argon2-Passes: 2", b"Argon2-Passes: 0"),
            (b"Argon2-Parallelism: 1", b"Argon2-Parallelism: 65"),
            (b"Argon2-Parallelism: 1", b"Argon2-Parallelism: 0"),
            (b"Argon2-Salt: ", b"Argon2-Salt: x"),
            (b"Argon2id", b"Argon3"),
            (b"aes256-cbc", b"rot13"),
            (b"File-3", b"File-1"),
            (b"File-3", b"File-4"),
            (b"Public-Lines: 2", b"Public-Lines: 99999"),
            (b"Public-Lines: 2", b"Public-Lines: two"),
        ],
    )
    def test_whatAFileAsksFor(self, field: bytes, value: bytes) -> None:
        assert field in ENCRYPTED_3
        with pytest.raises(BadKeyError):
            putty.decode(ENCRYPTED_3.replace(field, value), PASSPHRASE.encode())

    def test_memoryTimesPasses(self) -> None:
        for passes, tooMuch in ((b"65537", True), (b"3", False)):
            data = ENCRYPTED_3.replace(b"Argon2-Passes: 2", b"Argon2-Passes: " + passes)
            with pytest.raises(BadKeyError) as caught:
                putty.decode(data, PASSPHRASE.encode())
            assert ("more work" in str(caught.value)) == tooMuch
