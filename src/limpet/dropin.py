"""Puts Limpet where a program imports Twisted Conch: Conch's module names lead to Limpet's modules.

Rule: a module is the same object under both names, or it is Conch's alone; nothing is imported
before the program asks for it, nothing is printed, and no reactor is installed.

    import twisted.conch.ssh.keys  →  limpet.ssh.keys         what Limpet replaces: `REPLACED`
    import twisted.conch.manhole   →  Twisted's own file      what it leaves: everything else

What Twisted keeps (insults, manhole, recvline, telnet, mixin, stdio, tap …) imports its parts of
Conch by the same names, and so runs on Limpet.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from limpet.core.negotiation import PROFILES

REPLACED: Mapping[str, str] = {
    f"twisted.conch.{name}": f"limpet.{name}"
    for name in (
        "avatar",
        "checkers",
        "client.agent",
        "client.connect",
        "client.default",
        "client.direct",
        "client.knownhosts",
        "client.options",
        "endpoints",
        "error",
        "interfaces",
        "ls",
        "openssh_compat.factory",
        "openssh_compat.primes",
        "ssh.address",
        "ssh.agent",
        "ssh.channel",
        "ssh.common",
        "ssh.connection",
        "ssh.factory",
        "ssh.filetransfer",
        "ssh.forwarding",
        "ssh.keys",
        "ssh.service",
        "ssh.session",
        "ssh.transport",
        "ssh.userauth",
        "ttymodes",
        "unix",
    )
}
"""Conch's modules to Limpet's. The packages between them are empty and stay Twisted's."""


class ConchAlreadyLoaded(RuntimeError):
    """Parts of Conch were imported before Limpet could take their place."""


def limpetsName(name: str) -> str | None:
    """The module of Limpet that stands for a module of Conch, or None where Conch keeps its own.

    The parts of a module that is a package here (`twisted.conch.ssh.transport.base`) are Limpet's.
    """
    if not name.startswith("twisted.conch."):
        return None
    whole, rest = name, ""
    while whole != "twisted.conch":
        if whole in REPLACED:
            return REPLACED[whole] + rest
        whole, _, last = whole.rpartition(".")
        rest = f".{last}{rest}"
    return None


class ConchFinder(MetaPathFinder, Loader):
    """Finds Limpet's modules under Conch's names."""

    def __init__(self) -> None:
        self._ownSpecs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        ours = limpetsName(fullname)
        return None if ours is None else ModuleSpec(fullname, self, origin=ours)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """See `importlib.abc.Loader`."""
        module = importlib.import_module(str(spec.origin))
        self._ownSpecs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """The module has been run; it only gets back what import has just written over."""
        spec = module.__spec__
        assert spec is not None  # noqa: S101 - import sets it before it calls this
        module.__spec__ = self._ownSpecs.pop(spec.name)


def install_as_conch(algorithms: str | None = None) -> None:
    """Let every later import of Conch in this process be one of Limpet.

    Call it before anything imports Conch: at the top of the program, or for a program that is not
    yours by `python -m limpet.conch -- twistd …`. To call it again does nothing more.

    Args:
        algorithms: The name of a profile of `limpet.core.negotiation` that all transports of the
            process offer unless they set lists of their own: "legacy" has SHA-1, CBC and ssh-dss
            for honeypots and old devices. None leaves the safe default.

    Raises:
        ConchAlreadyLoaded: Parts of Conch are loaded. They would go on to be used by whoever has
            them, beside Limpet's.
        ValueError: There is no such profile.
    """
    loaded = sorted(name for name in list(sys.modules) if _isConchsOwn(name))
    if loaded:
        more = f" and {len(loaded) - 1} more modules of Conch" if len(loaded) > 1 else ""
        verb = "are" if more else "is"
        raise ConchAlreadyLoaded(
            f"{loaded[0]}{more} {verb} loaded already; call limpet.install_as_conch() before "
            "anything imports twisted.conch, or start the program by python -m limpet.conch -- …"
        )
    if algorithms is not None:
        offerAlgorithms(algorithms)
    if not any(isinstance(finder, ConchFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, ConchFinder())


def _isConchsOwn(name: str) -> bool:
    ours = limpetsName(name)
    return ours is not None and sys.modules[name] is not sys.modules.get(ours)


def offerAlgorithms(profile: str) -> None:
    """Let all transports of this process offer the algorithms of a profile.

    A factory or a transport that has lists of its own keeps them.

    Args:
        profile: "default", "hardened", "modern" or "legacy"; `limpet.core.negotiation` says what
            each is for.

    Raises:
        ValueError: There is no such profile.
    """
    lists = PROFILES.get(profile)
    if lists is None:
        known = ", ".join(sorted(PROFILES))
        raise ValueError(f"no algorithms are called {profile!r}; there are: {known}")
    transport = importlib.import_module("limpet.ssh.transport")
    transport.SSHTransportBase.supportedKeyExchanges = list(lists.keyExchanges)
    transport.SSHTransportBase.supportedPublicKeys = list(lists.publicKeys)
    transport.SSHTransportBase.supportedCiphers = list(lists.ciphers)
    transport.SSHTransportBase.supportedMACs = list(lists.macs)
    transport.SSHTransportBase.supportedCompressions = list(lists.compressions)
    server = transport.SSHServerTransport
    # Who takes old host keys has old clients, whose own keys sign with the same algorithms.
    server.userAuthAlgorithms += tuple(
        name for name in lists.publicKeys if name not in server.userAuthAlgorithms
    )
