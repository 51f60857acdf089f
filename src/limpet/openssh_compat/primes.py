"""The groups for group exchange in a file of the form of /etc/ssh/moduli."""

from __future__ import annotations

import os

from limpet.core.moduli import parseModuli


def parseModuliFile(filename: str | os.PathLike[str]) -> dict[int, list[tuple[int, int]]]:
    """Read a moduli(5) file.

    Returns:
        Size in bits to the generators and primes of that size; lines that are no tested safe
        primes are left out.

    Raises:
        OSError: The file cannot be read.
    """
    with open(filename, "rb") as file:
        return parseModuli(file.read())


__all__ = ["parseModuliFile"]
