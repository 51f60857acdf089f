"""`limpet.crypto.signatures`: making and verifying, algorithm by algorithm."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa

from limpet.crypto import signatures
from limpet.crypto.errors import BadKeyError, BadSignatureAlgorithmError
from limpet.crypto.key import Key
from limpet.crypto.signatures import (
    CERTIFICATE_ALGORITHMS,
    DEFAULT_SIGNATURE_ALGORITHMS,
    HOST_KEY_ALGORITHMS,
    SIGNATURE_ALGORITHMS,
    verifySignature,
)
from limpet.wire.fields import NS, Reader
from tests.keymaking import allKeys, makeCertificate, makeKey, securityKey, securityKeySignature

KEYS = allKeys()
DATA = b"what is signed"


@pytest.mark.parametrize("key", KEYS, ids=repr)
class TestEveryKind:
    def test_theNameInTheSignatureIsTheAlgorithm(self, key: Key) -> None:
        for name in key.supportedSignatureAlgorithms():
            reader = Reader(key.sign(DATA, name))
            assert reader.string() == name
            reader.string()
            reader.end()

    def test_aSignatureCountsForItsDataOnly(self, key: Key) -> None:
        for name in key.supportedSignatureAlgorithms():
            signature = key.sign(DATA, name)
            assert verifySignature(key.blob(), name, signature, DATA)
            assert key.public().verify(signature, DATA)
            assert not verifySignature(key.blob(), name, signature, DATA + b"x")
            assert not verifySignature(key.blob(), name, signature, b"")

    def test_aSignatureCountsForItsAlgorithmOnly(self, key: Key) -> None:
        name = key.supportedSignatureAlgorithms()[0]
        signature = key.sign(DATA, name)
        for other in SIGNATURE_ALGORITHMS:
            assert verifySignature(key.blob(), other, signature, DATA) == (other == name)

    def test_aSignatureCountsForItsKeyOnly(self, key: Key) -> None:
        kind, size = {
            "RSA": ("rsa", 2048),
            "EC": ("ecdsa", key.size()),
            "Ed25519": ("ed25519", None),
        }[key.type()]
        other = makeKey(kind, size, number=1)
        assert other != key
        assert not other.verify(key.sign(DATA), DATA)

    def test_anyChangedByteOfTheSignature(self, key: Key) -> None:
        name = key.supportedSignatureAlgorithms()[0]
        signature = key.sign(DATA, name)
        for at in range(len(signature)):
            changed = bytearray(signature)
            changed[at] ^= 0x01
            assert not verifySignature(key.blob(), name, bytes(changed), DATA), at

    def test_anySignatureThatIsCutOrContinued(self, key: Key) -> None:
        name = key.supportedSignatureAlgorithms()[0]
        signature = key.sign(DATA, name)
        for length in range(len(signature)):
            assert not verifySignature(key.blob(), name, signature[:length], DATA), length
        assert not verifySignature(key.blob(), name, signature + b"\x00", DATA)
        assert not verifySignature(key.blob(), name, signature + bytes(20_000), DATA)

    def test_anAlgorithmOfAnotherKeyCannotBeUsed(self, key: Key) -> None:
        for name, algorithm in SIGNATURE_ALGORITHMS.items():
            if algorithm.keyType != key.sshType():
                with pytest.raises(BadSignatureAlgorithmError):
                    key.sign(DATA, name)
        with pytest.raises(BadSignatureAlgorithmError):
            key.sign(DATA, b"nonsense")

    def test_aCertificateAlgorithmSignsAsItsKey(self, key: Key) -> None:
        for certificateName, name in CERTIFICATE_ALGORITHMS.items():
            if SIGNATURE_ALGORITHMS[name].keyType != key.sshType():
                continue
            blob = makeCertificate(key, KEYS[0])
            signature = key.sign(DATA, certificateName)
            assert Reader(signature).string() == name
            assert verifySignature(blob, certificateName, signature, DATA)
            assert not verifySignature(blob, certificateName, signature, DATA + b"x")
            # The blob has to be of the form that the algorithm says.
            with pytest.raises(BadKeyError):
                verifySignature(key.blob(), certificateName, signature, DATA)
            with pytest.raises(BadKeyError):
                verifySignature(blob, name, signature, DATA)


class TestRSA:
    def test_sha2UnlessAskedOtherwise(self) -> None:
        key = makeKey("rsa", 2048)
        assert Reader(key.sign(DATA)).string() == b"rsa-sha2-512"
        assert key.supportedSignatureAlgorithms() == [b"rsa-sha2-512", b"rsa-sha2-256"]

    @pytest.mark.parametrize(
        ("name", "digest"),
        [
            (b"rsa-sha2-512", hashes.SHA512()),
            (b"rsa-sha2-256", hashes.SHA256()),
            (b"ssh-rsa", hashes.SHA1()),
        ],
    )
    def test_theHashIsThatOfTheName(self, name: bytes, digest: hashes.HashAlgorithm) -> None:
        key = makeKey("rsa", 2048)
        reader = Reader(key.sign(DATA, name))
        reader.string()
        public = key.public()._keyObject
        assert isinstance(public, rsa.RSAPublicKey)
        # Raises InvalidSignature where the hash is another one.
        public.verify(reader.string(), DATA, padding.PKCS1v15(), digest)


@pytest.fixture(scope="module")
def key() -> Key:
    return Key(dsa.generate_private_key(1024))


class TestDSA:
    """Legacy: there for those who ask for it by name."""

    def test_byNameOnly(self, key: Key) -> None:
        signature = key.sign(DATA)
        assert Reader(signature).string() == b"ssh-dss"
        assert key.supportedSignatureAlgorithms() == [b"ssh-dss"]
        assert not key.verify(signature, DATA)
        assert key.verify(signature, DATA, b"ssh-dss")
        assert verifySignature(key.blob(), b"ssh-dss", signature, DATA)
        assert not verifySignature(key.blob(), b"ssh-dss", signature, DATA + b"x")

    def test_twoNumbersOfTwentyBytes(self, key: Key) -> None:
        reader = Reader(key.sign(DATA))
        reader.string()
        body = reader.string()
        assert len(body) == 40
        for wrong in (body[:-1], body + b"\x00", b"", bytes(40)):
            assert not verifySignature(key.blob(), b"ssh-dss", NS(b"ssh-dss") + NS(wrong), DATA)


@pytest.mark.parametrize("signer", [makeKey("ed25519"), makeKey("ecdsa", 256)], ids=repr)
class TestSecurityKeys:
    def test_aTouchedKey(self, signer: Key) -> None:
        key = securityKey(signer, b"ssh:work")
        signature = securityKeySignature(signer, DATA, application=b"ssh:work", flags=1)
        assert key.verify(signature, DATA)
        assert verifySignature(key.blob(), key.sshType(), signature, DATA)
        assert not key.verify(signature, DATA + b"x")
        assert key.supportedSignatureAlgorithms() == [key.sshType()]

    def test_theApplicationCounts(self, signer: Key) -> None:
        signature = securityKeySignature(signer, DATA, application=b"ssh:work")
        assert not securityKey(signer, b"ssh:home").verify(signature, DATA)

    def test_theCounterIsSigned(self, signer: Key) -> None:
        signature = securityKeySignature(signer, DATA, counter=1)
        assert securityKey(signer).verify(signature, DATA)
        assert not securityKey(signer).verify(signature[:-1] + b"\x02", DATA)

    def test_aPlainSignatureIsNoSignatureOfASecurityKey(self, signer: Key) -> None:
        key = securityKey(signer)
        assert not key.verify(signer.sign(DATA), DATA, key.sshType())
        assert not key.verify(signer.sign(DATA), DATA, signer.sshType())
        assert not key.verify(signer.sign(DATA), DATA)

    def test_theCallerSaysWhatIsRequired(self, signer: Key) -> None:
        key = securityKey(signer)
        untouched = securityKeySignature(signer, DATA, flags=0)
        verified = securityKeySignature(signer, DATA, flags=5)
        touched = securityKeySignature(signer, DATA, flags=1)
        assert not key.verify(untouched, DATA)
        assert key.verify(untouched, DATA, requireUserPresence=False)
        assert key.verify(verified, DATA, requireUserVerification=True)
        assert not key.verify(touched, DATA, requireUserVerification=True)
        assert verifySignature(
            key.blob(), key.sshType(), verified, DATA, requireUserVerification=True
        )
        assert not verifySignature(
            key.blob(), key.sshType(), touched, DATA, requireUserVerification=True
        )

    def test_itCannotSignHere(self, signer: Key) -> None:
        with pytest.raises(TypeError):
            securityKey(signer).sign(DATA)


class TestTables:
    def test_noSHA1ByDefault(self) -> None:
        assert b"ssh-rsa" not in DEFAULT_SIGNATURE_ALGORITHMS
        assert b"ssh-dss" not in DEFAULT_SIGNATURE_ALGORITHMS
        for name in DEFAULT_SIGNATURE_ALGORITHMS:
            assert not isinstance(SIGNATURE_ALGORITHMS[name].digest, hashes.SHA1)

    def test_noCertificatesWithSHA1(self) -> None:
        assert b"ssh-rsa-cert-v01@openssh.com" not in CERTIFICATE_ALGORITHMS
        assert set(CERTIFICATE_ALGORITHMS.values()) == set(DEFAULT_SIGNATURE_ALGORITHMS)

    def test_theNamesOfCertificateAlgorithms(self) -> None:
        assert CERTIFICATE_ALGORITHMS[b"ssh-ed25519-cert-v01@openssh.com"] == b"ssh-ed25519"
        assert CERTIFICATE_ALGORITHMS[b"rsa-sha2-256-cert-v01@openssh.com"] == b"rsa-sha2-256"
        assert (
            CERTIFICATE_ALGORITHMS[b"sk-ssh-ed25519-cert-v01@openssh.com"]
            == b"sk-ssh-ed25519@openssh.com"
        )

    def test_theBlobsOfHostKeyAlgorithms(self) -> None:
        assert HOST_KEY_ALGORITHMS[b"rsa-sha2-512"] == b"ssh-rsa"
        assert HOST_KEY_ALGORITHMS[b"ecdsa-sha2-nistp256"] == b"ecdsa-sha2-nistp256"
        assert (
            HOST_KEY_ALGORITHMS[b"rsa-sha2-512-cert-v01@openssh.com"]
            == b"ssh-rsa-cert-v01@openssh.com"
        )

    def test_nameOfSaysNothingAboutNonsense(self) -> None:
        assert signatures.nameOf(NS(b"ssh-ed25519") + NS(b"x")) == b"ssh-ed25519"
        assert signatures.nameOf(b"") == b""
        assert signatures.nameOf(b"\xff\xff\xff\xff") == b""
        assert signatures.nameOf(NS(b"n" * 65)) == b""
