"""The server's side of SOCKS 4, 4a and 5: what a program asks a proxy for (RFC 1928).

Rule: bytes in, one request out; nothing is read beyond it, and what stands behind it is returned.
Only CONNECT without a password is understood, which is what `ssh -D` offers.

    feed(bytes) ─► answer to send now, Target or None     granted(), refused() ─► the last answer

SOCKS 4 and 4a have no RFC; they are described in the documents SOCKS4.protocol and SOCKS4A.protocol
of NEC's distribution.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from limpet.wire.numbers import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

MAX_REQUEST = 1024
"""Longest greeting or request, in bytes (ours): SOCKS 5 needs 262, SOCKS 4a two short strings."""

CONNECT = 1
NO_PASSWORD = 0
NO_METHOD = 0xFF

ADDRESS_IPV4, ADDRESS_NAME, ADDRESS_IPV6 = 1, 3, 4

GRANTED_4, REFUSED_4 = 90, 91
SUCCEEDED, FAILED, NOT_ALLOWED, REFUSED, BAD_COMMAND, BAD_ADDRESS = 0, 1, 2, 5, 7, 8

_SOCKS_4 = struct.Struct(">BBH4s")


class SocksError(ValueError):
    """What came is no request that can be served.

    Attributes:
        answer: What is sent before the connection is closed; may be empty.
    """

    def __init__(self, words: str, answer: bytes = b"") -> None:
        super().__init__(words)
        self.answer = answer


@dataclass(frozen=True)
class Target:
    """Where a program wants to be connected to.

    Attributes:
        host: A name or a numeric address.
        port: The port.
    """

    host: bytes
    port: int


class SocksNegotiation:
    """One program's request.

    Attributes:
        rest: What came behind the request.
    """

    def __init__(self) -> None:
        self.rest = b""
        self._version = 0
        self._greeted = False

    def feed(self, data: bytes) -> tuple[bytes, Target | None]:
        """Take what came.

        Returns:
            What to send at once, maybe nothing; and the target, when the request is complete.

        Raises:
            SocksError: It is no request that can be served.
        """
        self.rest += data
        if not self.rest:
            return b"", None
        answer = b""
        if not self._greeted:
            self._version = self.rest[0]
        if self._version == 4:
            return b"", self._request4()
        if self._version != 5:
            raise SocksError("neither SOCKS 4 nor SOCKS 5")
        if not self._greeted:
            answer = self._greeting()
            if not self._greeted or not self.rest:
                return answer, None
        return answer, self._request5()

    def granted(self) -> bytes:
        """The answer when the connection is there."""
        if self._version == 4:
            return _SOCKS_4.pack(0, GRANTED_4, 0, bytes(4))
        return _answer5(SUCCEEDED)

    def refused(self, reason: int) -> bytes:
        """The answer when there is none, for a reason `OPEN_*` of the channel's."""
        if self._version == 4:
            return _SOCKS_4.pack(0, REFUSED_4, 0, bytes(4))
        codes = {OPEN_ADMINISTRATIVELY_PROHIBITED: NOT_ALLOWED, OPEN_CONNECT_FAILED: REFUSED}
        return _answer5(codes.get(reason, FAILED))

    def _greeting(self) -> bytes:
        if len(self.rest) < 2 or len(self.rest) < 2 + self.rest[1]:
            return b""
        methods = self.rest[2 : 2 + self.rest[1]]
        self.rest = self.rest[2 + len(methods) :]
        if NO_PASSWORD not in methods:
            raise SocksError("the program wants to log in", bytes((5, NO_METHOD)))
        self._greeted = True
        return bytes((5, NO_PASSWORD))

    def _request5(self) -> Target | None:
        data = self.rest
        if len(data) < 5:
            return None
        version, command, _, kind = data[:4]
        if version != 5:
            raise SocksError("another version in the request")
        if command != CONNECT:
            raise SocksError("only connecting is offered", _answer5(BAD_COMMAND))
        sizes = {ADDRESS_IPV4: 4, ADDRESS_IPV6: 16, ADDRESS_NAME: data[4]}
        if kind not in sizes:
            raise SocksError("an unknown kind of address", _answer5(BAD_ADDRESS))
        start = 5 if kind == ADDRESS_NAME else 4
        end = start + sizes[kind]
        if len(data) < end + 2:
            return None
        host = data[start:end]
        if kind != ADDRESS_NAME:
            host = str(ipaddress.ip_address(host)).encode("ascii")
        return self._found(host, int.from_bytes(data[end : end + 2], "big"), end + 2)

    def _request4(self) -> Target | None:
        data = self.rest
        if len(data) < _SOCKS_4.size:
            return None
        _, command, port, address = _SOCKS_4.unpack_from(data)
        if command != CONNECT:
            raise SocksError("only connecting is offered", self.refused(0))
        _, nul, behind = data[_SOCKS_4.size :].partition(b"\0")
        if not nul:
            self._checkLength()
            return None
        if address[:3] != bytes(3) or address[3] == 0:
            host = str(ipaddress.IPv4Address(address)).encode("ascii")
            return self._found(host, port, len(data) - len(behind))
        # 4a: an address 0.0.0.x means that the name follows.
        host, nul, behind = behind.partition(b"\0")
        if not nul:
            self._checkLength()
            return None
        return self._found(host, port, len(data) - len(behind))

    def _checkLength(self) -> None:
        if len(self.rest) > MAX_REQUEST:
            raise SocksError("a request without an end", self.refused(0))

    def _found(self, host: bytes, port: int, end: int) -> Target:
        self.rest = self.rest[end:]
        return Target(host, port)


def _answer5(code: int) -> bytes:
    # Where the connection comes from is not known here; OpenSSH says the same.
    return bytes((5, code, 0, ADDRESS_IPV4)) + bytes(6)
