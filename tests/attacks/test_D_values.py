"""Group D, rows 1 to 5: public values that are not what they should be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from limpet.core.errors import KeyExchangeFailed
from limpet.core.kex import KEX_METHODS, KexMethod
from limpet.crypto import agreement
from limpet.crypto.agreement import CURVES, ECDH, MLKEM768, X25519
from limpet.crypto.groups import knownGroup
from limpet.wire.errors import WireError
from limpet.wire.fields import MP, NS, Reader, u32
from tests.unit.core.kex.driver import HOST_KEY, Side, clientSide, pump, serverSide

P25519 = 2**255 - 19
ORDER_8 = [
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
]
LOW_ORDER = [
    *(number.to_bytes(32, "little") for number in (0, 1, P25519 - 1, P25519, P25519 + 1)),
    *(bytes.fromhex(point) for point in ORDER_8),
]
# The same with the top bit set, which X25519 masks off (RFC 7748 section 5).
LOW_ORDER += [point[:31] + bytes((point[31] | 0x80,)) for point in LOW_ORDER]


def serverRefuses(method: KexMethod, value: bytes) -> KeyExchangeFailed:
    server = serverSide(method)
    with pytest.raises(KeyExchangeFailed) as caught:
        server.receive(30, value)
    assert not server.sent
    assert server.result is None
    return caught.value


def clientRefuses(method: KexMethod, value: bytes) -> KeyExchangeFailed:
    client = clientSide(method)
    with pytest.raises(KeyExchangeFailed) as caught:
        client.receive(31, NS(HOST_KEY) + value + NS(b"signature"))
    assert client.result is None
    return caught.value


def bothRefuse(method: KexMethod, value: bytes) -> None:
    """DISCONNECT with reason 3, no traceback's chain, nothing sent and no result."""
    for error in (serverRefuses(method, value), clientRefuses(method, value)):
        assert error.reasonCode == 3
        assert error.__cause__ is None


class TestD1X25519:
    METHODS = (b"curve25519-sha256", b"curve25519-sha256@libssh.org")

    @pytest.mark.parametrize("name", METHODS, ids=bytes.decode)
    @pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
    def test_D1_points_of_low_order(self, name: bytes, point: bytes) -> None:
        bothRefuse(KEX_METHODS[name], NS(point))

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_D1_wrong_lengths(self, length: int) -> None:
        bothRefuse(KEX_METHODS[b"curve25519-sha256"], NS(b"\x09" * length))

    @pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
    def test_D1_low_order_in_the_hybrid(self, point: bytes) -> None:
        method = KEX_METHODS[b"mlkem768x25519-sha256"]
        kem = MLKEM768().publicValue
        assert serverRefuses(method, NS(kem + point)).reasonCode == 3
        _, ciphertext = agreement.encapsulate(kem)
        assert clientRefuses(method, NS(ciphertext + point)).reasonCode == 3

    def test_D1_the_explicit_check_holds_without_the_librarys(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class LenientLibrary:
            def exchange(self, peer: object) -> bytes:
                return bytes(32)

        class LenientPair(X25519):
            def __init__(self) -> None:
                super().__init__()
                self._private = LenientLibrary()  # type: ignore[assignment]

        with pytest.raises(agreement.AgreementError):
            LenientPair().agree(X25519().publicValue)


class TestD2InvalidPoints:
    CASES = [("nistp256", 32), ("nistp384", 48), ("nistp521", 66)]

    @pytest.mark.parametrize(("curve", "size"), CASES)
    def test_D2_whatever_is_not_an_uncompressed_point_of_this_curve(
        self, curve: str, size: int
    ) -> None:
        method = KEX_METHODS[f"ecdh-sha2-{curve}".encode()]
        point = ECDH(curve).publicValue
        other = ECDH("nistp384" if curve == "nistp256" else "nistp256").publicValue
        key = ec.generate_private_key(CURVES[curve]).public_key()
        compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        prime = {
            "nistp256": 2**256 - 2**224 + 2**192 + 2**96 - 1,
            "nistp384": 2**384 - 2**128 - 2**96 + 2**32 - 1,
            "nistp521": 2**521 - 1,
        }[curve]
        odd = point[-1] & 1
        wrong = {
            "off the curve": point[:-1] + bytes((point[-1] ^ 1,)),
            "swapped": b"\x04" + point[1 + size :] + point[1 : 1 + size],
            "infinity": b"\x00",
            "infinity, padded": b"\x00" * len(point),
            "origin": b"\x04" + bytes(2 * size),
            "hybrid form": bytes((0x06 | odd,)) + point[1:],
            "hybrid form, other parity": bytes((0x06 | (1 - odd),)) + point[1:],
            "compressed": compressed,
            "compressed, padded": compressed + bytes(len(point) - len(compressed)),
            "x = p": b"\x04" + prime.to_bytes(size, "big") + point[1 + size :],
            "x = 2^n - 1": b"\x04" + b"\xff" * size + point[1 + size :],
            "another curve's": other,
            "one byte less": point[:-1],
            "one byte more": point + b"\x00",
            "nothing": b"",
            "only the form": b"\x04",
        }
        for value in wrong.values():
            bothRefuse(method, NS(value))

    def test_D2_the_library_would_have_taken_compressed_points(self) -> None:
        """If this fails, the library has become stricter, and our check is a second one."""
        key = ec.generate_private_key(CURVES["nistp256"]).public_key()
        compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        assert ec.EllipticCurvePublicKey.from_encoded_point(CURVES["nistp256"], compressed) == key


class TestD3DiffieHellmanRange:
    METHODS = [
        (b"diffie-hellman-group14-sha256", 2048),
        (b"diffie-hellman-group16-sha512", 4096),
        (b"diffie-hellman-group18-sha512", 8192),
        (b"diffie-hellman-group1-sha1", 1024),
    ]

    @pytest.mark.parametrize(("name", "size"), METHODS, ids=lambda value: str(value))
    def test_D3_values_outside_the_range(self, name: bytes, size: int) -> None:
        prime = knownGroup(size).prime
        for value in (0, 1, 2, 3, 7, 1 << (size - 2), prime - 1, prime, prime + 1):
            bothRefuse(KEX_METHODS[name], MP(value))

    @pytest.mark.parametrize(("name", "size"), METHODS[:1], ids=lambda value: str(value))
    def test_D3_values_at_the_edge_of_it(self, name: bytes, size: int) -> None:
        for value in (15, knownGroup(size).prime - 2):
            server = serverSide(KEX_METHODS[name])
            server.receive(30, MP(value))
            assert server.result is not None

    @pytest.mark.parametrize(("name", "size"), METHODS, ids=lambda value: str(value))
    def test_D3_negative_and_oversize_values(self, name: bytes, size: int) -> None:
        for value in (
            NS(b"\xff"),
            NS(b"\x80" + bytes(size // 8 - 1)),
            MP(1 << (size + 8)),
            MP((1 << 16384) | 15),
        ):
            server = serverSide(KEX_METHODS[name])
            with pytest.raises(WireError):
                server.receive(30, value)
            assert not server.sent

    @pytest.mark.parametrize("value", [0, 1, 2, -1])
    def test_D3_in_a_group_exchange(self, value: int) -> None:
        method = KEX_METHODS[b"diffie-hellman-group-exchange-sha256"]
        prime = knownGroup(2048).prime
        server = serverSide(method)
        server.receive(34, u32(2048) + u32(2048) + u32(2048))
        with pytest.raises(KeyExchangeFailed):
            server.receive(32, MP(value % prime))
        client = clientSide(method)
        client.receive(31, MP(prime) + MP(2))
        with pytest.raises(KeyExchangeFailed):
            client.receive(33, NS(HOST_KEY) + MP(value % prime) + NS(b"signature"))


class TestD4Encodings:
    @pytest.mark.parametrize("zeros", [0, 1, 2, 5])
    @pytest.mark.parametrize("top", [0x01, 0x7F, 0x80, 0xFF])
    @pytest.mark.parametrize(
        "name",
        [b"curve25519-sha256", b"ecdh-sha2-nistp256", b"ecdh-sha2-nistp521"],
        ids=bytes.decode,
    )
    def test_D4_an_ECDH_secret_is_hashed_as_an_mpint(
        self, name: bytes, top: int, zeros: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Leading zeros go, and a high first bit gets one (RFC 8731 section 3.1)."""
        secret = bytes(zeros) + bytes((top,)) + b"\x5a" * (31 - zeros)
        for kind in (X25519, ECDH):
            monkeypatch.setattr(kind, "agree", lambda pair, peerValue: secret)
        encoded = NS((b"\x00" if top & 0x80 else b"") + secret.lstrip(b"\x00"))
        for side in self.exchange(KEX_METHODS[name]):
            assert side.result is not None
            assert side.result.sharedSecret == encoded

    @pytest.mark.parametrize("first", [0x00, 0x7F, 0x80])
    def test_D4_the_hybrid_secret_is_hashed_as_a_string_of_32_bytes(
        self, first: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever its first byte; draft-ietf-sshm-mlkem-hybrid-kex section 2.4."""
        method = KEX_METHODS[b"mlkem768x25519-sha256"]
        for _ in range(4000):
            client, server = self.exchange(method)
            assert client.result is not None
            assert client.result == server.result
            secret = client.result.sharedSecret
            assert secret[:4] == u32(32)
            assert len(secret) == 36
            if secret[4] in (first, first | 1):
                return
        pytest.fail(f"no secret began with {first:#x}")

    @pytest.mark.parametrize(
        "number",
        [b"\x00\x05", b"\x00\x00\x80", b"\x00", b"\xff", b"\x80\x00", b"\x7f" * 3000],
        ids=lambda number: number.hex()[:8],
    )
    def test_D4_numbers_that_are_not_minimal_negative_or_too_large(self, number: bytes) -> None:
        for name in (b"diffie-hellman-group14-sha256", b"diffie-hellman-group18-sha512"):
            with pytest.raises(WireError):
                serverSide(KEX_METHODS[name]).receive(30, NS(number))

    def exchange(self, method: KexMethod) -> tuple[Side, Side]:
        client, server = clientSide(method), serverSide(method)
        pump(client, server)
        return client, server


class TestD5PostQuantum:
    METHOD = KEX_METHODS[b"mlkem768x25519-sha256"]

    def hybrid(self, makeKem: Callable[[], bytes]) -> bytes:
        return NS(makeKem() + X25519().publicValue)

    @pytest.mark.parametrize("change", [-1216, -1184, -33, -32, -1, 1, 32])
    def test_D5_lengths(self, change: int) -> None:
        fit = MLKEM768().publicValue + X25519().publicValue
        value = fit[:change] if change < 0 else fit + bytes(change)
        assert serverRefuses(self.METHOD, NS(value)).reasonCode == 3
        _, ciphertext = agreement.encapsulate(MLKEM768().publicValue)
        fit = ciphertext + X25519().publicValue
        value = fit[:change] if change < 0 else fit + bytes(change)
        assert clientRefuses(self.METHOD, NS(value)).reasonCode == 3

    @pytest.mark.parametrize("place", [0, 1, 383, 767])
    @pytest.mark.parametrize("coefficient", [3329, 3330, 4095])
    def test_D5_coefficients_that_are_not_reduced(self, place: int, coefficient: int) -> None:
        """Two coefficients of 12 bits share three bytes (FIPS 203 algorithm 5)."""
        key = bytearray(MLKEM768().publicValue)
        at = place // 2 * 3
        pair = int.from_bytes(key[at : at + 3], "little")
        shift = 12 * (place % 2)
        pair = pair & ~(0xFFF << shift) | coefficient << shift
        key[at : at + 3] = pair.to_bytes(3, "little")
        value = NS(bytes(key) + X25519().publicValue)
        assert serverRefuses(self.METHOD, value).reasonCode == 3

    @pytest.mark.parametrize("bit", range(0, 1088 * 8, 1087))
    def test_D5_a_tampered_ciphertext_is_rejected_without_a_word(self, bit: int) -> None:
        """The client goes on, with another secret and hash: the host's signature does not fit."""
        client, server = clientSide(self.METHOD), serverSide(self.METHOD)
        server.receive(30, client.sent.popleft().payload)
        reader = Reader(server.sent.popleft().payload)
        hostKeyBlob, reply, signature = reader.string(), bytearray(reader.string()), reader.string()
        reply[bit // 8] ^= 1 << bit % 8
        client.receive(31, NS(hostKeyBlob) + NS(bytes(reply)) + NS(signature))
        assert client.result is not None
        assert server.result is not None
        assert client.result.sharedSecret != server.result.sharedSecret
        assert client.result.exchangeHash != server.result.exchangeHash
