"""Limpet: SSH for Python, under the names that Twisted Conch documents.

Importing this package loads no Twisted and installs no reactor. What an application uses stands in
the modules that Conch's users know: `limpet.ssh.transport`, `limpet.ssh.keys`, `limpet.avatar` …
"""

from limpet._version import __version__

__all__ = ["__version__"]
