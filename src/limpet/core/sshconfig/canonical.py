"""Making the name of a host canonical (ssh_config(5), CanonicalizeHostname).

Rule: a short name becomes the first full one that exists, and where an alias leads counts only as
far as the rules permit it. Whoever calls looks the names up.

    web ── CanonicalDomains a.example b.example ──▶ web.a.example. ? web.b.example. ✓
        ── CanonicalizePermittedCNAMEs *.b.example:*.c.example ──▶ real.c.example
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limpet.core.patterns import matchPatternList

_NUMERIC = frozenset("0123456789.")

LookUp = Callable[[str], str | None]
"""Takes a name, and returns where it leads: the name that its aliases end at, in any case, "" where
that is not told; None where there is no such host."""


class NoSuchName(ValueError):
    """The name does not exist where it has to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class NameRules:
    """What the configuration says about names.

    Attributes:
        wanted: "no", "yes" for hosts that are connected to without a proxy, "always".
        domains: Where to look for a short name, in order.
        maxDots: With how many dots a name still is a short one.
        fallbackLocal: Whether a name that is in none of the domains is left to the system.
        permittedCNAMEs: Pairs of pattern lists: which names may be aliases, of which others.
    """

    wanted: str = "no"
    domains: Sequence[str] = ()
    maxDots: int = 1
    fallbackLocal: bool = True
    permittedCNAMEs: Sequence[tuple[str, str]] = ()

    def canonicalName(self, host: str, isDirect: bool, lookUp: LookUp) -> str:
        """The canonical name of a host, without a dot at its end.

        Args:
            host: The name, in lower case.
            isDirect: Whether it is connected to without a proxy.
            lookUp: Asks for a name.

        Raises:
            NoSuchName: It is not found, and nothing else is to be tried.
        """
        if self.wanted == "no" or isNumeric(host) or not (isDirect or self.wanted == "always"):
            return host
        for name in self._candidates(host):
            end = lookUp(name)
            if end is not None:
                return self._followed(name.removesuffix("."), end)
        isShort = host.endswith(".") or host.count(".") <= self.maxDots
        if isShort and not self.fallbackLocal:
            raise NoSuchName(
                f"{host} is in none of CanonicalDomains, and CanonicalizeFallbackLocal is no"
            )
        if not self.permittedCNAMEs:
            return host
        end = lookUp(host)
        if end is None and isDirect:
            raise NoSuchName(f"there is no host {host}, or its name cannot be looked up")
        return host if end is None else self._followed(host, end)

    def _candidates(self, host: str) -> list[str]:
        """The full names that the host may have, each with a dot at its end."""
        if host.endswith("."):
            return [host]
        if host.count(".") > self.maxDots:
            return []
        return [f"{host}.{domain}." for domain in self.domains]

    def _followed(self, name: str, end: str) -> str:
        """Where an alias leads, if a rule permits it."""
        end = end.lower().removesuffix(".")
        if not end or not isDomain(end):
            return name
        for sources, targets in self.permittedCNAMEs:
            if matchPatternList(_bytes(sources.lower()), _bytes(name.lower())) and matchPatternList(
                _bytes(targets.lower()), _bytes(end)
            ):
                return end
        return name


def isNumeric(host: str) -> bool:
    """Whether a name looks like an address, and is never looked for in domains."""
    return "%" in host or ":" in host or _NUMERIC.issuperset(host)


def isDomain(name: str) -> bool:
    """Whether `name` is made as the names of domains are: letters, digits, "-", "_" and dots."""
    first = name[:1]
    return (
        name.isascii()
        and (first.isalnum() or first == "_")
        and ".." not in name
        and all(char.isalnum() or char in ".-_" for char in name)
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
