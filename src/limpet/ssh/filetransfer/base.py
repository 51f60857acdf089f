"""What both sides of SFTP share: messages in and out of a stream, and the error that STATUS is.

Rule: a message is cut out of the stream and handed to `packet_NAME(body)` of its kind; what each
side does with one that it does not know, or that does not parse, is the side's own.
draft-ietf-secsh-filexfer-02.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol

from limpet._logger import ClassLogger
from limpet.core.framing import FrameReceiver
from limpet.wire import sftp
from limpet.wire.errors import BadField
from limpet.wire.fields import Reader


class SFTPError(Exception):
    """A request failed; what STATUS carries.

    Args:
        errorCode: One of FX_*.
        errorMessage: What happened, for people. Text; bytes are taken as UTF-8.
        lang: The language of the message (RFC 3066).

    Attributes:
        code: The same as `errorCode`.
        message: The message, as it was given.
        lang: The language.
    """

    def __init__(self, errorCode: int, errorMessage: Any, lang: Any = "") -> None:
        super().__init__(errorCode, errorMessage)
        self.code = errorCode
        self._message = errorMessage
        self.lang = lang

    @property
    def message(self) -> Any:
        """What happened, for people."""
        return self._message

    def __str__(self) -> str:
        message = self.message
        if isinstance(message, bytes):
            message = message.decode("utf-8", "backslashreplace")
        return f"SFTPError {self.code}: {message}"


class FileTransferBase(Protocol):
    """One side of an SFTP session.

    Attributes:
        versions: The versions of the protocol that are spoken.
        packetTypes: Kind of a message to its name; `packet_NAME` handles it.
        version: The version that both sides speak, once they have told each other.
        otherVersion: What the other side said; None before.
    """

    versions: ClassVar[tuple[int, ...]] = (sftp.VERSION,)
    packetTypes: ClassVar[dict[int, str]] = sftp.MESSAGE_NAMES

    maxMessageLength = sftp.MAX_MESSAGE_LENGTH
    """Longest message that is taken, in bytes."""

    transport: ITransport | None
    _log = ClassLogger()

    def __init__(self) -> None:
        self.version = sftp.VERSION
        self.otherVersion: int | None = None
        self._frames = FrameReceiver(self.maxMessageLength)
        self._isPausedHere = False
        self._isEmptying = False
        self._isOver = False

    @property
    def buf(self) -> bytes:
        """Nothing, or a part of a message: how much of it is `frames.pending`'s business."""
        return b""

    def sendPacket(self, kind: int, data: bytes) -> None:
        """Send a message.

        Args:
            kind: FXP_*.
            data: Its body.
        """
        if self.transport is not None:
            self.transport.write(sftp.packFrame(kind, data))

    def dataReceived(self, data: bytes) -> None:
        """Take out of the stream what is complete, and handle it."""
        if self._isOver:
            return
        self._frames.feed(data)
        self._handleFrames()

    def _handleFrames(self) -> None:
        """Handle the messages that are complete, unless `mayContinue` says to wait."""
        if self._isEmptying:
            return
        self._isEmptying = True
        try:
            while not self._isOver and self.mayContinue():
                frame = self._frames.next()
                if frame is None:
                    return
                self.messageReceived(frame[0], frame[1:])
        except BadField as error:
            self.violated(str(error))
        finally:
            self._isEmptying = False

    def mayContinue(self) -> bool:
        """Whether one more message may be handled now. Whoever says no calls `_handleFrames`."""
        return True

    def messageReceived(self, kind: int, data: bytes) -> None:
        """Hand a message to its method. One of no known kind ends the session."""
        name = self.packetTypes.get(kind)
        handler = None if name is None else getattr(self, sys.intern("packet_" + name), None)
        if handler is None:
            self.violated(f"a message of kind {kind}")
        else:
            handler(data)

    def violated(self, why: str) -> None:
        """The other side broke the protocol in a way that leaves nothing to go on with.

        Args:
            why: What it did, for the log.
        """
        if not self._isOver:
            self._isOver = True
            self._frames.clear()
            self._log.info("the SFTP session ends: {why}", why=why)
            if self.transport is not None:
                self.transport.loseConnection()

    def _parseAttributes(self, data: bytes) -> tuple[dict[str, Any], bytes]:
        """The attributes at the front of `data`, and the rest."""
        reader = Reader(data)
        return sftp.readAttrs(reader), reader.rest()

    def _packAttributes(self, attrs: Mapping[str, Any]) -> bytes:
        """The attributes as they go over the wire."""
        return sftp.packAttrs(attrs)
