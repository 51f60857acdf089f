"""User authentication, server and client (RFC 4252, RFC 4256)."""

from limpet.ssh.userauth.client import SSHUserAuthClient
from limpet.ssh.userauth.context import (
    AuthenticationContext,
    KeyboardInteractiveCredentials,
    PasswordChangeCredentials,
    PasswordCredentials,
    PublicKeyCredentials,
)
from limpet.ssh.userauth.numbers import (
    MSG_USERAUTH_BANNER,
    MSG_USERAUTH_FAILURE,
    MSG_USERAUTH_INFO_REQUEST,
    MSG_USERAUTH_INFO_RESPONSE,
    MSG_USERAUTH_PASSWD_CHANGEREQ,
    MSG_USERAUTH_PK_OK,
    MSG_USERAUTH_REQUEST,
    MSG_USERAUTH_SUCCESS,
    messages,
)
from limpet.ssh.userauth.server import SSHUserAuthServer

__all__ = [
    "MSG_USERAUTH_BANNER",
    "MSG_USERAUTH_FAILURE",
    "MSG_USERAUTH_INFO_REQUEST",
    "MSG_USERAUTH_INFO_RESPONSE",
    "MSG_USERAUTH_PASSWD_CHANGEREQ",
    "MSG_USERAUTH_PK_OK",
    "MSG_USERAUTH_REQUEST",
    "MSG_USERAUTH_SUCCESS",
    "AuthenticationContext",
    "KeyboardInteractiveCredentials",
    "PasswordChangeCredentials",
    "PasswordCredentials",
    "PublicKeyCredentials",
    "SSHUserAuthClient",
    "SSHUserAuthServer",
    "messages",
]
