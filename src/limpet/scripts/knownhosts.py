"""`limpet keygen -F`, `-R` and `-H`: find, remove and hide hosts in a known_hosts file.

Rule: what ssh-keygen prints is printed in its form. A file is replaced whole, by one that was
written beside it, and what it was is kept as FILE.old; a line that cannot be read stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from limpet.core.knownhosts import (
    MAX_FILE_LENGTH,
    BadLine,
    KnownHost,
    Marker,
    hashName,
    lookupName,
    parseLine,
)
from limpet.crypto.errors import BadKeyError
from limpet.crypto.fingerprints import displayFingerprint
from limpet.crypto.key import Key
from limpet.scripts.mistakes import Mistake

NOT_FOUND_STATUS = 1
"""Exit status where `-F` finds nothing (ssh-keygen's)."""

_WORDS = {Marker.HOST: "", Marker.AUTHORITY: "CA", Marker.REVOKED: "REVOKED"}
_WILDCARDS = frozenset(b"*?!")


def findHost(host: str, filename: str | None, fingerprints: bool) -> None:
    """Print the lines about a host; exit with status 1 where there are none.

    Args:
        host: The name, [name]:port where the port is not 22.
        filename: The file, None for the user's.
        fingerprints: Whether to print fingerprints instead of the lines.
    """
    name = lookupName(host)
    found = False
    for entry, line in _entries(_fileOf(filename)):
        if entry is None or not entry.matchesHost(name):
            continue
        found = True
        # The space at the end is ssh-keygen's.
        click.echo(f"# Host {host} found: line {entry.line} {_WORDS[entry.marker]}")
        click.echo(_fingerprint(host, entry) if fingerprints else _shown(line))
    if not found:
        raise SystemExit(NOT_FOUND_STATUS)


def removeHost(host: str, filename: str | None) -> None:
    """Remove the keys of a host; what is said of authorities and revoked keys stays.

    Args:
        host: The name, [name]:port where the port is not 22.
        filename: The file, None for the user's.
    """
    path = _fileOf(filename)
    name = lookupName(host)
    kept: list[bytes] = []
    removed = False
    for entry, line in _entries(path):
        if entry is not None and entry.marker is Marker.HOST and entry.matchesHost(name):
            click.echo(f"# Host {host} found: line {entry.line}")
            removed = True
        else:
            kept.append(line)
    if not removed:
        click.echo(f"Host {host} not found in {path}", err=True)
        return
    _replace(path, b"".join(kept))


def hashHosts(filename: str | None) -> None:
    """Replace the names of hosts by hashes; patterns, and lines with markers, stay readable."""
    path = _fileOf(filename)
    lines: list[bytes] = []
    changed = False
    for entry, line in _entries(path):
        if entry is None or entry.marker is not Marker.HOST or entry.isHashed:
            lines.append(line)
        elif set(entry.hosts) & _WILDCARDS:
            click.echo(
                f"{path}:{entry.line}: a pattern cannot be hashed: {_shown(entry.hosts)}", err=True
            )
            lines.append(line)
        else:
            changed = True
            for name in filter(None, entry.hosts.split(b",")):
                lines.append(replace(entry, hosts=hashName(name)).toLine() + b"\n")
    if not changed:
        click.echo(f"{path}: there is nothing to hash")
        return
    _replace(path, b"".join(lines))
    click.echo(f"{path}.old still holds the names; remove it to hide them", err=True)


def listFingerprints(path: Path) -> bool:
    """Print the fingerprint of each key of a known_hosts file; whether there were any."""
    found = False
    for entry, _ in _entries(path):
        if entry is not None:
            found = True
            hosts = _shown(entry.comment or entry.hosts)
            click.echo(f"{_size(entry)} {displayFingerprint(entry.keyBlob)} {hosts} {_kind(entry)}")
    return found


def _fileOf(filename: str | None) -> Path:
    path = Path(filename) if filename else Path.home() / ".ssh" / "known_hosts"
    if not path.is_file():
        raise Mistake(f"{path}: there is no such file")
    return path


def _entries(path: Path) -> Iterator[tuple[KnownHost | None, bytes]]:
    """Each line, with its newline, and its entry if it is one."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_LENGTH + 1)
    except OSError as failure:
        raise Mistake(f"{path}: {failure.strerror}") from None
    if len(data) > MAX_FILE_LENGTH:
        raise Mistake(f"{path}: more than {MAX_FILE_LENGTH} bytes")
    for number, text in enumerate(data.split(b"\n"), 1):
        if not text and number > data.count(b"\n"):
            return
        try:
            entry = parseLine(text, number, str(path))
        except BadLine:
            entry = None
        yield entry, text + b"\n"


def _replace(path: Path, data: bytes) -> None:
    """Put `data` in the file's place, and keep what it was beside it."""
    # A link, such as one into a repository of dotfiles, stays one.
    real = Path(os.path.realpath(path))
    old = real.with_name(real.name + ".old")
    descriptor, new = tempfile.mkstemp(prefix=real.name + ".", dir=real.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            mode = real.stat().st_mode & 0o777
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        old.unlink(missing_ok=True)
        os.link(real, old)
        os.replace(new, real)
    except OSError as failure:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise Mistake(f"{path}: {failure.strerror}; it is as it was") from None
    click.echo(f"{path} updated.")
    click.echo(f"Original contents retained as {path}.old")


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace").rstrip("\n")
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)


def _fingerprint(host: str, entry: KnownHost) -> str:
    words = [host, _kind(entry)[1:-1], displayFingerprint(entry.keyBlob), _shown(entry.comment)]
    return " ".join(word for word in words if word)


def _kind(entry: KnownHost) -> str:
    name = entry.keyType.decode("ascii", "replace").partition("@")[0]
    kinds = {"ssh-rsa": "RSA", "ssh-ed25519": "ED25519", "ssh-dss": "DSA"}
    return f"({kinds.get(name) or ('ECDSA' if name.startswith('ecdsa-') else name)})"


def _size(entry: KnownHost) -> int:
    try:
        return Key.fromString(entry.keyBlob, "blob").size()
    except BadKeyError:
        return 0
