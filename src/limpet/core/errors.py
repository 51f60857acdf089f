"""How a peer can break the protocol, each way with the reason code that ends the connection.

    ProtocolViolation                 DISCONNECT_PROTOCOL_ERROR (2)
    ├── MalformedMessage              2   a message that does not parse
    ├── UnexpectedMessage             2   a message that its phase does not allow
    ├── LimitExceeded                 2   more of something than we allow
    ├── VersionViolation              8   an identification string that is none
    ├── KeyExchangeFailed             3   nothing in common, or a value that is not acceptable
    │   └── NoCommonAlgorithm         3   with what both sides offered
    ├── IntegrityFailure              5   one text for all causes, so that it tells nothing
    ├── CompressionFailure            6
    ├── ServiceUnavailable            7
    ├── HostKeyRejected               9
    ├── TooManyAttempts               14
    └── ConnectionTimedOut            11  a limit of time ran out

`SSHTransportBase.dataReceived` is the one place that turns these into MSG_DISCONNECT. A `WireError`
that escapes a message handler counts there as `MalformedMessage`.
"""

from __future__ import annotations

from limpet.wire import numbers


class ProtocolViolation(Exception):
    """The peer broke the protocol; the connection ends with `reasonCode`.

    Args:
        message: What happened, in words for the log and for MSG_DISCONNECT; it never holds secrets.
    """

    reasonCode: int = numbers.DISCONNECT_PROTOCOL_ERROR

    @property
    def description(self) -> str:
        """The words that go into MSG_DISCONNECT."""
        return str(self)


class MalformedMessage(ProtocolViolation):
    """A message does not have the form that its number gives it."""


class UnexpectedMessage(ProtocolViolation):
    """A message came in a phase that does not allow it, or from the wrong role."""


class LimitExceeded(ProtocolViolation):
    """The peer sent more of something than we allow."""


class VersionViolation(ProtocolViolation):
    """The identification string is missing, too long, or of another protocol version."""

    reasonCode = numbers.DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED


class KeyExchangeFailed(ProtocolViolation):
    """The exchange of keys cannot go on: a value outside its range, a wrong length."""

    reasonCode = numbers.DISCONNECT_KEY_EXCHANGE_FAILED


class NoCommonAlgorithm(KeyExchangeFailed):
    """Both sides' lists of one kind of algorithm have nothing in common.

    Args:
        kind: What was being chosen, as a person would say it: "cipher (client to server)".
        ours: What we offered, in our order.
        theirs: What the peer offered, in its order.
    """

    def __init__(self, kind: str, ours: tuple[bytes, ...], theirs: tuple[bytes, ...]) -> None:
        self.kind = kind
        self.ours = ours
        self.theirs = theirs
        super().__init__(kind, ours, theirs)

    def __str__(self) -> str:
        def listed(names: tuple[bytes, ...]) -> str:
            shown = b", ".join(names[:20]).decode("ascii", "backslashreplace")
            return (shown or "nothing") + (", …" if len(names) > 20 else "")

        return (
            f"no common {self.kind}: we offer {listed(self.ours)}; "
            f"the peer offers {listed(self.theirs)}"
        )


class IntegrityFailure(ProtocolViolation):
    """A packet's integrity check failed; all causes share one text."""

    reasonCode = numbers.DISCONNECT_MAC_ERROR

    def __init__(self) -> None:
        super().__init__("message integrity check failed")


class CompressionFailure(ProtocolViolation):
    """A compressed payload does not inflate, or to more than a packet may hold."""

    reasonCode = numbers.DISCONNECT_COMPRESSION_ERROR


class ServiceUnavailable(ProtocolViolation):
    """The requested service does not exist, or not yet."""

    reasonCode = numbers.DISCONNECT_SERVICE_NOT_AVAILABLE


class HostKeyRejected(ProtocolViolation):
    """The host key, or its signature over the exchange hash, was not accepted."""

    reasonCode = numbers.DISCONNECT_HOST_KEY_NOT_VERIFIABLE


class TooManyAttempts(ProtocolViolation):
    """The bounded number of authentication attempts is used up."""

    reasonCode = numbers.DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE


class ConnectionTimedOut(ProtocolViolation):
    """A limit of time ran out: login grace, key exchange, keepalive."""

    reasonCode = numbers.DISCONNECT_BY_APPLICATION
