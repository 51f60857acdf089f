"""The SSH transport: Conch's `twisted.conch.ssh.transport`, in its parts."""

from limpet.ssh.transport.base import SSHTransportBase
from limpet.ssh.transport.ciphers import SSHCiphers
from limpet.ssh.transport.client import SSHClientTransport
from limpet.ssh.transport.numbers import *  # noqa: F403 - the numbers name their own
from limpet.ssh.transport.numbers import __all__ as _numbers
from limpet.ssh.transport.server import SSHServerTransport

__all__ = ["SSHCiphers", "SSHClientTransport", "SSHServerTransport", "SSHTransportBase"]
__all__ += _numbers
