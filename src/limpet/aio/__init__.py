"""For programs on plain asyncio: `limpet.connect` and what it gives, as coroutines; and servers.

    async with limpet.aio.connect("deploy@web1") as client:
        result = await client.run("uname -a")

Rule: a façade; `client` and `server` are the two sides, `loops` what both stand on. Nothing is
installed for the process.
"""

from limpet.aio.client import (
    Client,
    CopyResult,
    DirectoryEntry,
    Ending,
    Files,
    Forward,
    Process,
    Result,
    connect,
)
from limpet.aio.loops import reactor_for
from limpet.aio.server import Listener, Program, listen, sessions
from limpet.client.errors import (
    AuthenticationFailed,
    ClientError,
    CommandFailed,
    CommandTimedOut,
    ConnectFailed,
    ConnectionEnded,
    HandshakeFailed,
    HostKeyRefused,
    RequestRefused,
)
from limpet.client.filecopy import CopyFailed, CopyProblem
from limpet.client.processes import DISCARD, STDOUT
from limpet.client.programs import Terminal
from limpet.ssh.filetransfer import SFTPError
from limpet.ssh.keys import Key

__all__ = [
    "DISCARD",
    "STDOUT",
    "AuthenticationFailed",
    "Client",
    "ClientError",
    "CommandFailed",
    "CommandTimedOut",
    "ConnectFailed",
    "ConnectionEnded",
    "CopyFailed",
    "CopyProblem",
    "CopyResult",
    "DirectoryEntry",
    "Ending",
    "Files",
    "Forward",
    "HandshakeFailed",
    "HostKeyRefused",
    "Key",
    "Listener",
    "Process",
    "Program",
    "RequestRefused",
    "Result",
    "SFTPError",
    "Terminal",
    "connect",
    "listen",
    "reactor_for",
    "sessions",
]
