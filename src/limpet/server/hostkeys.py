"""The server's host keys: loading those that are named, making one where none is.

Rule: a private key that others can read is not used, and one of our own is there completely or not
at all: it is written beside its place and linked into it, which fails where there is one already.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from limpet.crypto.entropy import randomBytes
from limpet.crypto.weakness import weaknessOf
from limpet.ssh.keys import BadKeyError, EncryptedKeyError, Key

HOST_KEY_NAME = "host_ed25519_key"

MAX_KEY_FILE = 1024 * 1024
"""Largest file of a private key, in bytes (attack table F8)."""

LOOSE_BITS = 0o077
"""Mode bits that a private key's file may not have (what OpenSSH asks)."""


ROOT = 0
"""The user id whose files everybody has to trust."""


class HostKeyError(Exception):
    """A host key that cannot be used; the text names its file and says what to do."""


def stateDirectory(environment: Mapping[str, str] | None = None) -> Path:
    """Where this user's programs keep what they have to remember (XDG base directories).

    Args:
        environment: What to look in; None for the process's own.
    """
    variables = os.environ if environment is None else environment
    base = variables.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "limpet"
    return Path(variables.get("HOME") or _homeOfOurs()) / ".local/state/limpet"


def _homeOfOurs() -> str:
    """The home directory by the password database: systemd gives its services no HOME."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


def loadHostKeys(paths: Iterable[str | os.PathLike[str]]) -> dict[bytes, Key]:
    """Load the private keys in `paths`.

    Returns:
        Key type to key, in the order of `paths`.

    Raises:
        HostKeyError: One cannot be used, or two are of one type.
    """
    keys: dict[bytes, Key] = {}
    for path in paths:
        key = loadHostKey(path)
        if key.sshType() in keys:
            kind = key.sshType().decode("ascii")
            raise HostKeyError(
                f"{path}: there is another host key of type {kind}; name one of each"
            )
        keys[key.sshType()] = key
    return keys


def loadHostKey(path: str | os.PathLike[str]) -> Key:
    """Load the private key in the file `path`.

    Raises:
        HostKeyError: It cannot be read, may be read by others, is encrypted, or is no private key.
    """
    shown = os.fspath(path)
    try:
        # Not to wait for the writer of a FIFO that somebody put there.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as failure:
        raise HostKeyError(f"host key {shown}: {failure.strerror}") from None
    try:
        details = os.fstat(fd)
        _checkFile(details, shown)
        # The size may be anything by now, but not more than this is read.
        data = _readUpTo(fd, MAX_KEY_FILE + 1)
    except OSError as failure:
        raise HostKeyError(f"host key {shown}: {failure.strerror}") from None
    finally:
        os.close(fd)
    if len(data) > MAX_KEY_FILE:
        raise HostKeyError(f"host key {shown}: larger than {MAX_KEY_FILE} bytes")
    try:
        key = Key.fromString(data)
    except EncryptedKeyError:
        raise HostKeyError(
            f"host key {shown}: is encrypted, and nobody is there to give the passphrase;"
            f" run: ssh-keygen -p -f {shown}"
        ) from None
    except BadKeyError as failure:
        raise HostKeyError(f"host key {shown}: {failure}") from None
    if key.isPublic():
        raise HostKeyError(f"host key {shown}: this is a public key, the private one is needed")
    _checkMode(details, shown)
    weakness = weaknessOf(key.blob())
    if weakness is not None:
        raise HostKeyError(f"host key {shown}: {weakness}; make another one")
    return key


def _checkFile(details: os.stat_result, shown: str) -> None:
    if not stat.S_ISREG(details.st_mode):
        raise HostKeyError(f"host key {shown}: not a file")
    if details.st_uid not in (ROOT, os.geteuid()):
        raise HostKeyError(f"host key {shown}: belongs to another user ({details.st_uid})")


def _checkMode(details: os.stat_result, shown: str) -> None:
    """Last, for who names the wrong file is not helped by a mode for it."""
    mode = stat.S_IMODE(details.st_mode)
    if mode & LOOSE_BITS:
        raise HostKeyError(
            f"host key {shown}: mode {mode:04o} lets others use it; run: chmod 600 {shown}"
        )


def _readUpTo(fd: int, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = os.read(fd, size)
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def ownHostKey(directory: Path) -> Path:
    """The file of our own host key in `directory`, made if it does not exist.

    Raises:
        HostKeyError: It cannot be made.
    """
    path = directory / HOST_KEY_NAME
    try:
        if not path.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(path)
    except OSError as failure:
        raise HostKeyError(f"host key {path}: {failure.strerror}") from None
    return path


def _make(path: Path) -> None:
    key = Key.generate("ed25519")
    private = key.toString("OPENSSH", comment="limpet serve")
    public = key.public().toString("OPENSSH", comment="limpet serve") + b"\n"
    # Whoever comes second uses what the first one made, its public key included.
    if _place(path, private, 0o600):
        _place(path.with_name(path.name + ".pub"), public, 0o644)


def _place(path: Path, data: bytes, mode: int) -> bool:
    """Put a new file in its place at once; False where there is one already."""
    temporary = path.with_name(f".{path.name}.{randomBytes(8).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    finally:
        with suppress(OSError):
            os.unlink(temporary)
