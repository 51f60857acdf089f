"""`internal-sftp` as the command that a key or a certificate forces: what its options ask for.

Rule: an option that is not known, or whose value makes no sense, leaves no files at all, since what
it asks for may be a restriction. The options are those of sftp-server(8); those about its log are
taken and change nothing.
"""

from __future__ import annotations

import getopt
import os
from collections.abc import Mapping
from dataclasses import dataclass

from limpet.files.requests import REQUEST_NAMES
from limpet.unix.accounts import Account

NAME = "internal-sftp"

_OPTIONS = "ehRd:f:l:P:p:u:"
_ABOUT_THE_LOG = ("-e", "-f", "-l")

SFTP_ONLY = "This service allows sftp connections only."
"""What a shell or a command is answered with, word for word what OpenSSH's sshd says."""


@dataclass(frozen=True)
class FileServerOptions:
    """What one login's file server is told, beyond the server's own policy.

    Attributes:
        readOnly: Whether nothing may be changed.
        start: The directory to begin in, with %d, %h, %u and %% in it; None for the home.
        umask: The umask; None for the server's.
        forbidden: Names of requests that are not served.
    """

    readOnly: bool = False
    start: str | None = None
    umask: int | None = None
    forbidden: frozenset[str] = frozenset()

    def forWorker(self, account: Account) -> dict[str, str]:
        """The same as options of `limpet.files.worker`."""
        options: dict[str, str] = {}
        if self.readOnly:
            options["readOnly"] = "yes"
        if self.start is not None:
            tokens = {"d": account.home, "h": account.home, "u": account.name, "%": "%"}
            options["start"] = _expanded(self.start, tokens)
        if self.umask is not None:
            options["umask"] = f"{self.umask:o}"
        if self.forbidden:
            options["forbidden"] = ",".join(sorted(self.forbidden))
        return options


def isInternalSftp(command: bytes) -> bool:
    """Whether a forced command is no program but the server's own files."""
    return command.split()[:1] == [NAME.encode()]


def parseInternalSftp(command: bytes) -> FileServerOptions | None:
    """The options of a forced `internal-sftp`; None where one of them cannot be obeyed.

    As with OpenSSH, words end at spaces, and there are no quotes.
    """
    if not isInternalSftp(command) or b"\0" in command:
        return None
    words = os.fsdecode(command).split()[1:]
    try:
        given, rest = getopt.getopt(words, _OPTIONS)
        return None if rest else _optionsOf(given)
    except (getopt.GetoptError, ValueError):
        return None


def _optionsOf(given: list[tuple[str, str]]) -> FileServerOptions:
    """Raises ValueError for what cannot be obeyed."""
    readOnly = False
    single: dict[str, str] = {}
    for letter, value in given:
        if letter == "-R":
            readOnly = True
        elif letter in single or letter == "-h":
            raise ValueError(letter)
        elif letter not in _ABOUT_THE_LOG:
            single[letter] = value
    umask = int(single["-u"], 8) if "-u" in single else None
    if umask is not None and not 0 <= umask <= 0o777:
        raise ValueError("-u")
    start = single.get("-d")
    if start is not None:
        _expanded(start, dict.fromkeys("dhu%", ""))
    forbidden = _names(single["-P"]) if "-P" in single else frozenset()
    if "-p" in single:
        forbidden |= REQUEST_NAMES.keys() - _names(single["-p"])
    return FileServerOptions(readOnly, start, umask, forbidden)


def _names(text: str) -> frozenset[str]:
    """The requests of a list; one that is mistyped would let through what it was to forbid."""
    names = frozenset(text.split(","))
    if not names <= REQUEST_NAMES.keys():
        raise ValueError(text)
    return names


def _expanded(text: str, tokens: Mapping[str, str]) -> str:
    """`text` with its tokens replaced. Raises ValueError for one that is not known."""
    found, rest = "", text
    while "%" in rest:
        before, _, rest = rest.partition("%")
        if rest[:1] not in tokens or not rest:
            raise ValueError(text)
        found += before + tokens[rest[0]]
        rest = rest[1:]
    return found + rest
