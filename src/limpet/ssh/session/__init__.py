"""Sessions: a shell, a command or a subsystem on a channel (RFC 4254 section 6)."""

from limpet.interfaces import EnvironmentVariableNotPermitted, ISession, ISessionSetEnv
from limpet.ssh.session.channel import SSHSession
from limpet.ssh.session.process import SSHSessionProcessProtocol
from limpet.ssh.session.requests import (
    packRequest_pty_req,
    packRequest_window_change,
    parseRequest_pty_req,
    parseRequest_window_change,
)
from limpet.ssh.session.signals import SUPPORTED_SIGNALS
from limpet.ssh.session.wrappers import SSHSessionClient, wrapProcessProtocol, wrapProtocol

__all__ = [
    "SUPPORTED_SIGNALS",
    "EnvironmentVariableNotPermitted",
    "ISession",
    "ISessionSetEnv",
    "SSHSession",
    "SSHSessionClient",
    "SSHSessionProcessProtocol",
    "packRequest_pty_req",
    "packRequest_window_change",
    "parseRequest_pty_req",
    "parseRequest_window_change",
    "wrapProcessProtocol",
    "wrapProtocol",
]
