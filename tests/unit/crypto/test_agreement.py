"""Agreements by themselves: published vectors, both sides, and values that are not acceptable."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from limpet.crypto import agreement, entropy
from limpet.crypto.agreement import (
    ECDH,
    MLKEM768,
    X25519,
    AgreementError,
    DiffieHellman,
    encapsulate,
)
from limpet.crypto.groups import Group, knownGroup


def feedEntropy(monkeypatch: pytest.MonkeyPatch, *values: bytes) -> None:
    supply: Iterator[bytes] = iter(values)

    def randomBytes(count: int) -> bytes:
        value = next(supply)
        assert len(value) == count
        return value

    monkeypatch.setattr(entropy, "randomBytes", randomBytes)


class TestX25519:
    def test_theVectorOfRFC7748(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Section 6.1."""
        private = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
        public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
        peer = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
        secret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
        feedEntropy(monkeypatch, bytes.fromhex(private))
        pair = X25519()
        assert pair.publicValue.hex() == public
        assert pair.agree(bytes.fromhex(peer)).hex() == secret

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_wrongLengths(self, length: int) -> None:
        with pytest.raises(AgreementError, match=f"of {length} bytes"):
            X25519().agree(b"\x09" * length)

    def test_anAllZeroSecretIsRefusedWhoeverLetsItThrough(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Lenient:
            def exchange(self, peer: object) -> bytes:
                return bytes(32)

        pair = X25519()
        monkeypatch.setattr(pair, "_private", Lenient())
        with pytest.raises(AgreementError):
            pair.agree(X25519().publicValue)


@pytest.mark.parametrize(
    ("curve", "length"), [("nistp256", 65), ("nistp384", 97), ("nistp521", 133)]
)
class TestECDH:
    def test_bothSidesAgreeOnAWholeCoordinate(self, curve: str, length: int) -> None:
        ours, theirs = ECDH(curve), ECDH(curve)
        assert len(ours.publicValue) == length
        assert ours.publicValue[0] == 4
        secret = ours.agree(theirs.publicValue)
        assert secret == theirs.agree(ours.publicValue)
        assert len(secret) == length // 2

    def test_compressedPointsAreRefused(self, curve: str, length: int) -> None:
        key = ec.generate_private_key(agreement.CURVES[curve]).public_key()
        with pytest.raises(AgreementError):
            ECDH(curve).agree(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))

    @pytest.mark.parametrize("form", [0x00, 0x02, 0x03, 0x05, 0x06, 0x07])
    def test_otherFormsAreRefusedUnseenByTheLibrary(
        self, curve: str, length: int, form: int
    ) -> None:
        with pytest.raises(AgreementError, match="uncompressed form"):
            ECDH(curve).agree(bytes((form,)) + ECDH(curve).publicValue[1:])

    def test_pointsOffTheCurveAreRefused(self, curve: str, length: int) -> None:
        point = bytearray(ECDH(curve).publicValue)
        point[-1] ^= 1
        with pytest.raises(AgreementError):
            ECDH(curve).agree(bytes(point))

    def test_wrongLengths(self, curve: str, length: int) -> None:
        point = ECDH(curve).publicValue
        for wrong in (b"", b"\x04", point[:-1], point + b"\x00", b"\x00" + point):
            with pytest.raises(AgreementError):
                ECDH(curve).agree(wrong)


class TestDiffieHellman:
    @pytest.mark.parametrize("size", [1024, 2048, 4096])
    def test_bothSidesAgree(self, size: int) -> None:
        ours, theirs = DiffieHellman(knownGroup(size)), DiffieHellman(knownGroup(size))
        assert ours.agree(theirs.publicValue) == theirs.agree(ours.publicValue)
        assert ours.publicValue != theirs.publicValue

    def test_theLibraryAndPowAgree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        group = knownGroup(2048)
        fast = DiffieHellman(group)
        assert fast._private is not None
        monkeypatch.setattr(agreement, "_fastNumbers", None)
        plain = DiffieHellman(group)
        assert plain._private is None
        assert plain._exponent.bit_length() == 512
        assert fast.agree(plain.publicValue) == plain.agree(fast.publicValue)

    def test_anInjectedExponent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agreement, "_fastNumbers", None)
        group = knownGroup(2048)
        feedEntropy(monkeypatch, b"\x80" + bytes(62) + b"\x03")
        pair = DiffieHellman(group)
        assert pair.publicValue == pow(2, (1 << 511) + 3, group.prime)
        assert pair.agree(5**80) == pow(5**80, (1 << 511) + 3, group.prime)

    def test_smallUnknownGroupsAreLeftToPow(self) -> None:
        pair = DiffieHellman(Group(3, knownGroup(2048).prime))
        assert pair._private is None

    @pytest.mark.parametrize("fast", [True, False])
    def test_valuesOutsideTheRange(self, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if not fast:
            monkeypatch.setattr(agreement, "_fastNumbers", None)
        group = knownGroup(2048)
        pair = DiffieHellman(group)
        prime = group.prime
        for value in (-1, 0, 1, 2, 7, 1 << 2000, prime - 1, prime, prime + 1, prime * 3 + 5):
            with pytest.raises(AgreementError):
                pair.agree(value)
        assert pair.agree(15) > 1
        assert pair.agree(prime - 2) > 1

    def test_importingItWarnsOfNothing(self) -> None:
        """cryptography announces the end of its finite-field module; our users cannot help it."""
        program = (
            "from limpet.crypto.agreement import DiffieHellman\n"
            "from limpet.crypto.groups import knownGroup\n"
            "one, two = DiffieHellman(knownGroup(2048)), DiffieHellman(knownGroup(2048))\n"
            "one.agree(two.publicValue)\n"
        )
        command = [sys.executable, "-W", "error", "-c", program]
        source = agreement.__file__.rpartition("/limpet/")[0]
        done = subprocess.run(
            command, env={"PYTHONPATH": source}, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")


class TestMLKEM768:
    def test_bothSidesAgree(self) -> None:
        pair = MLKEM768()
        assert len(pair.publicValue) == 1184
        secret, ciphertext = encapsulate(pair.publicValue)
        assert (len(secret), len(ciphertext)) == (32, 1088)
        assert pair.decapsulate(ciphertext) == secret

    def test_theSeedMakesTheKey(self, monkeypatch: pytest.MonkeyPatch) -> None:
        feedEntropy(monkeypatch, b"s" * 64, b"s" * 64)
        assert MLKEM768().publicValue == MLKEM768().publicValue

    def test_aTamperedCiphertextGivesAnotherSecret(self) -> None:
        """Implicit rejection: no error tells the two apart."""
        pair = MLKEM768()
        secret, ciphertext = encapsulate(pair.publicValue)
        tampered = ciphertext[:-1] + bytes((ciphertext[-1] ^ 1,))
        other = pair.decapsulate(tampered)
        assert len(other) == 32
        assert other != secret

    @pytest.mark.parametrize("length", [0, 1087, 1089])
    def test_ciphertextsOfWrongLength(self, length: int) -> None:
        with pytest.raises(AgreementError):
            MLKEM768().decapsulate(bytes(length))

    @pytest.mark.parametrize("length", [0, 1183, 1185])
    def test_keysOfWrongLength(self, length: int) -> None:
        with pytest.raises(AgreementError, match=f"of {length} bytes"):
            encapsulate(bytes(length))

    def test_keysWithACoefficientThatIsNotReduced(self) -> None:
        """Coefficients are 12 bits each and below q = 3329 (FIPS 203 section 7.2)."""
        with pytest.raises(AgreementError):
            encapsulate(b"\xff\xff\xff" + MLKEM768().publicValue[3:])
