"""The same known_hosts gives the same answer as `ssh-keygen -F`, over a corpus.

Compared are the lines that are about a host, with what they say of it (CA, REVOKED), for each of
the names below. Both ways: `ssh-keygen` also finds what Limpet writes.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from limpet.client.hostkeys import appendLines
from limpet.core.knownhosts import (
    KnownHost,
    Marker,
    hashName,
    lookupName,
    parseKnownHosts,
)
from limpet.crypto.key import Key
from tests.interop.peers import requirePeer

TIMEOUT_SECONDS = 20

KEYS = [Key.generate("ed25519").public(), Key.generate("ecdsa").public()]
TEXTS = [key.toString("OPENSSH").decode().strip() for key in KEYS]

HOSTS = (
    "a.example",
    "A.Example",
    "a.example,10.0.0.1",
    "b.example,b,192.0.2.*",
    "[c.example]:2222",
    "[c.example]:*",
    "*.wild.example",
    "*.wild.example,!no.wild.example",
    "!no.example,*.example",
    "!a.example",
    "?.example",
    "a.exampl?",
    "*",
    "*.*",
    "10.0.0.1",
    "[10.0.0.1]:2222",
    "::1",
    "[::1]:2222",
    "fe80::1%eth0",
    "xn--bcher-kva.example",
    "bücher.example",
    "@cert-authority *.ca.example",
    "@cert-authority *.ca.example,!x.ca.example",
    "@revoked a.example",
    "@revoked *",
    "a.example,,b.example",
    ",a.example",
    "**.example",
    "a*e",
    "[*.example]:2222",
)
"""The first fields of lines, with marker."""

NAMES = (
    "a.example",
    "A.EXAMPLE",
    "b.example",
    "b",
    "c.example",
    "[c.example]:2222",
    "[C.Example]:2222",
    "[c.example]:22",
    "[a.example]:2222",
    "x.wild.example",
    "no.wild.example",
    "no.example",
    "wild.example",
    "10.0.0.1",
    "192.0.2.77",
    "[10.0.0.1]:2222",
    "::1",
    "[::1]:2222",
    "fe80::1%eth0",
    "bücher.example",
    "x.ca.example",
    "y.ca.example",
    "ca.example",
    "localhost",
    "apple",
)

ODD_LINES = (
    "",
    "   ",
    "# a.example ssh-ed25519 AAAA",
    "#a.example {key}",
    "  a.example {key}",
    "\ta.example\t{key}",
    "a.example  {key}  comment with words",
    "a.example {key}\r",
    "a.example",
    "a.example ssh-ed25519",
    "a.example ssh-ed25519 !!!!",
    "a.example ssh-rsa {blob}",
    "@cert-authority {key}",
    "@cert-authority",
    "@revoked @revoked a.example {key}",
    "@cert-authority @revoked a.example {key}",
    "@other a.example {key}",
    "@cert-authority  a.example  {key}",
    "|1|AAAA|BBBB {key}",
    "|1|AAAA {key}",
    "|2|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= {key}",
    "a.example {key} # no comment",
)
"""Lines that are entries, or nearly so."""


KEY_NOT_READ = ("a.example ssh-ed25519 !!!!", "a.example ssh-rsa {blob}")
"""Lines that `ssh-keygen -F` finds without having read their keys, which `ssh` does not take."""


def lineOf(hosts: str) -> str:
    return f"{hosts} {TEXTS[0]} comment"


def askSshKeygen(path: Path, name: str) -> dict[int, str]:
    """{line: "", "CA" or "REVOKED"} that `ssh-keygen -F` finds."""
    done = subprocess.run(
        [requirePeer("ssh-keygen"), "-F", name, "-f", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_SECONDS,
    )
    found = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        said = re.fullmatch(r"# Host .* found: line (\d+) ?(\S*)", line)
        if said is not None:
            found[int(said[1])] = said[2]
    return found


WORDS = {Marker.HOST: "", Marker.AUTHORITY: "CA", Marker.REVOKED: "REVOKED"}


def askLimpet(path: Path, name: str) -> dict[int, str]:
    """The same of ours."""
    entries, _ = parseKnownHosts(path.read_bytes())
    wanted = lookupName(name)
    return {entry.line: WORDS[entry.marker] for entry in entries if entry.matchesHost(wanted)}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("known") / "known_hosts"
    path.write_text("".join(lineOf(hosts) + "\n" for hosts in HOSTS))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_the_same_lines_are_about_a_host(plain: Path, name: str) -> None:
    assert askLimpet(plain, name) == askSshKeygen(plain, name)


@pytest.mark.parametrize("hosts", HOSTS)
def test_a_line_alone_is_about_the_same_hosts(tmp_path: Path, hosts: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(lineOf(hosts) + "\n")
    for name in ("a.example", "[c.example]:2222", "x.wild.example", "y.ca.example"):
        assert askLimpet(path, name) == askSshKeygen(path, name), name


@pytest.mark.parametrize("line", ODD_LINES)
def test_odd_lines_are_taken_or_left_alike(tmp_path: Path, line: str) -> None:
    keyType, blob = TEXTS[0].split()[:2]
    path = tmp_path / "known_hosts"
    text = line.replace("{key}", f"{keyType} {blob}").replace("{blob}", blob)
    path.write_text(text + "\n" + lineOf("a.example") + "\n", newline="")
    theirs = askSshKeygen(path, "a.example")
    if line in KEY_NOT_READ:
        assert theirs.pop(1) == ""
    assert askLimpet(path, "a.example") == theirs


def test_the_corpus_is_large_enough() -> None:
    assert len(NAMES) + 4 * len(HOSTS) + len(ODD_LINES) >= 100


class TestHashedNames:
    @pytest.mark.parametrize("name", NAMES)
    def test_ours_are_found_by_ssh_keygen(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "known_hosts"
        key = KEYS[1]
        entry = KnownHost(Marker.HOST, hashName(lookupName(name)), key.sshType(), key.blob())
        appendLines(str(path), [entry.toLine()])
        # As `ssh` does, and `ssh-keygen` does not, names are taken in small letters before hashing.
        assert askSshKeygen(path, name.lower()) == {1: ""}

    def test_those_of_ssh_keygen_are_found_here(self, tmp_path: Path) -> None:
        path = tmp_path / "known_hosts"
        names = ("a.example", "[c.example]:2222", "10.0.0.1", "b,c.d")
        path.write_text("".join(lineOf(name) + "\n" for name in names))
        subprocess.run(
            [requirePeer("ssh-keygen"), "-H", "-f", str(path)],
            check=True,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert b"a.example" not in path.read_bytes()
        for name in ("a.example", "[c.example]:2222", "10.0.0.1", "b", "c.d", "other"):
            found = askLimpet(path, name)
            assert found == askSshKeygen(path, name)
            assert bool(found) == (name != "other")
