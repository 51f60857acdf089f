"""Keys, signatures and certificates: what was encoded decodes, and nothing else ever escapes."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet.crypto.certificates import Certificate
from limpet.crypto.errors import BadKeyError, CertificateRejected, EncryptedKeyError
from limpet.crypto.key import Key
from limpet.crypto.keyformats import armor
from limpet.crypto.signatures import SIGNATURE_ALGORITHMS, nameOf, verifySignature
from tests.keymaking import NOW, allKeys, makeCertificate, makeKey

KEYS = allKeys()
FORMS = [
    "public_openssh",
    "public_rfc4716",
    "public_pem",
    "private_openssh",
    "public_lsh",
    "private_lsh",
    "agentv3",
    "blob",
    "private_blob",
]
# Loading an RSA private key tests its primes, which is slow; a damaged one is in tests/attacks.
SAMPLES = [
    data
    for key in KEYS
    for data in (
        key.blob(),
        key.public().toString("openssh"),
        key.public().toString("openssh", subtype="RFC4716"),
        key.public().toString("openssh", subtype="PKCS8"),
        *(() if key.type() == "RSA" else (key.privateBlob(), key.toString("openssh"))),
    )
]


@st.composite
def damaged(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A sample in which a piece was replaced by something else."""
    data = draw(st.sampled_from(samples))
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 40)))
    return data[:start] + draw(st.binary(max_size=40)) + data[stop:]


@given(data=st.binary(max_size=300), form=st.sampled_from([None, *FORMS]))
def test_anyBytes(data: bytes, form: str | None) -> None:
    with contextlib.suppress(BadKeyError, EncryptedKeyError):
        Key.fromString(data, form)


@settings(max_examples=300)
@given(data=damaged(SAMPLES), form=st.sampled_from([None, *FORMS]))
def test_damagedKeys(data: bytes, form: str | None) -> None:
    try:
        key = Key.fromString(data, form)
    except (BadKeyError, EncryptedKeyError):
        return
    assert Key.fromString(key.blob()) == key.public()


@given(
    key=st.sampled_from(KEYS),
    data=st.binary(max_size=200),
    other=st.binary(max_size=200),
)
def test_signaturesCountForTheirDataOnly(key: Key, data: bytes, other: bytes) -> None:
    signature = key.sign(data)
    assert key.verify(signature, data)
    assert key.verify(signature, other) == (data == other)


@settings(max_examples=300)
@given(
    key=st.sampled_from(KEYS),
    name=st.sampled_from(sorted(SIGNATURE_ALGORITHMS)),
    signature=st.binary(max_size=200) | damaged([key.sign(b"data") for key in KEYS]),
)
def test_anySignature(key: Key, name: bytes, signature: bytes) -> None:
    good = verifySignature(key.blob(), name, signature, b"data")
    assert not good or nameOf(signature) == name


CERTIFICATE = makeCertificate(
    makeKey(), makeKey(number=1), criticalOptions={b"source-address": b"\x00\x00\x00\x01x"}
)


@settings(max_examples=300)
@given(blob=st.binary(max_size=300) | damaged([CERTIFICATE]))
def test_anyCertificate(blob: bytes) -> None:
    try:
        certificate = Certificate(blob)
        certificate.checkUser(
            authorities={makeKey(number=1).blob()},
            principals=[b"alice"],
            now=NOW,
            address="192.0.2.1",
        )
    except CertificateRejected:
        return
    except BadKeyError:
        return
    raise AssertionError("a certificate with a damaged option was accepted")


@given(
    comment=st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40),
    passphrase=st.sampled_from([None, "x"]),
)
@settings(max_examples=10, deadline=None)
def test_commentsComeBack(comment: str, passphrase: str | None) -> None:
    data = makeKey().toString("openssh", comment=comment, passphrase=passphrase)
    key = Key.fromString(data, passphrase=passphrase)
    assert key == makeKey()
    assert key.comment == comment.encode()


@given(body=st.binary(max_size=500))
def test_armor(body: bytes) -> None:
    block = armor.wrap(body, b"-BEGIN-", b"-END-")
    assert armor.decodeBase64(b"".join(armor.unwrap(block, b"-BEGIN-", b"-END-"))) == body
