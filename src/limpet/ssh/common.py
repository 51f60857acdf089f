"""The string and integer encodings under the module name that Conch's users import them from."""

from __future__ import annotations

from limpet.wire.fields import MP, NS, ffs, getMP, getNS

__all__ = ["MP", "NS", "ffs", "getMP", "getNS"]
