"""For tests of servers and clients: real logins in memory, without a socket and without waiting."""

from limpet.testing.network import MemoryNetwork
from limpet.testing.pair import (
    MemoryTransport,
    Pair,
    Portions,
    randomPortions,
    singleBytes,
    whole,
)

__all__ = [
    "MemoryNetwork",
    "MemoryTransport",
    "Pair",
    "Portions",
    "randomPortions",
    "singleBytes",
    "whole",
]
