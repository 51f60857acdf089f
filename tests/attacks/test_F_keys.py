"""Attacks on what reads keys, certificates and key files: rows F1, F2, F3 and F8."""

from __future__ import annotations

import base64
import os
import stat
import tracemalloc
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa

from limpet.crypto.certificates import Certificate
from limpet.crypto.errors import BadKeyError, CertificateRejected, EncryptedKeyError
from limpet.crypto.key import Key
from limpet.crypto.keyformats import armor, certificateblob, publicblob
from limpet.crypto.keyformats.opensshprivate import BEGIN, END, MAGIC, MAX_ROUNDS
from limpet.ssh.keys import createKeyFiles
from limpet.wire.fields import MP, NS, u32
from tests.keymaking import (
    FOR_EVER,
    NOW,
    allKeys,
    makeCertificate,
    makeKey,
    options,
    securityKey,
)

AUTHORITY = makeKey(number=100)
SUBJECT = makeKey()
DSA = Key(dsa.generate_private_key(1024))

PUBLIC_BLOBS = [
    key.blob()
    for key in [*allKeys(), DSA, securityKey(makeKey()), securityKey(makeKey("ecdsa", 256))]
]


def mustNotLoad(data: bytes, type: str | None = None, passphrase: bytes | None = None) -> None:
    """Nothing but the documented errors comes out of `data`."""
    with pytest.raises((BadKeyError, EncryptedKeyError)):
        Key.fromString(data, type, passphrase)


def mayLoad(data: bytes, type: str | None = None, passphrase: bytes | None = None) -> Key | None:
    """A key, or one of the documented errors."""
    try:
        return Key.fromString(data, type, passphrase)
    except (BadKeyError, EncryptedKeyError):
        return None


# ── F1: parsers ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("blob", PUBLIC_BLOBS, ids=len)
def test_F1_every_prefix_of_a_blob(blob: bytes) -> None:
    for length in range(len(blob)):
        mustNotLoad(blob[:length])


@pytest.mark.parametrize("blob", PUBLIC_BLOBS, ids=len)
def test_F1_every_flipped_bit_of_a_blob(blob: bytes) -> None:
    step = 1 if len(blob) < 150 else 5
    for bit in range(0, len(blob) * 8, step):
        changed = bytearray(blob)
        changed[bit // 8] ^= 1 << bit % 8
        key = mayLoad(bytes(changed), "blob")
        # What still loads is another key, and has one blob.
        assert key is None or key.blob() == changed


@pytest.mark.parametrize("blob", PUBLIC_BLOBS, ids=len)
def test_F1_type_and_fields_of_different_keys(blob: bytes) -> None:
    nameLength = int.from_bytes(blob[:4], "big")
    name, fields = blob[4 : 4 + nameLength], blob[4 + nameLength :]
    others = publicblob.KEY_TYPES | set(certificateblob.CERTIFICATE_TYPES) | {b"", b"ssh-foo"}
    for other in others - {name}:
        mustNotLoad(NS(other) + fields, "blob")


def test_F1_lengths_of_ed25519() -> None:
    for length in (0, 1, 31, 33, 64, 10_000):
        mustNotLoad(NS(b"ssh-ed25519") + NS(b"\x09" * length))


def test_F1_lengths_that_promise_more_than_there_is() -> None:
    for length in (2**31 - 1, 2**31, 2**32 - 1):
        tracemalloc.start()
        mustNotLoad(NS(b"ssh-ed25519") + u32(length) + bytes(32), "blob")
        mustNotLoad(u32(length) + b"ssh-ed25519", "blob")
        mustNotLoad(NS(b"ssh-rsa") + MP(3) + u32(length), "blob")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1_000_000


@pytest.mark.parametrize("key", [makeKey(), makeKey("ecdsa", 521)], ids=repr)
@pytest.mark.parametrize("subtype", ["v1", "PKCS8"])
def test_F1_private_files_cut_or_changed(key: Key, subtype: str) -> None:
    data = key.toString("openssh", subtype=subtype)
    for length in range(len(data) - 30):
        mustNotLoad(data[:length])
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x02
        found = mayLoad(bytes(changed))
        # PKCS#8 has only the seed of an Ed25519 key, so another seed is another key there.
        assert found is None or found == key or (subtype, key.type()) == ("PKCS8", "Ed25519")
    for at in range(0, len(data), 10):
        mayLoad(data[:at] + b"\xff\x00\xff" + data[at:])


@pytest.mark.parametrize("form", ["agentv3", "lsh"])
def test_F1_older_private_forms_cut_or_changed(form: str) -> None:
    data = makeKey("rsa", 2048).toString(form)
    for length in range(0, len(data), 3):
        mustNotLoad(data[:length])
    for at in range(0, 400, 9):
        changed = bytearray(data)
        changed[at] ^= 0x01
        mayLoad(bytes(changed))


def test_F1_private_blobs_cut_or_changed() -> None:
    for key in (makeKey(), makeKey("ecdsa", 256)):
        blob = key.privateBlob()
        for length in range(len(blob)):
            mustNotLoad(blob[:length], "private_blob")
        for at in range(len(blob)):
            changed = bytearray(blob)
            changed[at] ^= 0x01
            mustNotLoad(bytes(changed), "private_blob")


def test_F1_lines_cut_or_changed() -> None:
    line = makeKey().public().toString("openssh")
    for length in range(len(line)):
        mustNotLoad(line[:length], "public_openssh")
    for at in range(len(line)):
        for byte in (0x00, 0x0A, 0x20, 0x3D, 0xFF):
            changed = bytearray(line)
            changed[at] = byte
            mayLoad(bytes(changed), "public_openssh")


def test_F1_every_form_gets_every_other_form() -> None:
    key = makeKey("rsa", 2048)
    forms = {
        "public_openssh": key.public().toString("openssh"),
        "public_rfc4716": key.public().toString("openssh", subtype="RFC4716"),
        "public_pem": key.public().toString("openssh", subtype="PKCS8"),
        "private_openssh": key.toString("openssh"),
        "public_lsh": key.public().toString("lsh"),
        "private_lsh": key.toString("lsh"),
        "agentv3": key.toString("agentv3"),
        "blob": key.blob(),
        "private_blob": key.privateBlob(),
    }
    for name in forms:
        for other, data in forms.items():
            if name == other:
                assert Key.fromString(data, name).public() == key.public()
            else:
                mustNotLoad(data, name)


# ── F1 and F2: certificates ───────────────────────────────────────────────────────────────────

GOOD = makeCertificate(
    SUBJECT, AUTHORITY, criticalOptions={b"force-command": NS(b"x")}, extensions={b"a": b""}
)


def test_F1_every_prefix_and_flipped_bit_of_a_certificate() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(BadKeyError):
            Certificate(GOOD[:length])
    with pytest.raises(BadKeyError):
        Certificate(GOOD + b"\x00")
    for bit in range(len(GOOD) * 8):
        changed = bytearray(GOOD)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadKeyError):
            check(bytes(changed))


def test_F2_a_certificate_is_no_authority() -> None:
    inner = makeCertificate(makeKey(number=1), AUTHORITY)
    with pytest.raises(BadKeyError, match="signed by a certificate"):
        Certificate(makeCertificate(SUBJECT, makeKey(number=1), authorityBlob=inner))


def nested(depth: int) -> bytes:
    """Certificates in the place of the authority's key, `depth` of them, one in the other."""
    head = NS(b"ssh-ed25519-cert-v01@openssh.com") + NS(b"n") + NS(SUBJECT.data()["a"])
    head += bytes(8) + u32(1) + NS(b"") * 2 + bytes(16) + NS(b"") * 3
    tail = NS(b"")
    inner = AUTHORITY.blob()
    sizes = [len(inner) + number * (len(head) + 4 + len(tail)) for number in range(depth)]
    return b"".join([*(head + u32(size) for size in reversed(sizes)), inner, tail * depth])


@pytest.mark.parametrize("depth", [1, 2, 3, 100, 200, 1000, 10_000])
def test_F2_certificates_in_each_other(depth: int) -> None:
    blob = nested(depth)
    mustNotLoad(blob, "blob")
    if depth == 1:
        # This one is whole, only signed by nobody.
        assert Certificate(blob).authority == AUTHORITY.public()
        with pytest.raises(CertificateRejected):
            check(blob)
        return
    with pytest.raises(BadKeyError):
        Certificate(blob)
    with pytest.raises(BadKeyError):
        Certificate.fromString(b"ssh-ed25519-cert-v01@openssh.com " + base64.b64encode(blob))


def test_F2_a_certificate_is_no_plain_key() -> None:
    mustNotLoad(GOOD)
    mustNotLoad(b"ssh-ed25519-cert-v01@openssh.com " + base64.b64encode(GOOD))


def test_F2_more_principals_and_options_than_we_read() -> None:
    many = tuple(b"p%d" % number for number in range(257))
    with pytest.raises(BadKeyError):
        Certificate(makeCertificate(SUBJECT, AUTHORITY, principals=many))
    with pytest.raises(BadKeyError):
        Certificate(
            makeCertificate(
                SUBJECT, AUTHORITY, extensions={b"e%d" % number: b"" for number in range(65)}
            )
        )


def test_F2_options_that_come_twice_or_are_not_sorted() -> None:
    for packed in (
        options({b"a": b""}) * 2,
        options({b"b": b""}) + options({b"a": b""}),
        options({b"force-command": NS(b"a")}) + options({b"force-command": NS(b"b")}),
        b"\x00",
        NS(b"force-command"),
    ):
        for place in ("criticalOptions", "extensions"):
            with pytest.raises(BadKeyError):
                Certificate(makeCertificate(SUBJECT, AUTHORITY, **{place: packed}))  # type: ignore[arg-type]


# ── F3: policy ────────────────────────────────────────────────────────────────────────────────


def check(
    blob: bytes,
    *,
    principals: tuple[bytes, ...] = (b"alice",),
    address: str | None = "192.0.2.7",
    authorities: tuple[bytes, ...] = (AUTHORITY.blob(),),
    revoked: tuple[bytes, ...] = (),
    now: float = NOW,
) -> None:
    Certificate(blob).checkUser(
        authorities=authorities, principals=principals, now=now, address=address, revoked=revoked
    )


def test_F3_the_good_case() -> None:
    check(GOOD)
    check(makeCertificate(SUBJECT, AUTHORITY))


@pytest.mark.parametrize(
    ("after", "before"),
    [
        (0, NOW),
        (NOW + 1, FOR_EVER),
        (NOW + 1, NOW),
        (FOR_EVER, FOR_EVER),
        (0, 0),
        (NOW, NOW),
    ],
)
def test_F3_expired_future_or_never_valid(after: int, before: int) -> None:
    with pytest.raises(CertificateRejected, match="valid"):
        check(makeCertificate(SUBJECT, AUTHORITY, validAfter=after, validBefore=before))


def test_F3_host_and_user_are_different() -> None:
    host = makeCertificate(SUBJECT, AUTHORITY, kind=certificateblob.HOST)
    with pytest.raises(CertificateRejected, match="host certificate"):
        check(host)
    with pytest.raises(CertificateRejected, match="user certificate"):
        Certificate(GOOD).checkHost(
            authorities={AUTHORITY.blob()}, hostName=b"alice", now=NOW, revoked=()
        )
    for kind in (0, 3, 2**32 - 1):
        with pytest.raises(BadKeyError):
            Certificate(makeCertificate(SUBJECT, AUTHORITY, kind=kind))


@pytest.mark.parametrize(
    "name", [b"", b"unknown", b"Force-Command", b"force-command@openssh.com", b"permit-pty"]
)
def test_F3_unknown_critical_options(name: bytes) -> None:
    blob = makeCertificate(SUBJECT, AUTHORITY, criticalOptions={name: NS(b"x")})
    with pytest.raises(CertificateRejected, match="do not understand"):
        check(blob)


@pytest.mark.parametrize(
    "principals",
    [
        (),
        (b"",),
        (b"alice,bob",),
        (b"bob,alice",),
        (b"*",),
        (b"a*",),
        (b"alic?",),
        (b"!bob", b"alice"),
        (b"alice", b""),
        (b"alice", b"x,y"),
        (b"alice ",),
        (b"alice\x00",),
        (b"alice\n",),
    ],
)
def test_F3_principals_that_are_none_lists_or_patterns(principals: tuple[bytes, ...]) -> None:
    blob = makeCertificate(SUBJECT, AUTHORITY, principals=principals)
    for wanted in ((b"alice",), (b"bob",), (b"",), (b"*",), (), *((name,) for name in principals)):
        with pytest.raises(CertificateRejected):
            check(blob, principals=wanted)


def test_F3_no_name_that_we_look_for() -> None:
    with pytest.raises(CertificateRejected):
        check(GOOD, principals=())


@pytest.mark.parametrize(
    "value",
    [
        b"",
        NS(b""),
        NS(b","),
        NS(b"192.0.2.7,"),
        NS(b"192.0.2.0/33"),
        NS(b"host.example"),
        NS(b"*"),
        NS(b"!192.0.2.9,192.0.2.7"),
        NS(b"192.0.2.7") + b"\x00",
        b"192.0.2.7",
        NS(b"\xff"),
        NS(b",".join([b"192.0.2.7"] * 1000)),
        NS(b"198.51.100.0/24"),
        NS(b"::/0"),
    ],
)
def test_F3_source_address_that_is_empty_damaged_or_another(value: bytes) -> None:
    blob = makeCertificate(SUBJECT, AUTHORITY, criticalOptions={b"source-address": value})
    with pytest.raises(CertificateRejected, match="address"):
        check(blob)


def test_F3_an_address_that_we_do_not_know() -> None:
    blob = makeCertificate(
        SUBJECT, AUTHORITY, criticalOptions={b"source-address": NS(b"0.0.0.0/0")}
    )
    check(blob)
    for address in (None, "", "unix", "192.0.2", "2001:db8::1"):
        with pytest.raises(CertificateRejected, match="address"):
            check(blob, address=address)


@pytest.mark.parametrize("value", [b"", NS(b""), b"date", NS(b"date") + b"x"])
def test_F3_force_command_that_is_empty_or_damaged(value: bytes) -> None:
    blob = makeCertificate(SUBJECT, AUTHORITY, criticalOptions={b"force-command": value})
    with pytest.raises(CertificateRejected, match="force-command"):
        check(blob)


def test_F3_revoked_authorities_and_keys() -> None:
    for revoked in (AUTHORITY.blob(), SUBJECT.blob()):
        with pytest.raises(CertificateRejected, match="revoked"):
            check(GOOD, revoked=(revoked,))
    check(GOOD, revoked=(makeKey(number=55).blob(),))


def test_F3_authorities_that_are_none_here() -> None:
    for authorities in ((), (makeKey(number=55).blob(),), (SUBJECT.blob(),)):
        with pytest.raises(CertificateRejected, match="nobody who may sign"):
            check(GOOD, authorities=authorities)
    # A key that vouches for itself is no authority either.
    with pytest.raises(CertificateRejected, match="nobody who may sign"):
        check(makeCertificate(SUBJECT, SUBJECT))


def test_F3_a_signature_of_somebody_else() -> None:
    forged = makeCertificate(SUBJECT, makeKey(number=55), authorityBlob=AUTHORITY.blob())
    with pytest.raises(CertificateRejected, match="signature"):
        check(forged)


# ── F8: private key files ─────────────────────────────────────────────────────────────────────


def keyFile(
    kdfOptions: bytes, *, cipher: bytes = b"aes256-ctr", sealed: bytes = bytes(160)
) -> bytes:
    body = MAGIC + NS(cipher) + NS(b"bcrypt") + NS(kdfOptions) + u32(1)
    return armor.wrap(body + NS(makeKey().blob()) + NS(sealed), BEGIN, END)


@pytest.fixture
def noDerivation(monkeypatch: pytest.MonkeyPatch) -> None:
    def kdf(*arguments: object, **more: object) -> bytes:
        pytest.fail("a key was derived from the passphrase")

    monkeypatch.setattr(bcrypt, "kdf", kdf)


@pytest.mark.usefixtures("noDerivation")
@pytest.mark.parametrize("rounds", [0, MAX_ROUNDS + 1, 2**31, 2**32 - 1])
def test_F8_rounds_are_bounded_before_they_are_done(rounds: int) -> None:
    mustNotLoad(keyFile(NS(b"0123456789abcdef") + u32(rounds)), passphrase=b"x")


@pytest.mark.usefixtures("noDerivation")
@pytest.mark.parametrize(
    "kdfOptions",
    [
        b"",
        NS(b"") + u32(16),
        NS(b"x" * 65) + u32(16),
        NS(b"salt"),
        NS(b"salt") + u32(16) + b"\x00",
        b"\xff\xff\xff\xff",
    ],
)
def test_F8_salts(kdfOptions: bytes) -> None:
    mustNotLoad(keyFile(kdfOptions), passphrase=b"x")


def test_F8_rubbish_that_decrypts_to_rubbish() -> None:
    for cipher in (b"aes256-ctr", b"aes256-cbc", b"3des-cbc"):
        with pytest.raises(BadKeyError, match="damaged or the passphrase is wrong"):
            Key.fromString(keyFile(NS(b"salt") + u32(1), cipher=cipher), passphrase=b"secret")
    for sealed in (b"", bytes(159)):
        mustNotLoad(keyFile(NS(b"salt") + u32(1), sealed=sealed), passphrase=b"secret")
    for cipher in (b"aes256-gcm@openssh.com", b"chacha20-poly1305@openssh.com"):
        mustNotLoad(keyFile(NS(b"salt") + u32(1), cipher=cipher), passphrase=b"secret")


def encryptedPKCS8(function: bytes, parameters: bytes) -> bytes:
    """An encrypted PKCS#8 file that asks for a key derivation; nothing real is in it."""

    def der(tag: int, *parts: bytes) -> bytes:
        body = b"".join(parts)
        if len(body) < 128:
            return bytes((tag, len(body))) + body
        return bytes((tag, 0x82)) + len(body).to_bytes(2, "big") + body

    kdf = der(0x30, der(0x06, function), der(0x30, der(0x04, b"saltsalt"), parameters))
    cipher = der(0x30, der(0x06, bytes.fromhex("60864801650304012a")), der(0x04, bytes(16)))
    pbes2 = der(0x06, bytes.fromhex("2a864886f70d01050d"))
    info = der(0x30, der(0x30, pbes2, der(0x30, kdf, cipher)), der(0x04, bytes(64)))
    return armor.wrap(
        info,
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
        b"-----END ENCRYPTED PRIVATE KEY-----",
    )


PBKDF2 = bytes.fromhex("2a864886f70d01050c")
SCRYPT = bytes.fromhex("2b06010401da47040b")


@pytest.mark.parametrize(
    ("function", "parameters", "tooMuch"),
    [
        (PBKDF2, "02020800", False),
        (PBKDF2, "02047fffffff", True),
        (PBKDF2, "020500ffffffff020120", True),
        (SCRYPT, "02024000020108020101", False),
        (SCRYPT, "0204010000000201080201010201" + "20", True),
        (SCRYPT, "02024000020300ffff020101", True),
        (SCRYPT, "02024000020108020300ffff", True),
    ],
)
def test_F8_iterations_of_pkcs8_are_bounded_before_they_are_done(
    function: bytes, parameters: str, tooMuch: bool
) -> None:
    with pytest.raises(BadKeyError) as caught:
        Key.fromString(encryptedPKCS8(function, bytes.fromhex(parameters)), passphrase=b"x")
    assert ("more work" in str(caught.value)) == tooMuch


def test_F8_an_rsa_key_of_seventeen_kibibytes() -> None:
    number = NS(b"\x00" + b"\xff" * (17 * 1024))
    fields = NS(b"ssh-rsa") + number + MP(65537) + number * 4
    part = b"chekchek" + fields + NS(b"")
    part += bytes(range(1, -len(part) % 8 + 1))
    body = MAGIC + NS(b"none") * 2 + NS(b"") + u32(1) + NS(fields[:20]) + NS(part)
    mustNotLoad(armor.wrap(body, BEGIN, END))
    mustNotLoad(fields, "private_blob")


def test_F8_primes_that_are_not_those_of_the_modulus() -> None:
    data = makeKey("rsa", 2048).data()
    other = makeKey("rsa", 2048, number=1).data()
    n, e, d, p, q = (data[name] for name in "nedpq")
    for badD, badP, badQ in (
        (d, other["p"], other["q"]),
        (d, 1, n),
        (d, n, 1),
        (d, p * q, 1),
        (d, 3, n // 3),
        (d + 2, p, q),
        (1, p, q),
        (other["d"], p, q),
    ):
        blob = NS(b"ssh-rsa") + b"".join(map(MP, (n, e, badD, 1, badP, badQ)))
        mustNotLoad(blob, "private_blob")


def test_F8_a_file_without_end() -> None:
    tracemalloc.start()
    with pytest.raises(BadKeyError):
        Key.fromFile("/dev/zero")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_F8_no_error_holds_a_secret() -> None:
    key = makeKey("ecdsa", 256)
    secret = key.data()["privateValue"]
    shown = {str(secret), f"{secret:x}", f"{secret:X}", "correct horse"}
    for data in (
        key.privateBlob()[:-1],
        key.privateBlob()[:-32] + MP(secret ^ 1)[-32:],
        key.toString("openssh")[:-40],
        key.toString("openssh", passphrase="correct horse"),
        key.toString("openssh", subtype="PKCS8", passphrase="correct horse"),
    ):
        for type in (None, "private_blob", "private_openssh"):
            for passphrase in (None, "correct horse "):
                with pytest.raises((BadKeyError, EncryptedKeyError)) as caught:
                    Key.fromString(data, type, passphrase)
                text = repr(caught.value) + repr(caught.value.__cause__)
                assert not any(part in text for part in shown)
                for line in data.splitlines():
                    assert len(line) < 20 or repr(line)[2:-1] not in text
    assert not any(part in repr(key) + str(key) for part in shown)


def test_F8_files_are_made_private_and_never_over_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "id").symlink_to(target)
    with pytest.raises(FileExistsError):
        createKeyFiles(makeKey(), tmp_path / "id")
    assert not target.exists()


def test_F8_the_file_is_private_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    realOpen = os.open

    def spy(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        descriptor = realOpen(path, flags, mode, **more)
        if str(path).startswith(str(tmp_path)):
            seen.append((flags, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    before = os.umask(0)
    try:
        monkeypatch.setattr(os, "open", spy)
        createKeyFiles(makeKey(), tmp_path / "id")
    finally:
        os.umask(before)
    assert [mode for _, mode in seen] == [0o600, 0o644]
    assert all(flags & os.O_EXCL and flags & os.O_CREAT for flags, _ in seen)
