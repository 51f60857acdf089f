"""What the system says about names of hosts, and about this machine's own addresses.

Rule: what may wait for somebody else's answer is a function to be called where waiting does no
harm: before the reactor runs, or in a thread (`aside`).
"""

from __future__ import annotations

import ctypes
import ctypes.util
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from twisted.internet import defer, threads

_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}

_IFF_UP = 1
_IFF_LOOPBACK = 0x8

_T = TypeVar("_T")


def aside(reactor: Any, function: Callable[..., _T], *arguments: Any) -> defer.Deferred[_T]:
    """Call a function that may wait, in a thread of the reactor's pool.

    A reactor of asyncio's may be on a loop that somebody else runs, and then never starts its own
    pool; there it is a thread of the loop's.

    Returns:
        A Deferred of what it returns. Cancelling it drops the answer; the thread ends by itself.
    """
    calling: defer.Deferred[_T]
    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is not None:
        calling = defer.Deferred.fromFuture(loop.run_in_executor(None, function, *arguments))
    else:
        pool = reactor.getThreadPool()
        calling = threads.deferToThreadPool(reactor, pool, function, *arguments)
    return calling


def systemLookUp(name: str, addressFamily: str = "any") -> str | None:
    """Ask the system's resolver about a name; waits for the answer.

    Returns:
        The name at the end of its aliases, "" where that is not told; None for no such host.
    """
    try:
        found = socket.getaddrinfo(
            name.encode("utf-8", "surrogateescape"),
            None,
            _FAMILIES[addressFamily],
            socket.SOCK_STREAM,
            0,
            socket.AI_CANONNAME,
        )
    except (OSError, UnicodeError):
        return None
    return next((canonical for _, _, _, canonical, _ in found if canonical), "")


def numericAddress(host: str, addressFamily: str = "any") -> str | None:
    """An address in its usual form, however it was written; None for a name. Never waits."""
    try:
        found = socket.getaddrinfo(
            host.encode("utf-8", "surrogateescape"),
            None,
            _FAMILIES[addressFamily],
            socket.SOCK_STREAM,
            0,
            socket.AI_NUMERICHOST,
        )
        if len(found) != 1:
            return None
        return socket.getnameinfo(found[0][4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
    except (OSError, UnicodeError):
        return None


class LocalAddress(NamedTuple):
    """An address of this machine.

    Attributes:
        interface: The name of the interface that has it.
        text: The address, with its scope where it has one.
        isLoopback: Whether the interface leads to this machine only.
    """

    interface: str
    text: str
    isLoopback: bool

    @property
    def isUsual(self) -> bool:
        """Whether others can be reached from it without more ado."""
        address = ipaddress.ip_address(self.text.partition("%")[0])
        return not (self.isLoopback or address.is_loopback or address.is_link_local)


class _Ifaddrs(ctypes.Structure):
    """The beginning of `struct ifaddrs`, which Linux and the BSDs have in common."""


_Ifaddrs._fields_ = [
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.POINTER(ctypes.c_ubyte)),
]


def localAddresses() -> list[LocalAddress]:
    """The addresses of this machine's interfaces that are up; none where they are not told."""
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    first = ctypes.POINTER(_Ifaddrs)()
    try:
        if library.getifaddrs(ctypes.byref(first)):
            return []
    except AttributeError:
        return []
    try:
        found = []
        entry = first
        while entry:
            text = _addressText(entry.contents)
            if text is not None and entry.contents.flags & _IFF_UP:
                name = entry.contents.name.decode("utf-8", "surrogateescape")
                isLoopback = bool(entry.contents.flags & _IFF_LOOPBACK)
                found.append(LocalAddress(name, text, isLoopback))
            entry = entry.contents.next
        return found
    finally:
        library.freeifaddrs(first)


def _addressText(entry: Any) -> str | None:
    """The address of one entry as text; None where it has none that is of the Internet."""
    address = entry.address
    if not address:
        return None
    # A sockaddr begins with its family in two bytes, on the BSDs with its length in the first.
    family = address[1] if sys.platform == "darwin" else address[0] | address[1] << 8
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, bytes(address[4:8]))
    if family != socket.AF_INET6:
        return None
    text = socket.inet_ntop(socket.AF_INET6, bytes(address[8:24]))
    scope = int.from_bytes(bytes(address[24:28]), sys.byteorder)
    return f"{text}%{entry.name.decode('utf-8', 'surrogateescape')}" if scope else text


def addressOfInterface(interface: str, addressFamily: str = "any") -> str | None:
    """The address that connections through an interface come from; None where it has none.

    An address that leads to other machines is preferred to one that does not.
    """
    wanted = {"any": (4, 6), "inet": (4,), "inet6": (6,)}[addressFamily]
    found = [
        address
        for address in localAddresses()
        if address.interface == interface
        and ipaddress.ip_address(address.text.partition("%")[0]).version in wanted
    ]
    found.sort(key=lambda address: not address.isUsual)
    return found[0].text if found else None
