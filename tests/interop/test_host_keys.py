"""The same known_hosts lets `ssh` and Limpet into the same server, or keeps both out of it.

One sshd has host keys of three types, another also a certificate for one of them; that one is asked
where a line names an authority. (`ssh` would take the certificate anyway, and then not know the key
in it; Limpet asks for certificates only where somebody vouches for them.) Neither client may log
in: one that accepts the host key is told that permission is denied, one that does not never gets
there.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

import limpet.aio
from benchmarks.servers import Workplace, start
from limpet.aio import AuthenticationFailed, HostKeyRefused
from limpet.core.knownhosts import hashName, parseKnownHosts
from limpet.wire.fields import NS
from tests.interop.peers import requirePeer

TIMEOUT_SECONDS = 30

NAME = "host.test"


@dataclass
class Place:
    """The ports of the servers, and the keys by their names in known_hosts lines.

    Attributes:
        plain: An sshd.
        certified: An sshd with a certificate.
        ours: A `limpet serve`.
        keys: The keys of them all, and some of nobody.
    """

    plain: int
    certified: int
    ours: int
    keys: dict[str, str]

    def port(self, path: Path) -> int:
        return self.certified if "cert-authority" in path.read_text() else self.plain


@pytest.fixture(scope="module")
def place(work: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    requirePeer("sshd")
    keygen = requirePeer("ssh-keygen")
    directory = tmp_path_factory.mktemp("hostkeys")

    def make(name: str, *options: str) -> Path:
        path = directory / name
        command = [keygen, "-q", "-N", "", "-C", name, "-f", str(path), *options]
        subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS)
        return path

    def sign(key: Path, kept: str, *options: str) -> Path:
        command = [
            keygen,
            "-q",
            "-s",
            str(authority),
            "-I",
            "id",
            "-h",
            *options,
            str(key) + ".pub",
        ]
        subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS)
        return (directory / f"{key.name}-cert.pub").rename(directory / kept)

    authority = make("ca", "-t", "ed25519")
    ec = make("ec", "-t", "ecdsa")
    rsa = make("rsa", "-t", "rsa", "-b", "2048")
    certificate = sign(ec, "host-cert.pub", "-z", "5", "-n", f"{NAME},other.test")
    for name, options in {
        "other": ("-t", "ed25519"),
        "otherCA": ("-t", "ed25519"),
    }.items():
        make(name, *options)
    keys = {
        path.stem: " ".join(path.read_text().split()[:2])
        for path in directory.glob("*.pub")
        if "cert" not in path.name
    }
    keys["ed"] = " ".join(work.hostKey.with_suffix(".pub").read_text().split()[:2])
    blob = NS(b"sk-ssh-ed25519@openssh.com") + NS(bytes(31) + b"\1") + NS(b"ssh:")
    keys["odd"] = "sk-ssh-ed25519@openssh.com " + base64.b64encode(blob).decode()
    more = ["-o", f"HostKey={ec}", "-o", f"HostKey={rsa}"]
    with ExitStack() as stack:
        plain = start("openssh", work, more)
        stack.callback(plain.stop)
        certified = start("openssh", work, [*more, "-o", f"HostCertificate={certificate}"])
        stack.callback(certified.stop)
        ours = start("limpet", work, ["--host-key", str(ec), "--host-key", str(rsa)])
        stack.callback(ours.stop)
        yield Place(plain.port, certified.port, ours.port, keys)


HASHED = hashName(NAME.encode()).decode()

CASES = [
    ("", "yes"),
    ("", "no"),
    ("", "accept-new"),
    (f"{NAME} {{ed}}", "yes"),
    (f"{NAME} {{ec}}", "yes"),
    (f"{NAME} {{rsa}}", "yes"),
    (f"{HASHED} {{rsa}}", "yes"),
    (f"{NAME} {{ed}}\n{NAME} {{rsa}}\n{NAME} {{ec}}", "yes"),
    ("*.test {ed}", "yes"),
    (f"*.test,!{NAME} {{ed}}", "yes"),
    ("HOST.TEST {ed}", "yes"),
    (f"[{NAME}]:22 {{ed}}", "yes"),
    (f"{NAME} {{other}}", "yes"),
    (f"{NAME} {{other}}", "accept-new"),
    (f"{NAME} {{other}}\n{NAME} {{ed}}", "yes"),
    (f"garbage\n{NAME} {{ed}}", "yes"),
    (f"@other {NAME} {{ed}}", "yes"),
    (f"@revoked {NAME} {{ed}}\n{NAME} {{ed}}", "yes"),
    (f"@revoked * {{ed}}\n{NAME} {{ed}}", "accept-new"),
    (f"{NAME} {{odd}}", "accept-new"),
    (f"@revoked * {{other}}\n{NAME} {{ed}}", "yes"),
    (f"@revoked other.test {{ed}}\n{NAME} {{ed}}", "yes"),
    (f"@cert-authority {NAME} {{ca}}", "yes"),
    ("@cert-authority *.test {ca}", "yes"),
    (f"@cert-authority {HASHED} {{ca}}", "yes"),
    ("@cert-authority * {ca}\n@revoked * {ca}", "yes"),
    ("@cert-authority * {ca}\n@revoked * {ec}", "yes"),
    ("@cert-authority * {otherCA}", "yes"),
    (f"@cert-authority *.other {{ca}}\n{NAME} {{ec}}", "yes"),
    ("@cert-authority * {otherCA}\n@cert-authority * {ca}", "yes"),
    (f"{NAME} {{ca}}", "yes"),
]

STRICTER = [
    ("@cert-authority * {ca}\n@revoked * {ec}", "no", "a revoked key is refused however lax"),
    (f"{NAME} {{other}}", "no", "a changed key is refused however lax"),
    ("@revoked * {ed}\n" + f"{NAME} {{ed}}", "no", "a revoked key is refused however lax"),
    (f"@cert-authority * {{otherCA}}\n{NAME} {{ec}}", "yes", "no way back to the key (K1)"),
]
"""Where `ssh` accepts and Limpet refuses, and why."""


def askSsh(place: Place, path: Path, strict: str, **more: str) -> bool:
    """Whether `ssh` accepts the host key."""
    options = more | {
        "BatchMode": "yes",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": NAME,
        "PreferredAuthentications": "none",
        "StrictHostKeyChecking": strict,
        "UserKnownHostsFile": str(path),
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    command = [requirePeer("ssh"), "-F", "none", "-p", str(place.port(path)), *words]
    done = subprocess.run(
        [*command, "nobody@127.0.0.1", "true"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    accepted = "Permission denied" in done.stderr
    assert accepted != ("Host key verification failed" in done.stderr), done.stderr
    return accepted


def askLimpet(place: Place, path: Path, strict: str, **more: str) -> bool:
    """Whether Limpet does."""

    async def main() -> None:
        options = more | {
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": NAME,
            "StrictHostKeyChecking": strict,
        }
        async with limpet.aio.connect(
            "127.0.0.1",
            port=place.port(path),
            user="nobody",
            host_keys=path,
            options=options,
            config_files=(),
            only=True,
        ):
            raise AssertionError("logged in with nothing")

    try:
        asyncio.run(asyncio.wait_for(main(), TIMEOUT_SECONDS))
    except AuthenticationFailed:
        return True
    except HostKeyRefused:
        return False
    raise AssertionError


def write(directory: Path, place: Place, text: str) -> Path:
    path = directory / "known_hosts"
    path.write_text(text.format_map(place.keys) + "\n" if text else "")
    return path


@pytest.mark.parametrize(("text", "strict"), CASES)
def test_both_are_of_one_mind(place: Place, tmp_path: Path, text: str, strict: str) -> None:
    theirs = askSsh(place, write(tmp_path, place, text), strict)
    mine = askLimpet(place, write(tmp_path, place, text), strict)
    assert mine == theirs


@pytest.mark.parametrize(("text", "strict", "why"), STRICTER, ids=lambda value: value)
def test_where_limpet_is_stricter(
    place: Place, tmp_path: Path, text: str, strict: str, why: str
) -> None:
    assert askSsh(place, write(tmp_path, place, text), strict)
    assert not askLimpet(place, write(tmp_path, place, text), strict)


def test_what_one_remembers_the_other_knows(place: Place, tmp_path: Path) -> None:
    path = write(tmp_path, place, "")
    assert askLimpet(place, path, "accept-new")
    before = path.read_text()
    assert NAME in before
    assert askSsh(place, path, "yes")
    assert path.read_text() == before
    path.write_text("")
    assert askSsh(place, path, "accept-new")
    assert askLimpet(place, path, "yes")


AUTHORITY = f"@cert-authority {NAME} {{ca}}"

REVOKED = [
    # what the host is known by, what RevokedHostKeys names, and whether it is accepted
    (f"{NAME} {{ed}}", "lines", "", True),
    (f"{NAME} {{ed}}", "lines", "# a comment\n{other} comment\n", True),
    (f"{NAME} {{ed}}", "lines", "{other}\n\n  {ed}\n", False),
    (f"{NAME} {{ed}}", "lines", "{other}\nno key\n", False),
    (AUTHORITY, "lines", "{ca}", False),
    (AUTHORITY, "lines", "{ec}", False),
    (AUTHORITY, "lines", "{otherCA}", True),
    (f"{NAME} {{ed}}", "list", "key: {ed}", False),
    (f"{NAME} {{ed}}", "list", "sha1: {ed}", False),
    (f"{NAME} {{ed}}", "list", "sha256: {other}\nserial: 1-99", True),
    (AUTHORITY, "list", "serial: 4\nserial: 6-1000", True),
    (AUTHORITY, "list", "serial: 5", False),
    (AUTHORITY, "list", "serial: 1-99", False),
    (AUTHORITY, "list", "id: id", False),
    (AUTHORITY, "list", "sha256: {ca}", False),
    (AUTHORITY, "list", "key: {ec}", False),
    (AUTHORITY, "other list", "serial: 5", True),
    (AUTHORITY, "every list", "serial: 5", False),
    (f"{NAME} {{ed}}", "damaged list", "", False),
    (f"{NAME} {{ed}}", "no file", "", False),
]


@pytest.mark.parametrize(("known", "kind", "text", "accepted"), REVOKED)
def test_a_file_of_revoked_keys(
    place: Place, tmp_path: Path, known: str, kind: str, text: str, accepted: bool
) -> None:
    path = tmp_path / "revoked"
    filled = text.format_map(place.keys) + "\n"
    if kind == "lines":
        path.write_text(filled)
    elif kind == "damaged list":
        path.write_bytes(b"SSHKRL\n\0" + bytes(3))
    elif kind.endswith("list"):
        (tmp_path / "ca.pub").write_text(place.keys["otherCA" if kind == "other list" else "ca"])
        (tmp_path / "specification").write_text(filled)
        authority = "none" if kind == "every list" else str(tmp_path / "ca.pub")
        command = [requirePeer("ssh-keygen"), "-q", "-k", "-f", str(path), "-s", authority]
        subprocess.run(
            [*command, str(tmp_path / "specification")], check=True, timeout=TIMEOUT_SECONDS
        )
    file = write(tmp_path, place, known)
    assert askSsh(place, file, "yes", RevokedHostKeys=str(path)) is accepted
    assert askLimpet(place, file, "yes", RevokedHostKeys=str(path)) is accepted


class TestUpdateHostKeys:
    """A server tells its other keys, proves them, and both clients put the same ones down."""

    @pytest.mark.parametrize(
        ("server", "known", "hashed"),
        [
            ("plain", "ed", "no"),
            ("plain", "ed", "yes"),
            ("ours", "ed", "no"),
            # Then it signs by the algorithm of RSA that was negotiated.
            ("ours", "rsa", "no"),
        ],
    )
    def test_the_keys_are_those_that_ssh_learns(
        self, work: Workplace, place: Place, tmp_path: Path, server: str, known: str, hashed: str
    ) -> None:
        port: int = getattr(place, server)
        path = tmp_path / "known_hosts"
        options = {
            "GlobalKnownHostsFile": "/dev/null",
            "HashKnownHosts": hashed,
            "HostKeyAlias": NAME,
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "yes",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        path.write_text(f"{NAME} {place.keys[known]}\n")
        command = [requirePeer("ssh"), "-F", "none", "-p", str(port), *words]
        command += ["-i", str(work.clientKey), "-o", f"UserKnownHostsFile={path}"]
        subprocess.run(
            [*command, f"{work.user}@127.0.0.1", "sleep 0.3"],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
        )
        theirs = path.read_bytes()
        path.write_text(f"{NAME} {place.keys[known]}\n")

        async def main() -> None:
            async with limpet.aio.connect(
                "127.0.0.1",
                port=port,
                user=work.user,
                keys=[work.clientKey],
                host_keys=path,
                options=options,
                config_files=(),
                only=True,
            ) as client:
                while path.read_bytes().count(b"\n") < 3:
                    await client.run("true")

        asyncio.run(asyncio.wait_for(main(), TIMEOUT_SECONDS))
        mine = path.read_bytes()
        assert (NAME.encode() in mine.partition(b"\n")[2]) is (hashed == "no")
        assert keysOf(mine) == keysOf(theirs) == {place.keys[name] for name in ("ed", "ec", "rsa")}


def keysOf(data: bytes) -> set[str]:
    """The keys in a file, of the lines that are about the host."""
    entries, problems = parseKnownHosts(data)
    assert problems == []
    assert all(entry.matchesHost(NAME.encode()) for entry in entries)
    return {" ".join(entry.toLine().decode().split()[1:3]) for entry in entries}
