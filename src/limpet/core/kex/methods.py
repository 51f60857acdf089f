"""The table of key exchange methods by their names."""

from __future__ import annotations

import functools

from limpet.core.kex.ecdh import ecdhMethod
from limpet.core.kex.fixed import fixedGroupMethod
from limpet.core.kex.groupexchange import groupExchangeMethod
from limpet.core.kex.hybrid import MLKEM768_X25519
from limpet.core.kex.steps import KexMethod
from limpet.crypto.agreement import ECDH, HAS_MLKEM, X25519

_METHODS = (
    *((MLKEM768_X25519,) if HAS_MLKEM else ()),
    ecdhMethod(b"curve25519-sha256", "sha256", X25519),
    ecdhMethod(b"curve25519-sha256@libssh.org", "sha256", X25519),
    ecdhMethod(b"ecdh-sha2-nistp256", "sha256", functools.partial(ECDH, "nistp256")),
    ecdhMethod(b"ecdh-sha2-nistp384", "sha384", functools.partial(ECDH, "nistp384")),
    ecdhMethod(b"ecdh-sha2-nistp521", "sha512", functools.partial(ECDH, "nistp521")),
    fixedGroupMethod(b"diffie-hellman-group14-sha256", "sha256", 2048),
    fixedGroupMethod(b"diffie-hellman-group16-sha512", "sha512", 4096),
    fixedGroupMethod(b"diffie-hellman-group18-sha512", "sha512", 8192),
    groupExchangeMethod(b"diffie-hellman-group-exchange-sha256", "sha256"),
    # What follows is for the legacy profile only.
    fixedGroupMethod(b"diffie-hellman-group14-sha1", "sha1", 2048),
    fixedGroupMethod(b"diffie-hellman-group1-sha1", "sha1", 1024),
    groupExchangeMethod(b"diffie-hellman-group-exchange-sha1", "sha1"),
)

KEX_METHODS: dict[bytes, KexMethod] = {method.name: method for method in _METHODS}
"""Every method that can be negotiated."""
