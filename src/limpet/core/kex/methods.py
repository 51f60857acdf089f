"""The table of key exchange methods by their names."""

from __future__ import annotations

from limpet.core.kex.steps import KexMethod

KEX_METHODS: dict[bytes, KexMethod] = {}
"""Every method that can be negotiated."""
