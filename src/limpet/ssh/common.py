"""The string and integer encodings under the module name that Conch's users import them from.

Rule: for applications' own messages. `getMP` takes what Conch's takes; our own messages are decoded
by `limpet.wire`, which is strict.
"""

from __future__ import annotations

from limpet.wire.errors import BadField
from limpet.wire.fields import MAX_MPINT_BITS, MP, NS, Reader, ffs, getNS


def getMP(data: bytes, count: int = 1) -> tuple[int | bytes, ...]:
    """Decode `count` mpints from the front of `data`; the last item is what is left of it.

    They count as not negative, and may have leading zeros.

    Raises:
        Truncated: `data` ends within one of the numbers.
        BadField: A number is longer than `MAX_MPINT_BITS`.
    """
    reader = Reader(data)
    numbers: list[int | bytes] = []
    for _ in range(count):
        body = reader.string()
        if len(body) * 8 > MAX_MPINT_BITS + 8:
            raise BadField(f"an mpint of {len(body)} bytes")
        numbers.append(int.from_bytes(body, "big"))
    return (*numbers, reader.rest())


__all__ = ["MP", "NS", "ffs", "getMP", "getNS"]
