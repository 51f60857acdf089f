"""A key revocation list of `ssh-keygen -k` revokes here what `ssh-keygen -Q` says that it does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from limpet.core.revokedkeys import parseRevokedKeys
from limpet.crypto.key import Key
from limpet.crypto.keyformats import publictext
from tests.interop.peers import requirePeer

TIMEOUT_SECONDS = 30

KEYS = ("ed25519", "ecdsa", "rsa", "other")
"""Plain keys that every case asks for."""

CERTIFICATES = (
    # name, authority, serial number, key id
    ("one", "ca", 1, "alice@one"),
    ("two", "ca", 2, "bob"),
    ("forty", "ca", 40, "carol"),
    ("huge", "ca", 2**64 - 1, "dave"),
    ("unnumbered", "ca", 0, "erin"),
    ("strangers", "ca2", 2, "bob"),
)

SPECIFICATIONS: dict[str, str] = {
    "nothing": "",
    "a serial": "serial: 2\n",
    "the largest serial": f"serial: {2**64 - 1}\n",
    "some serials": "serial: 1\nserial: 40\nserial: 1000\n",
    "a range": "serial: 2-40\n",
    "a range of all": f"serial: 1-{2**64 - 1}\n",
    "a range beside": "serial: 3-39\n",
    "two ranges": "serial: 1-2\nserial: 39-100\n",
    "overlapping ranges": "serial: 1-20\nserial: 10-40\n",
    "a bitmap": "".join(f"serial: {number}\n" for number in range(2, 300, 2)),
    "a bitmap of others": "".join(f"serial: {number}\n" for number in range(3, 300, 2)),
    "far apart": "serial: 2\nserial: 100000\nserial: 10000000000\n",
    "close and far": "".join(f"serial: {n}\n" for n in (1, 3, 5, 40, 41, 42, 5000, 2**63)),
    "an id": "id: bob\n",
    "two ids": "id: erin\nid: carol\n",
    "an id that begins alike": "id: alice\n",
    "ids and serials": "id: dave\nserial: 1\n",
    "sha1": "sha1: {ed25519}\n",
    "sha256": "sha256: {ecdsa}\n",
    "the hash as it is shown": "hash: {fingerprint}\n",
    "a key": "key: {rsa}\n",
    "keys": "key: {ed25519}\nkey: {ecdsa}\n",
    "the authority's key": "key: {ca}\n",
    "the other authority's hash": "sha256: {ca2}\n",
    "everything": "serial: 40\nid: bob\nkey: {rsa}\nsha1: {ecdsa}\nsha256: {other}\n",
}

REVOKES_NOTHING = ("nothing", "an id that begins alike", "a range beside", "a bitmap of others")


def run(*arguments: str | Path, expected: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
        text=True,
    )
    assert done.returncode in expected, done.stderr
    return done.stdout


class Pki:
    """Keys, authorities and certificates in a directory."""

    def __init__(self, directory: Path, keygen: str) -> None:
        self.directory = directory
        self.keygen = keygen
        self.texts: dict[str, str] = {}
        for name in (*KEYS, "ca", "ca2"):
            kind = name if name in ("ecdsa", "rsa") else "ed25519"
            run(keygen, "-q", "-t", kind, "-N", "", "-C", "", "-f", directory / name)
            self.texts[name] = (directory / f"{name}.pub").read_text().strip()
        for name, authority, serial, keyId in CERTIFICATES:
            public = directory / f"{name}.pub"
            run(keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name)
            run(
                *(keygen, "-q", "-s", directory / authority, "-I", keyId, "-n", "x"),
                *("-z", str(serial), public),
            )
        blob = Key.fromString(self.texts["ed25519"].encode()).blob()
        self.fingerprint = Key.fromString(blob, "blob").displayFingerprint()
        self.files = [directory / f"{name}.pub" for name in (*KEYS, "ca", "ca2")]
        self.files += [directory / f"{name}-cert.pub" for name, *_ in CERTIFICATES]

    def specify(self, text: str) -> Path:
        path = self.directory / "specification"
        path.write_text(text.format(**self.texts, fingerprint=self.fingerprint))
        return path

    def compare(self, path: Path) -> set[str]:
        """The names of what is revoked, which both have to agree about."""
        said = run(self.keygen, "-Q", "-f", path, *self.files, expected=(0, 1)).splitlines()
        assert len(said) == len(self.files)
        theirs = {
            file for file, line in zip(self.files, said, strict=True) if line.endswith("REVOKED")
        }
        found = parseRevokedKeys(path.read_bytes())
        blobs = {file: publictext.splitLine(file.read_bytes())[1] for file in self.files}
        assert {file for file, blob in blobs.items() if found.isRevoked(blob)} == theirs, said
        return {file.name.removesuffix(".pub") for file in theirs}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("krl"), requirePeer("ssh-keygen"))


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_both_say_the_same(pki: Pki, tmp_path: Path, name: str) -> None:
    krl = tmp_path / "krl"
    ca = pki.directory / "ca.pub"
    run(pki.keygen, "-q", "-k", "-f", krl, "-s", ca, pki.specify(SPECIFICATIONS[name]))
    assert pki.compare(krl) or name in REVOKES_NOTHING


def test_what_is_revoked_for_every_authority(pki: Pki, tmp_path: Path) -> None:
    krl = tmp_path / "krl"
    specification = pki.specify("id: bob\nserial: 40\n")
    run(pki.keygen, "-q", "-k", "-f", krl, "-s", "none", specification)
    assert pki.compare(krl) == {"two-cert", "strangers-cert", "forty-cert"}


def test_an_update_adds_to_a_list(pki: Pki, tmp_path: Path) -> None:
    krl = tmp_path / "krl"
    run(pki.keygen, "-q", "-k", "-f", krl, "-z", "7", pki.directory / "rsa.pub")
    run(pki.keygen, "-q", "-k", "-u", "-f", krl, "-z", "8", pki.directory / "two-cert.pub")
    assert pki.compare(krl) == {"rsa", "two-cert"}
