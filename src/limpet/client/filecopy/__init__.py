"""Copying files over SFTP: to a server, from one, and between two."""

from limpet.client.filecopy.channel import SFTPChannel, openSFTP
from limpet.client.filecopy.copying import CopyOptions, CopyResult, Progress
from limpet.client.filecopy.names import SuspiciousName
from limpet.client.filecopy.problems import CopyFailed, CopyProblem
from limpet.client.filecopy.remotefiles import DirectoryEntry, RemoteFiles

__all__ = [
    "CopyFailed",
    "CopyOptions",
    "CopyProblem",
    "CopyResult",
    "DirectoryEntry",
    "Progress",
    "RemoteFiles",
    "SFTPChannel",
    "SuspiciousName",
    "openSFTP",
]
