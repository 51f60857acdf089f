"""Whether the time of a refusal tells which users exist (attacks.md E14).

    .venv/bin/python -m benchmarks.guessing --samples 10000

For each way to ask, requests for a user who exists and for one who does not come in random order,
and the times until the answers are compared by Welch's test. |t| above 4.5 is a difference that
chance makes once in a hundred thousand times. Each name has a delay of its own, known or not, which
would be all that is seen; here all names have the same one, and only what is left can differ.

A machine that does something else at the same time makes the times longer, not different; |t| stays
what it is, with fewer digits to be seen in it.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bcrypt
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer
from twisted.internet.address import IPv4Address
from zope.interface import implementer

from limpet._reactor import getReactor
from limpet.checkers import AuthorizedKeysFiles, SSHPublicKeyChecker, UNIXPasswordDatabase
from limpet.core import authentication
from limpet.core.authentication import PublicKeyFields, encodePublicKey
from limpet.ssh.keys import Key
from limpet.ssh.userauth import SSHUserAuthServer
from limpet.wire.fields import NS

KNOWN, UNKNOWN = b"alice", b"mallory"

LIMIT = 4.5

DELAY_SECONDS = 0.006
"""In place of the 5 to 9 ms that a name's secret makes."""

PASSWORD_DELAY_SECONDS = 0.02
"""In place of a second, so that ten thousand guesses take minutes and not hours."""

MSG_USERAUTH_FAILURE = 51


class Service(SSHUserAuthServer):
    """The service itself, with limits that let it be asked for ever."""

    attemptsBeforeDisconnect = maxKeyQueries = maxRequests = sys.maxsize
    passwordDelay = PASSWORD_DELAY_SECONDS


class Transport:
    """What the service needs of a connection, and the moment of its answer."""

    sessionID = b"a session"
    hostKeyBlob = b""
    loginGraceSeconds = 0.0

    def __init__(self, portal: Portal) -> None:
        self.factory = SimpleNamespace(portal=portal)
        self.clock = getReactor()
        self.peerExtensions: dict[bytes, bytes] = {}
        self.answered: defer.Deferred[float] | None = None

    def sendPacket(self, number: int, payload: bytes) -> None:
        now = time.perf_counter()
        answered, self.answered = self.answered, None
        if number != MSG_USERAUTH_FAILURE or answered is None:
            raise RuntimeError(f"message {number} is not a refusal")
        # Not from within: the service is still busy with the request.
        self.clock.callLater(0, answered.callback, now)

    def sendDisconnect(self, reason: int, text: bytes) -> None:
        raise RuntimeError(text)

    def isEncrypted(self, direction: str = "out") -> bool:
        return True

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "192.0.2.7", 50000)

    def logPrefix(self) -> str:
        return "guess"


def requestsOf(key: Key, stranger: Key) -> dict[str, Callable[[bytes], bytes]]:
    """The ways to ask: a name to the message for a user."""

    def by(method: bytes, fields: bytes) -> Callable[[bytes], bytes]:
        return lambda user: NS(user) + NS(b"ssh-connection") + NS(method) + fields

    def publicKey(asked: Key, signature: bytes | None) -> Callable[[bytes], bytes]:
        fields = PublicKeyFields(asked.sshType(), asked.blob(), signature)
        return by(b"publickey", encodePublicKey(fields))

    return {
        "none": by(b"none", b""),
        "a key that nobody has": publicKey(stranger, None),
        "a wrong signature": publicKey(stranger, stranger.sign(b"other")),
        "a wrong signature by a user's key": publicKey(key, key.sign(b"other")),
        "a key that is cut short": by(
            b"publickey", b"\0" + NS(key.sshType()) + NS(key.blob()[:20])
        ),
        "a password": by(b"password", b"\0" + NS(b"guess")),
    }


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Welch's t of two samples, without the slowest twentieth, which the machine makes."""
    kept = [sorted(sample)[: len(sample) * 19 // 20] for sample in (first, second)]
    error = math.sqrt(sum(statistics.variance(sample) / len(sample) for sample in kept))
    return (statistics.fmean(kept[0]) - statistics.fmean(kept[1])) / error


@implementer(IRealm)
class NobodysRealm:
    """Where nobody gets."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        raise RuntimeError("a guess was right")


class Guesser:
    """Asks, and keeps the times."""

    def __init__(self, home: Path) -> None:
        key, stranger = Key.generate("ed25519"), Key.generate("ed25519")
        keys = home / "authorized_keys"
        keys.write_bytes(key.public().toString("openssh") + b"\n")
        users = SimpleNamespace(getpwnam=lambda name: self._record(name, home))
        stored = bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode("ascii")
        checkers = [
            SSHPublicKeyChecker(
                AuthorizedKeysFiles([str(keys)], userdb=users, strict=False, inThread=False)
            ),
            UNIXPasswordDatabase([lambda name: ("", stored) if name == "alice" else None]),
        ]
        self.requests = requestsOf(key, stranger)
        self.transport = Transport(Portal(NobodysRealm(), checkers))
        self.service = Service()
        self.service.transport = self.transport
        self.service.serviceStarted()

    def _record(self, name: str, home: Path) -> Any:
        if name != KNOWN.decode("ascii"):
            raise KeyError(name)
        return SimpleNamespace(pw_name=name, pw_dir=str(home), pw_uid=0, pw_gid=0)

    async def timesOf(self, request: Callable[[bytes], bytes], count: int) -> list[list[float]]:
        """The seconds of so many refusals each, for one who exists and one who does not."""
        times: list[list[float]] = [[], []]
        users = [0, 1] * count
        random.shuffle(users)
        for user in users:
            payload = request((KNOWN, UNKNOWN)[user])
            answered: defer.Deferred[float] = defer.Deferred()
            self.transport.answered = answered
            before = time.perf_counter()
            self.service.ssh_USERAUTH_REQUEST(payload)
            times[user].append(await answered - before)
        return times


async def guess(samples: int) -> bool:
    """Print a line for each way to ask; whether none tells anything."""
    good = True
    with tempfile.TemporaryDirectory() as home:
        guesser = Guesser(Path(home))
        for name, request in guesser.requests.items():
            known, unknown = await guesser.timesOf(request, samples)
            t = welch(known, unknown)
            good = good and abs(t) < LIMIT
            print(
                f"{name:36} {statistics.median(known) * 1e6:9.1f} µs known"
                f" {statistics.median(unknown) * 1e6:9.1f} µs unknown   t = {t:+.2f}"
            )
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guessing", description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000, help="for each kind of user")
    options = parser.parse_args(arguments)
    authentication.failureDelay = lambda secret, user: DELAY_SECONDS
    outcome: list[Any] = []
    reactor = getReactor()

    def start() -> None:
        done = defer.ensureDeferred(guess(options.samples))
        done.addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    if not isinstance(outcome[0], bool):
        outcome[0].raiseException()
    return 0 if outcome[0] else 1


if __name__ == "__main__":
    sys.exit(main())
