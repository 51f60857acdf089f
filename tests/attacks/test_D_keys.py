"""Attacks on signatures and public keys: rows D6 to D15."""

from __future__ import annotations

import ast
import hashlib
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import limpet
from limpet.crypto import entropy, material, signatures
from limpet.crypto.certificates import Certificate
from limpet.crypto.errors import BadKeyError
from limpet.crypto.key import Key
from limpet.crypto.signatures import verifySignature
from limpet.wire.fields import MP, NS, Reader
from tests.keymaking import (
    allKeys,
    makeCertificate,
    makeKey,
    securityKey,
    securityKeySignature,
)

DATA = b"the exchange hash"
KEYS = allKeys()


def bodyOf(signature: bytes) -> bytes:
    reader = Reader(signature)
    reader.string()
    return reader.string()


# ── D6: the host's signature ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_D6_signatures_that_are_none(key: Key) -> None:
    name = key.supportedSignatureAlgorithms()[0]
    for signature in (b"", NS(b""), NS(name), NS(name) + NS(b""), NS(b"") + NS(b""), bytes(200)):
        assert not verifySignature(key.blob(), name, signature, DATA)


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_D6_signature_over_another_exchange_hash(key: Key) -> None:
    name = key.supportedSignatureAlgorithms()[0]
    assert not verifySignature(key.blob(), name, key.sign(b"another exchange hash"), DATA)


def test_D6_inner_algorithm_is_not_the_one_negotiated() -> None:
    key = makeKey("rsa", 2048)
    for made in (b"ssh-rsa", b"rsa-sha2-256", b"rsa-sha2-512"):
        for negotiated in (b"rsa-sha2-256", b"rsa-sha2-512"):
            good = verifySignature(key.blob(), negotiated, key.sign(DATA, made), DATA)
            assert good == (made == negotiated)
    # The signature itself is a good one with SHA-1; only its name says otherwise.
    renamed = NS(b"rsa-sha2-256") + NS(bodyOf(key.sign(DATA, b"ssh-rsa")))
    assert not verifySignature(key.blob(), b"rsa-sha2-256", renamed, DATA)


def test_D6_certificate_algorithm_with_a_bare_key_and_the_reverse() -> None:
    key = makeKey()
    certificate = makeCertificate(key, makeKey(number=1), kind=2)
    signature = key.sign(DATA)
    with pytest.raises(BadKeyError):
        verifySignature(key.blob(), b"ssh-ed25519-cert-v01@openssh.com", signature, DATA)
    with pytest.raises(BadKeyError):
        verifySignature(certificate, b"ssh-ed25519", signature, DATA)


def test_D6_a_name_that_is_no_algorithm() -> None:
    key = makeKey()
    for name in (b"", b"none", b"null", b"ssh-ed25519 ", b"SSH-ED25519", b"\x00" * 300):
        assert not verifySignature(key.blob(), name, NS(name) + NS(bytes(64)), DATA)


# ── D7: curves ────────────────────────────────────────────────────────────────────────────────


def test_D7_type_curve_and_point_have_to_agree() -> None:
    names = sorted(material.CURVES)
    points = {name: makeKey("ecdsa", int(name[5:])).blob() for name in names}
    for typeName in names:
        for curveName in names:
            for pointName in names:
                reader = Reader(points[pointName])
                reader.string()
                reader.string()
                point = reader.string()
                blob = NS(b"ecdsa-sha2-" + typeName) + NS(curveName) + NS(point)
                if typeName == curveName == pointName:
                    assert Key.fromString(blob).blob() == blob
                else:
                    with pytest.raises(BadKeyError):
                        Key.fromString(blob)


def test_D7_a_key_of_another_curve_under_an_allowed_name() -> None:
    allowed = b"ecdsa-sha2-nistp256"
    for size in (384, 521):
        key = makeKey("ecdsa", size)
        body = bodyOf(key.sign(DATA))
        assert not verifySignature(key.blob(), allowed, key.sign(DATA), DATA)
        assert not verifySignature(key.blob(), allowed, NS(allowed) + NS(body), DATA)
        with pytest.raises(BadKeyError):
            verifySignature(
                key.blob().replace(b"nistp%d" % size, b"nistp256"), allowed, key.sign(DATA), DATA
            )


@pytest.mark.parametrize("key", [key for key in KEYS if key.type() != "Ed25519"], ids=repr)
@pytest.mark.parametrize(
    "name", [name for name, kind in signatures.SIGNATURE_ALGORITHMS.items() if kind.digest]
)
def test_D7_a_good_signature_with_the_hash_of_another_algorithm(key: Key, name: bytes) -> None:
    """Everything fits but the type of the key: the mathematics alone would say yes."""
    algorithm = signatures.SIGNATURE_ALGORITHMS[name]
    assert algorithm.digest is not None
    body = signatures._signWith(key._private(), algorithm.digest, DATA)
    good = verifySignature(key.blob(), name, NS(name) + NS(body), DATA)
    assert good == (algorithm.keyType == key.sshType())


def test_D7_security_keys_and_plain_keys_are_different_types() -> None:
    for signer in (makeKey(), makeKey("ecdsa", 256)):
        key = securityKey(signer)
        answer = securityKeySignature(signer, DATA)
        assert not verifySignature(signer.blob(), key.sshType(), answer, DATA)
        assert not verifySignature(key.blob(), signer.sshType(), signer.sign(DATA), DATA)


# ── D8: RSA parameters ────────────────────────────────────────────────────────────────────────

GOOD_N = makeKey("rsa", 2048).data()["n"]


@pytest.mark.parametrize(
    ("n", "e"),
    [
        (2**511 + 1, 65537),
        (2**1023 + 1, 65537),
        (2**2046 + 1, 65537),
        (2**16384 + 1, 65537),
        (GOOD_N + 1, 65537),
        (0, 65537),
        (1, 65537),
        (GOOD_N, 0),
        (GOOD_N, 1),
        (GOOD_N, 2),
        (GOOD_N, 4),
        (GOOD_N, 65536),
        (GOOD_N, 2**32 + 1),
        (GOOD_N, 2**64 + 1),
        (GOOD_N, GOOD_N - 2),
    ],
    ids=lambda number: f"{number.bit_length()}bits",
)
def test_D8_rsa_numbers_that_are_refused(n: int, e: int) -> None:
    with pytest.raises(BadKeyError):
        Key.fromString(NS(b"ssh-rsa") + MP(e) + MP(n))


def test_D8_rsa_of_a_million_bits_is_refused_before_it_is_computed_with() -> None:
    with pytest.raises(BadKeyError):
        Key.fromString(NS(b"ssh-rsa") + MP(65537) + NS(b"\x7f" + bytes(125_000)))


def test_D8_the_limits_themselves_are_good() -> None:
    for n in (2**2047 + 1, 2**16384 - 1):
        assert material.rsaPublic(n, 3).key_size == n.bit_length()
    assert material.rsaPublic(GOOD_N, 2**32 - 1).key_size == 2048


def test_D8_a_weak_key_in_a_certificate() -> None:
    weak = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    good = makeCertificate(makeKey("rsa", 2048), makeKey())
    blob = good.replace(MP(65537) + MP(GOOD_N), MP(weak.e) + MP(weak.n))
    assert blob != good
    with pytest.raises(BadKeyError, match="1024 bits"):
        Certificate(blob)


# ── D9: SHA-1 ─────────────────────────────────────────────────────────────────────────────────


def test_D9_sha1_counts_only_where_it_is_named() -> None:
    key = makeKey("rsa", 2048)
    signature = key.sign(DATA, b"ssh-rsa")
    assert not key.verify(signature, DATA)
    for name in signatures.DEFAULT_SIGNATURE_ALGORITHMS:
        assert not key.verify(signature, DATA, name)
        assert not verifySignature(key.blob(), name, signature, DATA)
    assert key.verify(signature, DATA, b"ssh-rsa")
    assert b"ssh-rsa" not in key.supportedSignatureAlgorithms()


def test_D9_an_authority_that_signs_with_sha1() -> None:
    authority = makeKey("rsa", 2048)
    assert not Certificate(
        makeCertificate(makeKey(), authority, signatureType=b"ssh-rsa")
    ).isSignedByAuthority()
    assert Certificate(
        makeCertificate(makeKey(), authority, signatureType=b"rsa-sha2-256")
    ).isSignedByAuthority()


# ── D10: length of RSA signatures ─────────────────────────────────────────────────────────────


def test_D10_a_stripped_zero_is_put_back_and_a_longer_one_is_refused() -> None:
    key = makeKey("rsa", 2048)
    for number in range(100_000):
        data = b"%d" % number
        body = bodyOf(key.sign(data))
        if body[0] == 0:
            break
    else:
        pytest.fail("no signature with a leading zero in 100,000")
    name = b"rsa-sha2-512"
    assert len(body) == 256
    assert key.verify(NS(name) + NS(body), data)
    assert key.verify(NS(name) + NS(body.lstrip(b"\x00")), data)
    assert not key.verify(NS(name) + NS(b"\x00" + body), data)
    assert not key.verify(NS(name) + NS(body[:-1]), data)
    assert not key.verify(NS(name) + NS(body + b"\x00"), data)
    assert not key.verify(NS(name) + NS(b""), data)
    n = key.data()["n"]
    larger = int.from_bytes(body, "big") + n
    if larger.bit_length() <= 2048:
        assert not key.verify(NS(name) + NS(larger.to_bytes(256, "big")), data)


# ── D11: weak Ed25519 keys ────────────────────────────────────────────────────────────────────

FIELD_PRIME = 2**255 - 19
SIGN_BIT = 1 << 255


def weakPoints() -> list[bytes]:
    """All encodings of points of small order, and encodings that are not canonical."""
    small = [y | sign for y in sorted(material._SMALL_ORDER_Y) for sign in (0, SIGN_BIT)]
    other = [
        (FIELD_PRIME + y) | sign for y in range(2**255 - FIELD_PRIME) for sign in (0, SIGN_BIT)
    ]
    return [number.to_bytes(32, "little") for number in small + other]


@pytest.mark.parametrize("point", weakPoints(), ids=bytes.hex)
def test_D11_weak_points_are_no_keys(point: bytes) -> None:
    for blob in (
        NS(b"ssh-ed25519") + NS(point),
        NS(b"sk-ssh-ed25519@openssh.com") + NS(point) + NS(b"ssh:"),
    ):
        with pytest.raises(BadKeyError):
            Key.fromString(blob)
    with pytest.raises(BadKeyError):
        Key(ed25519.Ed25519PublicKey.from_public_bytes(point))


def test_D11_the_library_below_does_accept_the_identity() -> None:
    """Why the check is needed; where this fails some day, the check costs nothing."""
    identity = (1).to_bytes(32, "little")
    ed25519.Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), DATA)


def test_D11_a_weak_authority() -> None:
    weak = NS(b"ssh-ed25519") + NS((1).to_bytes(32, "little"))
    with pytest.raises(BadKeyError, match="small order"):
        Certificate(makeCertificate(makeKey(), makeKey(number=1), authorityBlob=weak))


def test_D11_lengths_and_ranges_of_the_signature() -> None:
    key = makeKey()
    body = bodyOf(key.sign(DATA))
    order = 2**252 + 27742317777372353535851937790883648493
    larger = (int.from_bytes(body[32:], "little") + order).to_bytes(32, "little")
    for wrong in (body[:63], body + b"\x00", b"", body[:32] + larger, bytes(64)):
        assert not key.verify(NS(b"ssh-ed25519") + NS(wrong), DATA)


# ── D12: ECDSA ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [256, 384, 521])
def test_D12_numbers_of_a_signature(size: int) -> None:
    key = makeKey("ecdsa", size)
    order = material.CURVES[b"nistp%d" % size].order
    reader = Reader(bodyOf(key.sign(DATA)))
    r, s = reader.mpint(), reader.mpint()

    def verify(body: bytes) -> bool:
        return key.verify(NS(key.sshType()) + NS(body), DATA)

    assert verify(MP(r) + MP(s))
    # Both forms are signatures, which is why no signature is ever an identity.
    assert verify(MP(r) + MP(order - s))
    for badR, badS in (
        (0, s),
        (r, 0),
        (order, s),
        (r, order),
        (r + order, s),
        (r, s + order),
        (s, r),
        (0, 0),
        (1, 1),
    ):
        assert not verify(MP(badR) + MP(badS))
    assert not verify(MP(r) + MP(s) + b"\x00")
    assert not verify(MP(r) + MP(s) + MP(1))
    assert not verify(MP(r))
    assert not verify(NS(b"\x00\x00" + MP(r)[4:].lstrip(b"\x00")) + MP(s))
    assert not verify(NS(b"\xff" + MP(r)[4:]) + MP(s))
    assert not verify(NS(b"\x7f" + bytes(1_000_000)) + MP(s))


def test_D12_der_is_not_the_form_of_ssh() -> None:
    keyObject = makeKey("ecdsa", 256)._keyObject
    assert isinstance(keyObject, ec.EllipticCurvePrivateKey)
    digest = signatures.SIGNATURE_ALGORITHMS[b"ecdsa-sha2-nistp256"].digest
    assert digest is not None
    der = keyObject.sign(DATA, ec.ECDSA(digest))
    keyObject.public_key().verify(der, DATA, ec.ECDSA(digest))
    assert not makeKey("ecdsa", 256).verify(NS(b"ecdsa-sha2-nistp256") + NS(der), DATA)


# ── D13: random numbers ───────────────────────────────────────────────────────────────────────


def test_D13_no_module_uses_the_random_numbers_of_games() -> None:
    """Of the module `random` only SystemRandom, which asks the operating system.

    But for what cuts streams into pieces for tests, the same ones again and again.
    """
    root = Path(limpet.__file__).parent
    kit = root / "testing"
    files = sorted(path for path in root.rglob("*.py") if kit not in path.parents)
    assert len(files) > 20
    for path in files:
        assert "limpet.testing" not in path.read_text("utf-8"), path
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "random":
                assert {alias.name for alias in node.names} == {"SystemRandom"}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id in ("random", "randbytes"):
                    assert node.attr == "SystemRandom", path


def test_D13_nonces_of_p521_use_all_bits() -> None:
    """The nonces that PuTTY made had their nine highest bits clear."""
    key = makeKey("ecdsa", 521)
    order = material.CURVES[b"nistp521"].order
    secret = key.data()["privateValue"]
    nonces = []
    for number in range(300):
        data = b"%d" % number
        reader = Reader(bodyOf(key.sign(data)))
        r, s = reader.mpint(), reader.mpint()
        digest = int.from_bytes(hashlib.sha512(data).digest(), "big")
        nonce = (digest + r * secret) * pow(s, -1, order) % order
        public = ec.derive_private_key(nonce, ec.SECP521R1()).public_key().public_numbers()
        assert public.x % order == r
        nonces.append(nonce)
    assert len(set(nonces)) == len(nonces)
    for bit in range(512, 521):
        # 300 fair coins show fewer than 60 heads once in 10**27 times.
        assert 60 < sum(nonce >> bit & 1 for nonce in nonces) < 240


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_D13_two_forks_do_not_share_their_randomness() -> None:
    entropy.randomBytes(16)
    found = []
    for _ in range(2):
        readEnd, writeEnd = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writeEnd, entropy.randomBytes(16))
            os._exit(0)
        os.close(writeEnd)
        found.append(os.read(readEnd, 16))
        os.close(readEnd)
        os.waitpid(child, 0)
    assert len(found[0]) == len(found[1]) == 16
    assert found[0] != found[1]


# ── D14: a fault while signing ────────────────────────────────────────────────────────────────


class _FaultyKey:
    """An RSA key whose signatures have one wrong bit, as after a fault in one half of the CRT."""

    def __init__(self, real: rsa.RSAPrivateKey) -> None:
        self.real = real

    def public_key(self) -> rsa.RSAPublicKey:
        return self.real.public_key()

    def sign(self, *arguments: object) -> bytes:
        signature = bytearray(self.real.sign(*arguments))  # type: ignore[arg-type]
        signature[100] ^= 0x10
        return bytes(signature)


rsa.RSAPrivateKey.register(_FaultyKey)


def test_D14_a_wrong_rsa_signature_is_never_given_away() -> None:
    keyObject = makeKey("rsa", 2048)._keyObject
    assert isinstance(keyObject, rsa.RSAPrivateKey)
    key = Key(_FaultyKey(keyObject))  # type: ignore[arg-type]
    for name in (b"rsa-sha2-512", b"rsa-sha2-256", b"ssh-rsa"):
        with pytest.raises(RuntimeError, match="withheld"):
            key.sign(DATA, name)


# ── D15: security keys ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("signer", [makeKey(), makeKey("ecdsa", 256)], ids=repr)
def test_D15_flags(signer: Key) -> None:
    key = securityKey(signer)
    for flags in range(256):
        signature = securityKeySignature(signer, DATA, flags=flags)
        touched, verified = bool(flags & 1), bool(flags & 4)
        assert key.verify(signature, DATA) == touched
        assert key.verify(signature, DATA, requireUserVerification=True) == (touched and verified)
        assert key.verify(signature, DATA, requireUserPresence=False)


@pytest.mark.parametrize("signer", [makeKey(), makeKey("ecdsa", 256)], ids=repr)
def test_D15_flags_are_part_of_what_is_signed(signer: Key) -> None:
    signature = bytearray(securityKeySignature(signer, DATA, flags=0))
    signature[-5] = 1
    assert not securityKey(signer).verify(bytes(signature), DATA)


@pytest.mark.parametrize("signer", [makeKey(), makeKey("ecdsa", 256)], ids=repr)
def test_D15_an_application_that_is_not_ssh(signer: Key) -> None:
    for application in (b"", b"https://example.com", b"ssh"):
        with pytest.raises(BadKeyError):
            Key.fromString(securityKey(signer, application).blob())
    answer = securityKeySignature(signer, DATA, application=b"https://example.com")
    assert not securityKey(signer).verify(answer, DATA)


@pytest.mark.parametrize("signer", [makeKey(), makeKey("ecdsa", 256)], ids=repr)
def test_D15_trailing_bytes(signer: Key) -> None:
    key = securityKey(signer)
    for tail in (b"\x00", b"\x01\x00\x00\x00\x07", NS(b"{}")):
        assert not key.verify(securityKeySignature(signer, DATA, tail=tail), DATA)
    whole = securityKeySignature(signer, DATA)
    for length in range(len(whole)):
        assert not key.verify(whole[:length], DATA)
