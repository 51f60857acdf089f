"""What goes wrong while files are copied, told to a person.

Rule: every text names the file, says what happened and who says so; names and words of the server's
are escaped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionClosed

from limpet.client.errors import ClientError, shown
from limpet.ssh.filetransfer.base import SFTPError
from limpet.wire import sftp

LOST = (ConnectionClosed, CancelledError)
"""After these nothing else can be copied either."""


class CopyProblem(ClientError):
    """One file that was not copied, or not as it was asked for.

    Attributes:
        path: The file, as bytes.
        cause: The error behind it, if there is one.
        fatal: Whether nothing more can be copied.
    """

    def __init__(self, path: bytes, what: str, cause: BaseException | None = None) -> None:
        super().__init__(f"{shown(path)}: {what}")
        self.path = path
        self.cause = cause
        self.fatal = isinstance(cause, LOST)


class CopyFailed(ClientError):
    """A copy did not work out as a whole.

    Attributes:
        result: What was copied nevertheless, a `CopyResult`.
        problems: The `CopyProblem`s, in order.
    """

    def __init__(self, problems: Sequence[CopyProblem], result: Any = None) -> None:
        text = str(problems[0])
        if len(problems) > 1:
            text += f" (and {len(problems) - 1} more)"
        super().__init__(text)
        self.problems = list(problems)
        self.result = result


def reasonOf(error: BaseException) -> str:
    """Why something failed, in words."""
    if isinstance(error, CopyProblem):
        return str(error).partition(": ")[2]
    if isinstance(error, CancelledError):
        return "interrupted"
    if isinstance(error, ConnectionClosed):
        return "the connection to the server is gone"
    if isinstance(error, NotImplementedError):
        return "the server does not support this"
    if isinstance(error, EOFError):
        return "the server says that the file ends here"
    if isinstance(error, SFTPError):
        text = shown(error.message) or sftp.STATUS_TEXTS.get(error.code, b"").decode()
        if error.code == sftp.FX_BAD_MESSAGE:
            return text
        return f"the server says: {text}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def isMissing(error: BaseException) -> bool:
    """Whether the error says that there is no such file."""
    return isinstance(error, FileNotFoundError) or (
        isinstance(error, SFTPError) and error.code == sftp.FX_NO_SUCH_FILE
    )
