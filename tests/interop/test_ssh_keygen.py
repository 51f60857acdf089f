"""ssh-keygen: its keys load here, ours load there, and both read each other's signatures."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from limpet.crypto.certificates import Certificate, Grant
from limpet.crypto.errors import BadKeyError, CertificateRejected, EncryptedKeyError
from limpet.crypto.fingerprints import FingerprintFormats
from limpet.crypto.key import Key
from limpet.crypto.keyformats import certificateblob
from limpet.ssh.keys import createKeyFiles
from limpet.wire.fields import NS, Reader, u32
from tests.interop.peers import requirePeer
from tests.keymaking import KINDS, allKeys, makeKey, securityKey

TIMEOUT_SECONDS = 60

FILE_CIPHERS = (
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "3des-cbc",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
)


def keygen(*arguments: str | Path, check: bool = True, input: bytes = b"") -> bytes:
    """What ssh-keygen prints."""
    done = subprocess.run(
        [requirePeer("ssh-keygen"), *map(str, arguments)],
        input=input,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
    )
    if check and done.returncode:
        pytest.fail(f"ssh-keygen {arguments}: {done.stderr!r}")
    return done.stdout


def makeFile(directory: Path, kind: str, size: int | None, *more: str, secret: str = "") -> Path:
    """A new key of ssh-keygen."""
    path = directory / f"{kind}{size or ''}"
    bits = ["-b", str(size)] if size else []
    keygen("-q", "-t", kind, *bits, "-a", "1", "-N", secret, "-C", "me@here", "-f", path, *more)
    return path


@pytest.mark.parametrize(("kind", "size"), KINDS)
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
@pytest.mark.parametrize("secret", ["", "correct horse"])
def test_itsPrivateKeysLoad(
    tmp_path: Path, kind: str, size: int | None, form: str, secret: str
) -> None:
    path = makeFile(tmp_path, kind, size, "-m", form, secret=secret)
    key = Key.fromFile(path, passphrase=secret)
    assert key.public() == Key.fromFile(f"{path}.pub")
    assert key.verify(key.sign(b"x"), b"x")
    if secret:
        with pytest.raises(EncryptedKeyError):
            Key.fromFile(path)
        with pytest.raises(BadKeyError, match="passphrase is wrong"):
            Key.fromFile(path, passphrase="wrong")


@pytest.mark.parametrize("cipher", FILE_CIPHERS)
def test_itsPrivateKeysLoadInEveryCipher(tmp_path: Path, cipher: str) -> None:
    path = makeFile(tmp_path, "ed25519", None, "-Z", cipher, secret="correct horse")
    key = Key.fromFile(path, passphrase="correct horse")
    assert key.public() == Key.fromFile(f"{path}.pub")
    assert key.comment == b"me@here"
    with pytest.raises(BadKeyError, match="passphrase is wrong"):
        Key.fromFile(path, passphrase="wrong")


@pytest.mark.parametrize("key", allKeys(), ids=repr)
@pytest.mark.parametrize("secret", [None, "correct hörse"])
def test_ourPrivateKeysLoadThere(tmp_path: Path, key: Key, secret: str | None) -> None:
    subtypes = ["v1"] if key.type() == "Ed25519" else ["v1", "PEM", "PKCS8"]
    for subtype in subtypes:
        path = tmp_path / subtype
        createKeyFiles(key, path, comment="me@here", passphrase=secret, subtype=subtype)
        shown = keygen("-y", "-P", secret or "", "-f", path)
        assert Key.fromString(shown) == key.public()
        if subtype == "v1":
            assert shown.endswith(b" me@here\n")
            # ssh-keygen can change the passphrase, so the file is whole in its eyes.
            keygen("-p", "-P", secret or "", "-N", "another one", "-a", "1", "-f", path)
            assert Key.fromFile(path, passphrase="another one") == key


PUBLIC = [key.public() for key in allKeys()] + [
    securityKey(makeKey()),
    securityKey(makeKey("ecdsa", 256)),
]


@pytest.mark.parametrize("key", PUBLIC, ids=repr)
def test_fingerprintsAgree(tmp_path: Path, key: Key) -> None:
    path = tmp_path / "key.pub"
    path.write_bytes(key.toString("openssh", comment="me@here") + b"\n")
    size, shown, comment, _ = keygen("-l", "-f", path).decode().split()
    assert (int(size), shown, comment) == (key.size(), key.displayFingerprint(), "me@here")
    _, shown, *_ = keygen("-l", "-E", "md5", "-f", path).decode().split()
    assert shown == "MD5:" + key.fingerprint(FingerprintFormats.MD5_HEX)


@pytest.mark.parametrize("key", PUBLIC, ids=repr)
def test_publicFormsBothWays(tmp_path: Path, key: Key) -> None:
    forms = ["RFC4716"]
    if not key.isSecurityKey() and key.type() != "Ed25519":
        forms += ["PKCS8", "PEM"]
    path = tmp_path / "key.pub"
    path.write_bytes(key.toString("openssh", comment="me@here") + b"\n")
    for form in forms:
        assert Key.fromString(keygen("-e", "-m", form, "-f", path)) == key
        if form != "PEM":
            ours = tmp_path / form
            ours.write_bytes(key.toString("openssh", subtype=form, comment="me@here"))
            assert Key.fromString(keygen("-i", "-m", form, "-f", ours)) == key


# ── Signatures, in the envelope of PROTOCOL.sshsig ────────────────────────────────────────────

NAMESPACE = b"test"
MESSAGE = b"a message\n"


def signedData(hashName: bytes, message: bytes) -> bytes:
    digest = hashlib.new(hashName.decode(), message).digest()
    return b"SSHSIG" + NS(NAMESPACE) + NS(b"") + NS(hashName) + NS(digest)


@pytest.mark.parametrize(("kind", "size"), KINDS)
def test_itsSignaturesAreGoodHere(tmp_path: Path, kind: str, size: int | None) -> None:
    path = makeFile(tmp_path, kind, size)
    (tmp_path / "message").write_bytes(MESSAGE)
    keygen("-q", "-Y", "sign", "-n", NAMESPACE.decode(), "-f", path, tmp_path / "message")
    lines = (tmp_path / "message.sig").read_bytes().splitlines()
    reader = Reader(base64.b64decode(b"".join(lines[1:-1])))
    assert reader.take(6) == b"SSHSIG"
    assert reader.u32() == 1
    key = Key.fromString(reader.string(), "blob")
    assert (reader.string(), reader.string()) == (NAMESPACE, b"")
    hashName, signature = reader.string(), reader.string()
    assert key == Key.fromFile(f"{path}.pub")
    assert key.verify(signature, signedData(hashName, MESSAGE))
    assert not key.verify(signature, signedData(hashName, MESSAGE + b"x"))


@pytest.mark.parametrize("key", allKeys(), ids=repr)
def test_ourSignaturesAreGoodThere(tmp_path: Path, key: Key) -> None:
    for name in key.supportedSignatureAlgorithms():
        signature = key.sign(signedData(b"sha512", MESSAGE), name)
        envelope = b"SSHSIG" + u32(1) + NS(key.blob()) + NS(NAMESPACE) + NS(b"") + NS(b"sha512")
        text = base64.encodebytes(envelope + NS(signature))
        path = tmp_path / "message.sig"
        path.write_bytes(
            b"-----BEGIN SSH SIGNATURE-----\n" + text + b"-----END SSH SIGNATURE-----\n"
        )
        arguments = ("-Y", "check-novalidate", "-n", NAMESPACE.decode(), "-s", path)
        assert b"Good" in keygen(*arguments, input=MESSAGE)
        assert b"Good" not in keygen(*arguments, input=MESSAGE + b"x", check=False)


# ── Certificates ──────────────────────────────────────────────────────────────────────────────


def certify(tmp_path: Path, subject: Path, *arguments: str) -> tuple[Certificate, Key]:
    """A certificate for the key in `subject`, and the key of the authority that signed it."""
    authority = tmp_path / "authority"
    keygen("-q", "-s", authority, "-I", "the id", "-z", "7", *arguments, f"{subject}.pub")
    line = Path(f"{subject}-cert.pub").read_bytes()
    return Certificate.fromString(line), Key.fromFile(f"{authority}.pub")


@pytest.mark.parametrize(("kind", "size"), KINDS)
@pytest.mark.parametrize("authorityKind", ["ed25519", "ecdsa", "rsa"])
def test_itsCertificatesCount(
    tmp_path: Path, kind: str, size: int | None, authorityKind: str
) -> None:
    createKeyFiles(makeKey(authorityKind, {"rsa": 2048}.get(authorityKind)), tmp_path / "authority")
    subject = makeFile(tmp_path, kind, size)
    certificate, authority = certify(tmp_path, subject, "-n", "alice,bob", "-V", "-1h:+1h")
    assert certificate.key == Key.fromFile(f"{subject}.pub")
    assert certificate.authority == authority
    assert (certificate.keyId, certificate.serial) == (b"the id", 7)
    assert certificate.kind == certificateblob.USER
    grant = certificate.checkUser(
        authorities={authority.blob()}, principals=[b"bob"], now=time.time(), address=None
    )
    assert grant == Grant(
        principals=(b"bob",),
        permitPty=True,
        permitAgentForwarding=True,
        permitPortForwarding=True,
        permitX11Forwarding=True,
        permitUserRc=True,
    )
    for hours in (-2, 2):
        with pytest.raises(CertificateRejected, match="valid"):
            certificate.checkUser(
                authorities={authority.blob()},
                principals=[b"bob"],
                now=time.time() + hours * 3600,
                address=None,
            )


def test_itsOptions(tmp_path: Path) -> None:
    createKeyFiles(makeKey(), tmp_path / "authority")
    certificate, authority = certify(
        tmp_path,
        makeFile(tmp_path, "ed25519", None),
        *("-n", "alice", "-O", "clear", "-O", "permit-pty", "-O", "force-command=date -u"),
        *("-O", "source-address=192.0.2.0/24,2001:db8::/32", "-O", "verify-required"),
        *("-O", "no-touch-required", "-O", "extension:hello@example.com=world"),
    )

    def grantFrom(address: str) -> Grant:
        return certificate.checkUser(
            authorities={authority.blob()}, principals=[b"alice"], now=time.time(), address=address
        )

    assert grantFrom("192.0.2.99") == Grant(
        principals=(b"alice",),
        forcedCommand=b"date -u",
        requireUserPresence=False,
        requireUserVerification=True,
        permitPty=True,
    )
    with pytest.raises(CertificateRejected, match="address"):
        grantFrom("192.0.3.1")


def test_itsUnknownCriticalOptionsAreFatal(tmp_path: Path) -> None:
    createKeyFiles(makeKey(), tmp_path / "authority")
    certificate, authority = certify(
        tmp_path,
        makeFile(tmp_path, "ed25519", None),
        *("-n", "alice", "-O", "critical:hello@example.com=world"),
    )
    with pytest.raises(CertificateRejected, match="hello@example"):
        certificate.checkUser(
            authorities={authority.blob()}, principals=[b"alice"], now=time.time(), address=None
        )


def test_itsHostCertificates(tmp_path: Path) -> None:
    createKeyFiles(makeKey(), tmp_path / "authority")
    certificate, authority = certify(
        tmp_path, makeFile(tmp_path, "ed25519", None), "-h", "-n", "host.example,192.0.2.1"
    )
    assert certificate.kind == certificateblob.HOST
    for name in (b"host.example", b"HOST.example", b"192.0.2.1"):
        certificate.checkHost(authorities={authority.blob()}, hostName=name, now=time.time())
    with pytest.raises(CertificateRejected, match="somebody else"):
        certificate.checkHost(
            authorities={authority.blob()}, hostName=b"other.example", now=time.time()
        )


def test_itsCertificatesForNobody(tmp_path: Path) -> None:
    """Without -n, ssh-keygen makes one without principals, which we take for nobody's."""
    createKeyFiles(makeKey(), tmp_path / "authority")
    certificate, authority = certify(tmp_path, makeFile(tmp_path, "ed25519", None))
    assert certificate.principals == ()
    with pytest.raises(CertificateRejected, match="nobody"):
        certificate.checkUser(
            authorities={authority.blob()}, principals=[b"alice"], now=time.time(), address=None
        )
