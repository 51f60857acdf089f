"""A client as Twisted's documentation tells to write one: transport, user authentication, channel.

    python -m limpet.conch -- simpleClient.py PORT USER PASSWORD FINGERPRINT COMMAND

Runs the command, gives it its own input, prints what comes, and ends with the command's status.
All of SSH is imported from `twisted.conch`.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

from twisted.conch.ssh import channel, common, connection, keys, transport, userauth
from twisted.internet import defer, protocol, reactor

result = {"status": 255}


class Transport(transport.SSHClientTransport):
    """Knows the server by the fingerprint that it was told."""

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Any:
        shown = keys.Key.fromString(hostKey).fingerprint(keys.FingerprintFormats.SHA256_BASE64)
        if shown != self.factory.fingerprint:
            return defer.fail(Exception(f"another host key: {shown}"))
        return defer.succeed(True)

    def connectionSecure(self) -> None:
        self.requestService(UserAuth(self.factory.user, Connection(), self.factory.password))

    def connectionLost(self, reason: Any) -> None:
        transport.SSHClientTransport.connectionLost(self, reason)
        reactor.stop()


class UserAuth(userauth.SSHUserAuthClient):
    """Has a password and no key."""

    def __init__(self, user: bytes, instance: Any, password: str) -> None:
        userauth.SSHUserAuthClient.__init__(self, user, instance)
        self.password = password

    def getPassword(self, prompt: Any = None) -> Any:
        return defer.succeed(self.password)

    def getPublicKey(self) -> None:
        return None


class Connection(connection.SSHConnection):
    """Opens its one channel."""

    def serviceStarted(self) -> None:
        self.openChannel(Command(2**16, 2**15, self))


class Command(channel.SSHChannel):
    """Runs the command."""

    name = b"session"

    def openFailed(self, reason: Any) -> None:
        print("no channel:", reason, file=sys.stderr)
        self.conn.transport.loseConnection()

    def channelOpen(self, data: bytes) -> None:
        command = self.conn.transport.factory.command
        started = self.conn.sendRequest(self, "exec", common.NS(command), wantReply=1)
        started.addCallbacks(self._started, self._refused)

    def _started(self, ignored: Any) -> None:
        self.write(sys.stdin.buffer.read())
        self.conn.sendEOF(self)

    def _refused(self, reason: Any) -> None:
        print("refused:", reason.getErrorMessage(), file=sys.stderr)
        self.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        if dataType == connection.EXTENDED_DATA_STDERR:
            sys.stderr.buffer.write(data)

    def request_exit_status(self, data: bytes) -> None:
        result["status"] = struct.unpack(">L", data)[0]

    def closed(self) -> None:
        self.loseConnection()
        self.conn.transport.loseConnection()


class Factory(protocol.ClientFactory):
    """One connection."""

    protocol = Transport

    def __init__(self, user: bytes, password: str, fingerprint: str, command: bytes) -> None:
        self.user, self.password = user, password
        self.fingerprint, self.command = fingerprint, command


def main(port: int, user: str, password: str, fingerprint: str, command: str) -> int:
    factory = Factory(user.encode(), password, fingerprint, command.encode())
    reactor.connectTCP("127.0.0.1", port, factory)
    reactor.run()
    return result["status"]


if __name__ == "__main__":
    status = main(int(sys.argv[1]), *sys.argv[2:6])
    sys.stdout.flush()
    sys.exit(status)
