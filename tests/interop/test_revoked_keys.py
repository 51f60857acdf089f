"""`limpet serve` with revoked keys, and `ssh`: who has one gets in no more, from the next login on.

The same tests hold for sshd's RevokedKeys (`LIMPET_INTEROP_SERVER=openssh`).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.host import IS_LIMPET, Host, running
from tests.interop.peers import requirePeer


class Keys:
    """An authority, a user's plain key and certificates, and a server that obeys a list."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory

    @property
    def list(self) -> Path:
        return self.directory / "revoked"

    def letsIn(self, name: str) -> bool:
        done = self.host.ssh("true", key=self.directory / name)
        assert done.returncode in (0, 255), done.stderr
        return done.returncode == 0

    def revoke(self, text: str) -> None:
        """Make the list of a specification, in `ssh-keygen -k`'s language."""
        specification = self.directory / "specification"
        specification.write_text(text)
        keygen("-k", "-f", self.list, "-s", self.directory / "ca.pub", specification)


def keygen(*arguments: object) -> None:
    subprocess.run([requirePeer("ssh-keygen"), "-q", *map(str, arguments)], check=True, timeout=30)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    from benchmarks.servers import Workplace

    work = Workplace(tmp_path_factory.mktemp("revoked"))
    directory = work.directory
    for name in ("plain", "ca", "one", "two"):
        keygen("-t", "ed25519", "-N", "", "-C", name, "-f", directory / name)
    for serial, name in enumerate(("one", "two"), 1):
        public = directory / f"{name}.pub"
        keygen("-s", directory / "ca", "-I", name, "-n", work.user, "-z", serial, public)
    lines = [
        (directory / "plain.pub").read_text(),
        "cert-authority " + (directory / "ca.pub").read_text(),
    ]
    work.authorizedKeys.write_text("".join(lines))
    (directory / "revoked").write_text("")
    arguments: tuple[str, ...] = ("-o", f"RevokedKeys={directory / 'revoked'}")
    if IS_LIMPET:
        settings = directory / "limpet.toml"
        settings.write_text(f'revoked-keys = "{directory / "revoked"}"\n')
        arguments = ("--config", str(settings))
    with running(work, *arguments) as host:
        yield Keys(host, directory)


def everybody(keys: Keys) -> list[bool]:
    return [keys.letsIn(name) for name in ("plain", "one", "two")]


def test_an_empty_list_revokes_nothing(keys: Keys) -> None:
    keys.list.write_bytes(b"")
    assert everybody(keys) == [True, True, True]


def test_F3_a_line_revokes_its_key(keys: Keys) -> None:
    keys.list.write_bytes((keys.directory / "plain.pub").read_bytes())
    assert everybody(keys) == [False, True, True]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("serial: 2\n", [True, True, False]),
        ("id: one\n", [True, False, True]),
        ("key: {plain}\n", [False, True, True]),
        ("sha256: {ca}\n", [True, False, False]),
    ],
)
def test_F3_a_binary_list_revokes_what_it_says(keys: Keys, text: str, left: list[bool]) -> None:
    names = {name: (keys.directory / f"{name}.pub").read_text() for name in ("plain", "ca")}
    keys.revoke(text.format(**names))
    assert everybody(keys) == left


def test_F3_a_list_of_no_use_lets_nobody_in(keys: Keys) -> None:
    keys.list.write_bytes(b"SSHKRL\n\0 and then nothing")
    assert everybody(keys) == [False, False, False]
    keys.list.unlink()
    assert everybody(keys) == [False, False, False]
    if IS_LIMPET:
        assert "nobody is let in by a key: " in keys.host.logText()
    keys.list.write_bytes(b"")
    assert keys.letsIn("plain")
