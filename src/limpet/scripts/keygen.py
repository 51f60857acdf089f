"""`limpet keygen`: make a key, show its fingerprint or its public half, change its passphrase.

Rule: what ssh-keygen prints is printed in its form, so that other programs can read it; an existing
file is never written over, but by the same key under another passphrase.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import tempfile
import warnings
from pathlib import Path

import click

from limpet.scripts import knownhosts
from limpet.scripts.mistakes import Mistake
from limpet.ssh.keys import BadKeyError, EncryptedKeyError, Key, createKeyFiles, isPrivateToOwner

KINDS = ("ed25519", "ecdsa", "rsa")


def generate(
    kind: str,
    bits: int | None,
    filename: str | None,
    comment: str | None,
    passphrase: str | None,
    quiet: bool = False,
) -> None:
    """Make a key of the kind and write both its files."""
    kind = kind.lower()
    if kind not in KINDS:
        raise Mistake(f"unknown type of key {kind!r}: one of {', '.join(KINDS)}")
    path = Path(filename) if filename else Path.home() / ".ssh" / f"id_{kind}"
    if path.exists():
        raise Mistake(f"{path} exists already and is not written over")
    if filename is not None and not path.parent.is_dir():
        raise Mistake(f"{path}: there is no folder {path.parent}")
    try:
        key = Key.generate(kind, bits)
    except (BadKeyError, ValueError) as failure:
        raise Mistake(str(failure)) from None
    if passphrase is None:
        passphrase = _askNewPassphrase()
    text = _defaultComment() if comment is None else comment
    try:
        if filename is None:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        createKeyFiles(key, path, comment=text, passphrase=passphrase or None)
    except OSError as failure:
        raise Mistake(f"{path}: {failure.strerror}") from None
    if quiet:
        return
    click.echo(f"Your identification has been saved in {path}")
    click.echo(f"Your public key has been saved in {path}.pub")
    click.echo("The key fingerprint is:")
    click.echo(f"{key.displayFingerprint()} {text}")


def showFingerprint(filename: str | None) -> None:
    """Print size, fingerprint, comment and type of the key in a file, public or private."""
    path = _existing(filename)
    public = path.with_name(path.name + ".pub")
    # The public file also tells what a passphrase would hide.
    source = public if public.is_file() else path
    try:
        key = _load(source, None)
    except Mistake:
        # Or the keys of a known_hosts or authorized_keys file.
        if not knownhosts.listFingerprints(source):
            raise
        return
    comment = _commentOf(source) or "no comment"
    click.echo(f"{key.size()} {key.displayFingerprint()} {comment} ({typeName(key)})")


def typeName(key: Key) -> str:
    """The key's type as ssh-keygen shows it: "ED25519", "ECDSA", "RSA"."""
    return "ECDSA" if key.sshType().startswith(b"ecdsa-") else key.type().upper()


def showPublic(filename: str | None, passphrase: str | None) -> None:
    """Print the public key of the private key in a file."""
    path = _existing(filename)
    try:
        key = _load(path, passphrase)
    except _NeedsPassphrase:
        _refuseLoose(path)
        key = _load(path, _ask("Enter passphrase: "))
    if key.isPublic():
        raise Mistake(f"{path}: this is a public key already")
    _refuseLoose(path)
    line = key.public().toString("OPENSSH", comment=key.comment)
    click.echo(line.decode("utf-8", "replace").rstrip("\n"))


def _refuseLoose(path: Path) -> None:
    if not isPrivateToOwner(path):
        raise Mistake(f"{path}: its mode lets others use it; run: chmod 600 {path}")


def changePassphrase(
    filename: str | None, old: str | None, new: str | None, quiet: bool = False
) -> None:
    """Encrypt the private key in a file with another passphrase, or with none.

    Args:
        filename: The file, None for the user's usual one.
        old: The passphrase it has; None to ask where it has one.
        new: The new one, empty for none; None to ask.
        quiet: Whether nothing is said of it.
    """
    path = _existing(filename)
    try:
        key = _load(path, old or None)
    except _NeedsPassphrase:
        key = _load(path, _ask("Enter old passphrase: "))
    if key.isPublic():
        raise Mistake(f"{path}: this is a public key, which has no passphrase")
    if new is None:
        new = _askNewPassphrase()
    text = key.toString("OPENSSH", comment=key.comment, passphrase=new or None)
    try:
        _writeBeside(path, text)
    except OSError as failure:
        raise Mistake(f"{path}: {failure.strerror}; it is as it was") from None
    if not quiet:
        click.echo("Your identification has been saved with the new passphrase.")


def _writeBeside(path: Path, text: bytes) -> None:
    """Put a new private file in the place of one, whole or not at all."""
    real = Path(os.path.realpath(path))
    descriptor, new = tempfile.mkstemp(prefix=real.name + ".", dir=real.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, real)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


class _NeedsPassphrase(Mistake):
    pass


def _load(path: Path, passphrase: str | None) -> Key:
    try:
        return Key.fromFile(path, passphrase=passphrase)
    except EncryptedKeyError:
        raise _NeedsPassphrase(
            f"{path}: the key is encrypted; give its passphrase with -P"
        ) from None
    except BadKeyError as failure:
        raise Mistake(f"{path}: {failure}") from None
    except OSError as failure:
        raise Mistake(f"{path}: {failure.strerror}") from None


def _existing(filename: str | None) -> Path:
    path = Path(filename) if filename else Path.home() / ".ssh" / "id_ed25519"
    if not path.exists():
        raise Mistake(f"{path}: No such file or directory")
    return path


def _commentOf(path: Path) -> str:
    try:
        words = path.read_bytes().split(None, 2)
    except OSError:
        return ""
    isPublicLine = len(words) == 3 and words[0].startswith((b"ssh-", b"ecdsa-", b"sk-"))
    return words[2].decode("utf-8", "replace").strip() if isPublicLine else ""


def _ask(prompt: str, option: str = "-P") -> str:
    """Ask at the terminal, and nowhere where what is typed would be seen."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass(prompt)
        except (getpass.GetPassWarning, EOFError):
            raise Mistake(
                f"nobody can be asked for the passphrase; give it with {option}"
            ) from None


def _askNewPassphrase() -> str:
    first = _ask("Enter passphrase (empty for no passphrase): ", "-N")
    if first != _ask("Enter same passphrase again: ", "-N"):
        raise Mistake("the passphrases are not the same")
    return first


def _defaultComment() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
