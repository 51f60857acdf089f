"""The commands that a person types at `limpet sftp`: those of OpenSSH's sftp."""

from limpet.client.sftpshell.shell import CommandError, LeaveShell, Shell

__all__ = ["CommandError", "LeaveShell", "Shell"]
