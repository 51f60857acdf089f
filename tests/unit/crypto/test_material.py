"""`limpet.crypto.material`: the checks that every key passes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from limpet.crypto import material
from limpet.crypto.errors import BadKeyError
from limpet.crypto.signatures import makeSignature
from tests.keymaking import makeKey

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Addition on edwards25519 (RFC 8032 section 5.1.4, affine)."""
    (x1, y1), (x2, y2) = a, b
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P
    return x, y


def _recoverX(y: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x * x % P == square else None


class TestEd25519:
    def test_theListOfSmallOrderPointsIsWhatTheCurveSays(self) -> None:
        for y in material._SMALL_ORDER_Y:
            x = _recoverX(y)
            assert x is not None
            point = (x, y)
            for _ in range(3):
                point = _add(point, point)
            assert point == (0, 1)
        # A group of eight points has five y-coordinates: 0, 1, -1 and those of order eight.
        assert len(material._SMALL_ORDER_Y) == 5

    @pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
    def test_otherLengthsAreRefused(self, length: int) -> None:
        with pytest.raises(BadKeyError):
            material.ed25519Public(b"\x09" * length)

    def test_aPrivateKeyHasToBelongToItsPublicHalf(self) -> None:
        seed = b"\x01" * 32
        public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
        point = material.ed25519Point(public)
        assert material.ed25519Seed(material.ed25519Private(point, seed)) == seed
        with pytest.raises(BadKeyError):
            material.ed25519Private(point, b"\x02" * 32)
        with pytest.raises(BadKeyError):
            material.ed25519Private(point, seed[:31])


class TestECDSA:
    @pytest.mark.parametrize("name", sorted(material.CURVES))
    def test_theOrderOfTheCurve(self, name: bytes) -> None:
        curve = material.CURVES[name]
        # order - 1 is the negative of the base point, which has the same x.
        base = ec.derive_private_key(1, curve.curve).public_key().public_numbers()
        last = ec.derive_private_key(curve.order - 1, curve.curve).public_key().public_numbers()
        assert base.x == last.x
        assert base.y != last.y
        assert curve.size == (curve.curve.key_size + 7) // 8

    @pytest.mark.parametrize("name", sorted(material.CURVES))
    def test_onlyTheUncompressedPointIsRead(self, name: bytes) -> None:
        curve = material.CURVES[name]
        public = ec.derive_private_key(5, curve.curve).public_key()
        point = material.ecPoint(public)
        assert material.ecPoint(material.ecPublic(name, point)) == point
        size = curve.size
        compressed = bytes((2 + point[-1] % 2,)) + point[1 : 1 + size]
        for other in (compressed, point[:-1], point + b"\x00", b"\x05" + point[1:], b"\x00", b""):
            with pytest.raises(BadKeyError):
                material.ecPublic(name, other)

    def test_aPointThatIsNotOnItsCurve(self) -> None:
        with pytest.raises(BadKeyError, match="not on its curve"):
            material.ecPublic(b"nistp256", b"\x04" + b"\x01" * 64)

    def test_aScalarOutsideItsRange(self) -> None:
        curve = material.CURVES[b"nistp256"]
        point = material.ecPoint(ec.derive_private_key(1, curve.curve).public_key())
        for scalar in (0, curve.order, curve.order + 1, 2**300):
            with pytest.raises(BadKeyError):
                material.ecPrivate(b"nistp256", point, scalar)
        assert material.ecPrivate(b"nistp256", point, 1).key_size == 256
        with pytest.raises(BadKeyError, match="does not belong"):
            material.ecPrivate(b"nistp256", point, 2)

    def test_aCurveThatSSHDoesNotHave(self) -> None:
        with pytest.raises(BadKeyError):
            material.curveOf(ec.generate_private_key(ec.SECP256K1()))


class TestRSA:
    def test_primesInEitherOrder(self) -> None:
        data = makeKey("rsa", 2048).data()
        n, e, d, p, q = (data[name] for name in ("n", "e", "d", "p", "q"))
        first = material.rsaPrivate(n, e, d, p, q).private_numbers()
        second = material.rsaPrivate(n, e, d, q, p).private_numbers()
        assert first == second
        assert first.p > first.q
        assert first.iqmp * first.q % first.p == 1

    def test_primesThatAreNone(self) -> None:
        data = makeKey("rsa", 2048).data()
        n, e, d, p, q = (data[name] for name in ("n", "e", "d", "p", "q"))
        for badP, badQ in ((1, n), (n, 1), (p + 2, q), (p, p), (0, 0)):
            with pytest.raises(BadKeyError):
                material.rsaPrivate(n, e, d, badP, badQ)
        for badD in (0, 1, n, d + 2):
            with pytest.raises(BadKeyError):
                material.rsaPrivate(n, e, badD, p, q)

    def test_anExponentThatBelongsToOnePrimeOnly(self) -> None:
        data = makeKey("rsa", 2048).data()
        n, e, d, p, q = (data[name] for name in ("n", "e", "d", "p", "q"))
        with pytest.raises(BadKeyError, match="does not belong"):
            material.rsaPrivate(n, e, pow(e, -1, p - 1), p, q)
        with pytest.raises(BadKeyError, match="does not belong"):
            material.rsaPrivate(n, e, pow(e, -1, q - 1), p, q)

    def test_D14_primesThatAreNoneNeverSign(self) -> None:
        """Nobody looks whether they are; what comes out of them is looked at."""
        one, other = (makeKey("rsa", 2048, number).data() for number in (0, 1))
        e = 65537
        p, q = one["p"] * one["q"], other["p"]
        private = material.rsaPrivate(p * q, e, pow(e, -1, (p - 1) * (q - 1)), p, q)
        with pytest.raises(RuntimeError, match="withheld"):
            makeSignature(private, b"rsa-sha2-512", b"data")

    def test_L6_hugePrimesAreNotTested(self) -> None:
        """Which would take two minutes: see attacks.md, Go's CVE with the same keys."""
        p, q = 2**9689 - 1, 2**4423 - 1
        private = material.rsaPrivate(p * q, 65537, pow(65537, -1, (p - 1) * (q - 1)), p, q)
        assert private.key_size == 14112

    def test_partsDoNotDependOnTheOrder(self) -> None:
        keyObject = makeKey("rsa", 2048)._keyObject
        assert isinstance(keyObject, rsa.RSAPrivateKey)
        parts = material.rsaParts(keyObject)
        assert parts.larger > parts.smaller
        assert parts.larger * parts.smaller == parts.n
        assert parts.smaller * parts.smallerInverse % parts.larger == 1


class TestAnyKey:
    def test_whatIsNoKeyIsATypeError(self) -> None:
        for other in (None, b"", object(), x25519.X25519PrivateKey.generate()):
            with pytest.raises(TypeError):
                material.checkKeyObject(other)  # type: ignore[arg-type]

    def test_aWeakKeyObjectIsRefused(self) -> None:
        with pytest.raises(BadKeyError, match="1024 bits; 2048"):
            material.checkKeyObject(rsa.generate_private_key(65537, 1024))

    def test_anApplicationThatIsNotForSSH(self) -> None:
        assert material.checkApplication(b"ssh:") == b"ssh:"
        assert material.checkApplication(b"ssh:work") == b"ssh:work"
        for other in (b"", b"ssh", b"https://example.com", b" ssh:", b"ssh:" + b"x" * 2000):
            with pytest.raises(BadKeyError):
                material.checkApplication(other)
