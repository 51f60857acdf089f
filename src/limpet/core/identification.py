"""The identification strings with which both sides begin: RFC 4253 section 4.2.

Rule: at most `MAX_LINE_LENGTH` bytes are taken from a client and `MAX_TOTAL_LENGTH` from a server
before the line is there; whatever else comes first ends the connection. The line that is returned
is what the exchange hash covers, so it is given back to the byte, without its CR LF or LF only.
"""

from __future__ import annotations

from limpet.core.errors import LimitExceeded, VersionViolation

MAX_LINE_LENGTH = 255
"""Longest identification string, CR LF included (RFC 4253 section 4.2)."""

MAX_EARLIER_LINES = 1024
"""Lines that a server may send before its identification string (OpenSSH's limit)."""

MAX_EARLIER_LINE_LENGTH = 8192
"""Longest of those lines, its end included (OpenSSH's limit)."""

MAX_TOTAL_LENGTH = 65536
"""Bytes that a server may send up to the end of its identification string (ours)."""

SERVER_ACCEPTS = (b"2.0",)
"""Protocol versions of a client that we talk to."""

CLIENT_ACCEPTS = (b"2.0", b"1.99")
"""Protocol versions of a server that we talk to; 1.99 is a server that also speaks 1.x."""

_START = b"SSH-"


class IdentificationReader:
    """Finds the peer's identification string at the front of its stream.

    Args:
        isClient: Whether we are the client, and the peer so a server, which alone may send other
            lines first.
        versions: The protocol versions accepted, where they are not our role's own.
    """

    def __init__(self, isClient: bool, versions: tuple[bytes, ...] | None = None) -> None:
        self.isClient = isClient
        if versions is None:
            versions = CLIENT_ACCEPTS if isClient else SERVER_ACCEPTS
        self.versions = versions
        self.earlierLines = 0
        self._buffer = bytearray()
        self._discarded = 0

    def feed(self, data: bytes) -> tuple[bytes | None, bytes]:
        """Take what has arrived.

        Returns:
            The identification string without its line end, and the bytes that follow it; or None
            and no bytes while it is not complete. Nothing may be fed after the line was returned.

        Raises:
            VersionViolation: The line is none, or names a version that we do not speak.
            LimitExceeded: The line, or what stands before it, is too long.
        """
        self._buffer += data
        while True:
            isIdentification = self._checkStart()
            limit = MAX_LINE_LENGTH if isIdentification else MAX_EARLIER_LINE_LENGTH
            end = self._buffer.find(b"\n", 0, limit)
            consumed = end + 1 if end >= 0 else min(len(self._buffer), limit)
            if self._discarded + consumed > MAX_TOTAL_LENGTH:
                raise LimitExceeded(
                    f"no identification string in the first {MAX_TOTAL_LENGTH} bytes"
                )
            if end < 0:
                if len(self._buffer) >= limit:
                    raise LimitExceeded(f"no end of line in {limit} bytes of identification")
                return None, b""
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            if isIdentification:
                rest = bytes(self._buffer)
                self._buffer.clear()
                return self._check(line.removesuffix(b"\r")), rest
            self._discarded += end + 1
            self.earlierLines += 1
            if self.earlierLines > MAX_EARLIER_LINES:
                raise LimitExceeded(f"over {MAX_EARLIER_LINES} lines before the identification")

    def _checkStart(self) -> bool:
        """Whether the line under way can be the identification string; a client's has to be."""
        start = bytes(self._buffer[: len(_START)])
        if _START.startswith(start):
            return True
        if not self.isClient:
            raise VersionViolation("the first line is not an SSH identification string")
        return False

    def _check(self, line: bytes) -> bytes:
        if not line.isascii() or any(byte < 0x20 or byte == 0x7F for byte in line):
            raise VersionViolation("an identification string with a byte that is not printable")
        parts = line.split(b"-", 2)
        if len(parts) != 3:
            raise VersionViolation("an identification string without its three parts")
        version, software = parts[1], parts[2]
        if version not in self.versions:
            raise VersionViolation(
                f"protocol version {version[:16].decode('ascii')!r} is not supported"
            )
        if not software or software.startswith(b" "):
            raise VersionViolation("an identification string that names no software")
        return line
