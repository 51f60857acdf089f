"""How long the path to the peer is, as far as the system has measured it.

Linux keeps the least time that an acknowledgement has taken on a TCP connection (tcp(7), TCP_INFO);
the structure only ever grows at its end. Elsewhere nothing is known.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_LENGTH = 152
_LEAST_ROUND_TRIP = struct.Struct("=L")
_LEAST_ROUND_TRIP_AT = 148
"""`tcpi_min_rtt` of linux/tcp.h: microseconds, all ones before the first measurement."""
_NONE = 0xFFFFFFFF


def tcpRoundTripSeconds(transport: Any) -> float:
    """How long a round trip takes at the least; 0 where that is not known.

    Args:
        transport: The stream's transport. Where it is no TCP connection, nothing is known; and
            where a relay ends the TCP connection, no more than the way to the relay.
    """
    if _TCP_INFO is None:
        return 0.0
    try:
        info = transport.getHandle().getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LENGTH)
        (microseconds,) = _LEAST_ROUND_TRIP.unpack_from(info, _LEAST_ROUND_TRIP_AT)
    except (AttributeError, OSError, struct.error):
        return 0.0
    return 0.0 if microseconds == _NONE else microseconds / 1_000_000
