"""What is signed, told by its own structure."""

from __future__ import annotations

import hashlib

import pytest

from limpet.core.authentication import signedData
from limpet.core.signables import Use, plainBlob, recognise
from limpet.ssh.keys import Key
from limpet.wire.fields import NS, u32
from tests.keymaking import makeCertificate

KEY = Key.generate("ed25519")
LOGIN = signedData(b"s" * 32, b"user", b"ssh-connection", b"ssh-ed25519", KEY.blob())
HOST_BOUND = signedData(
    b"s" * 32, b"user", b"ssh-connection", b"ssh-ed25519", KEY.blob(), hostKeyBlob=b"host key"
)
FILE = b"SSHSIG" + b"".join(
    map(NS, (b"git", b"", b"sha512", hashlib.sha512(b"what is signed").digest()))
)


def test_a_login() -> None:
    found = recognise(LOGIN)
    assert (found.use, found.sessionId, found.user) == (Use.LOGIN, b"s" * 32, b"user")
    assert (found.algorithm, found.keyBlob, found.hostKeyBlob) == (
        b"ssh-ed25519",
        KEY.blob(),
        None,
    )


def test_a_login_that_names_its_host() -> None:
    found = recognise(HOST_BOUND)
    assert (found.use, found.hostKeyBlob) == (Use.LOGIN, b"host key")


def test_a_file() -> None:
    found = recognise(FILE)
    assert (found.use, found.namespace) == (Use.FILE, b"git")


def test_a_certificate() -> None:
    authority = Key.generate("ed25519")
    blob = makeCertificate(KEY, authority=authority)
    # What was signed ends where the signature begins.
    toBeSigned = blob[: blob.rindex(NS(authority.blob())) + len(NS(authority.blob()))]
    found = recognise(toBeSigned)
    assert (found.use, found.keyBlob) == (Use.CERTIFICATE, authority.blob())
    assert recognise(blob).use is Use.ANYTHING


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 32,
        hashlib.sha256(b"a key exchange").digest(),
        LOGIN[:-1],
        LOGIN + b"x",
        LOGIN.replace(b"ssh-connection", b"ssh-conneXtion"),
        LOGIN.replace(b"publickey", b"publicKey"),
        LOGIN.replace(NS(b"publickey") + b"\x01", NS(b"publickey") + b"\x00"),
        LOGIN.replace(NS(b"publickey") + b"\x01", NS(b"publickey") + b"\x02"),
        LOGIN.replace(b"s" * 32 + b"\x32", b"s" * 32 + b"\x33"),
        NS(b"short") + LOGIN[36:],
        NS(b"s" * 65) + LOGIN[36:],
        HOST_BOUND[:-12],
        FILE[:-1],
        FILE + b"x",
        FILE.replace(NS(b"git"), NS(b"")),
        FILE.replace(NS(b"sha512"), NS(b"sha256")),
        FILE.replace(NS(b"sha512"), NS(b"md5")),
        b"SSHSIG" + u32(2**32 - 1),
        bytes(1024),
    ],
)
def test_D16_what_is_nothing_of_these(data: bytes) -> None:
    assert recognise(data).use is Use.ANYTHING


def test_the_key_in_a_certificate() -> None:
    assert plainBlob(makeCertificate(KEY, KEY)) == KEY.blob()
    assert plainBlob(KEY.blob()) == KEY.blob()
    assert plainBlob(b"nothing") == b"nothing"
