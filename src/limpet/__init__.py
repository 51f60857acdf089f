"""Limpet: SSH for Python, under the names that Twisted Conch documents.

Importing this package loads no Twisted and installs no reactor. What an application uses stands in
the modules that Conch's users know: `limpet.ssh.transport`, `limpet.ssh.keys`, `limpet.avatar` …
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from limpet._version import __version__

if TYPE_CHECKING:
    from limpet.client.clients import Client, connect
    from limpet.dropin import ConchAlreadyLoaded, install_as_conch

__all__ = ["Client", "ConchAlreadyLoaded", "__version__", "connect", "install_as_conch"]

_LAZY = {
    "Client": "limpet.client.clients",
    "ConchAlreadyLoaded": "limpet.dropin",
    "connect": "limpet.client.clients",
    "install_as_conch": "limpet.dropin",
}
"""Public name to the module that has it, which is imported at the first use of the name."""


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'limpet' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value
