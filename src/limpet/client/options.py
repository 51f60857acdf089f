"""The command line of a client that is written with `twisted.python.usage`: Conch's
`client.options`.

Rule: an algorithm that is not known here is refused by name, and nothing is dropped in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import Any, ClassVar

from twisted.python import usage

from limpet.core.kex import KEX_METHODS
from limpet.crypto.ciphers import CIPHERS
from limpet.crypto.macs import MACS
from limpet.crypto.signatures import HOST_KEY_ALGORITHMS

__all__ = ["KEX_METHODS", "ConchOptions"]


class ConchOptions(usage.Options):
    """The options that clients share; a subclass takes host and command by `parseArgs`.

    Attributes:
        identitys: The files of private keys that were named.
        conns: What connects; always None.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        ["user", "l", None, "The name to log in under."],
        ["identity", "i", None],
        ["ciphers", "c", None],
        ["macs", "m", None],
        ["port", "p", None, "The port to connect to."],
        ["option", "o", None, "Options of ssh; taken, and not looked at."],
        ["host-key-algorithms", "", None],
        ["known-hosts", "", None, "The file that says which keys hosts have."],
        ["user-authentications", "", None, "The methods to log in by."],
        ["logfile", "", None, "The file to log to, or - for standard output."],
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        ["version", "V", "Show the version, and nothing else."],
        ["compress", "C", "Compress what is sent."],
        ["log", "v", "Log, to standard error where no file is named."],
        ["nox11", "x", "Do not forward X11 (it never is)."],
        ["agent", "A", "Forward the agent."],
        ["noagent", "a", "Do not forward the agent."],
        ["reconnect", "r", "Connect again when the connection is lost."],
    ]
    compData = usage.Completions(
        mutuallyExclusive=[("agent", "noagent")],
        optActions={"identity": usage.CompleteFiles("*"), "user": usage.CompleteUsernames()},
    )

    def __init__(self, *args: Any, **kw: Any) -> None:
        usage.Options.__init__(self, *args, **kw)
        self.identitys: list[str] = []
        self.conns = None

    def opt_identity(self, i: str) -> None:
        """A file with a private key to log in with; may be given several times."""
        self.identitys.append(i)

    def opt_ciphers(self, ciphers: str) -> None:
        """The ciphers to offer, joined by commas."""
        self["ciphers"] = _known("cipher", ciphers, CIPHERS)

    def opt_macs(self, macs: str) -> None:
        """The message authentication codes to offer, joined by commas."""
        self["macs"] = _known("MAC", macs, MACS)

    def opt_host_key_algorithms(self, hkas: str) -> None:
        """The host key algorithms to offer, joined by commas."""
        self["host-key-algorithms"] = _known("host key algorithm", hkas, HOST_KEY_ALGORITHMS)

    def opt_user_authentications(self, uas: str | bytes) -> None:
        """The methods to log in by, joined by commas."""
        self["user-authentications"] = (uas.encode("ascii") if isinstance(uas, str) else uas).split(
            b","
        )


def _known(kind: str, names: str | bytes, known: Container[bytes]) -> list[bytes]:
    """The names of a list; the process ends, as Conch's does, where one of them is not known."""
    listed = (names.encode("ascii", "replace") if isinstance(names, str) else names).split(b",")
    for name in listed:
        if name == b"none" or name not in known:
            sys.exit(f"there is no {kind} {name.decode('ascii', 'replace')!r} here")
    return listed
