"""The bodies of pty-req and window-change, under the function names that Conch documents.

Rule: the tuples have the rows first, the wire has the columns first (RFC 4254 sections 6.2, 6.7).
"""

from __future__ import annotations

from limpet.wire.fields import NS
from limpet.wire.requests import Geometry, PtyRequest, WindowChange, packGeometry


def parseRequest_pty_req(data: bytes) -> tuple[bytes, Geometry, list[tuple[int, int]]]:
    """Decode the body of pty-req.

    Returns:
        The terminal's type; (rows, columns, width, height); the modes as (opcode, value).

    Raises:
        WireError: It is not the body of a pty-req.
    """
    body = PtyRequest.decode(data)
    return body.term, body.geometry, list(body.modes)


def packRequest_pty_req(term: bytes, geometry: Geometry, modes: bytes) -> bytes:
    """Encode the body of pty-req; `modes` are encoded: (uint8 opcode, uint32 value) each."""
    return NS(term) + packGeometry(geometry) + NS(modes)


def parseRequest_window_change(data: bytes) -> Geometry:
    """Decode the body of window-change: (rows, columns, width, height). Raises WireError."""
    return WindowChange.decode(data).geometry


def packRequest_window_change(geometry: Geometry) -> bytes:
    """Encode the body of window-change."""
    return WindowChange(geometry).encode()
