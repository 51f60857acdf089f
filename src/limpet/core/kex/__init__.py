"""The key exchange methods, each a pair of generators that reads like its RFC."""

from __future__ import annotations

from limpet.core.kex.methods import KEX_METHODS
from limpet.core.kex.steps import Exchange, Expect, KexContext, KexMethod, KexResult, Send

__all__ = ["KEX_METHODS", "Exchange", "Expect", "KexContext", "KexMethod", "KexResult", "Send"]
