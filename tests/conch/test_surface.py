"""Limpet's surface against the installed Conch's: nothing is missing that no line tells of."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conch.programs import ROOT, environment

DIFFERENCES = ROOT / "docs" / "differences.md"

# What applications use although its name says that they should not (conch-contract, section 2),
# and what is there only on an instance.
USED_ALL_THE_SAME = {
    "ssh.keys": ("_getPersistentRSAKey",),
    "ssh.transport.SSHTransportBase": (
        "_KEY_EXCHANGE_NONE",
        "_KEY_EXCHANGE_PROGRESSING",
        "_KEY_EXCHANGE_REQUESTED",
        "_allowedKeyExchangeMessageType",
        "_blockedByKeyExchange",
        "_getKey",
        "_keyExchangeState",
        "_keySetup",
        "_log",
        "_newKeys",
        "_unsupportedVersionReceived",
        "buf",
        "currentEncryptions",
        "getPacket",
        "gotVersion",
        "ignoreNextPacket",
        "incomingCompression",
        "incomingPacketSequence",
        "otherVersionString",
        "outgoingCompression",
        "outgoingPacketSequence",
        "peerExtensions",
        "sessionID",
    ),
    "ssh.transport.SSHCiphers": ("encBlockSize", "decBlockSize", "verifyDigestSize"),
    "ssh.connection.SSHConnection": (
        "_cbChannelRequest",
        "_cleanupGlobalDeferreds",
        "_ebChannelRequest",
        "_log",
    ),
    "ssh.session.SSHSessionProcessProtocol": ("_getSignalName",),
    "ssh.userauth.SSHUserAuthServer": (
        "_cbFinishedAuth",
        "_ebBadAuth",
        "_ebCheckKey",
        "_ebMaybeBadAuth",
        "_ebPassword",
        "attemptsBeforeDisconnect",
        "interfaceToMethod",
        "loginTimeout",
        "nextService",
        "passwordDelay",
        "user",
    ),
    "ssh.userauth.SSHUserAuthClient": ("preferredOrder",),
    "ssh.forwarding.SSHConnectForwardingChannel": ("_close",),
    "avatar.ConchUser": ("lookupChannel", "lookupSubsystem", "gotGlobalRequest"),
}


@functools.cache
def found() -> dict[str, str]:
    """Name to what differs; in a process of its own, as Conch's modules install a reactor."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).with_name("surface.py"))],
        env=environment(Path("/")),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    differences: dict[str, str] = json.loads(done.stdout)
    return differences


@functools.cache
def intended() -> list[str]:
    """The patterns in the table of the section "Names"."""
    section = DIFFERENCES.read_text(encoding="utf-8").split("\n## Names\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row)]


def covers(pattern: str, name: str) -> bool:
    """Whether a line about `pattern` is one about `name`, or about what `name` is a part of."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, pattern + ".*")


def test_everyDifferenceIsIntended() -> None:
    surprises = {
        name: why
        for name, why in found().items()
        if not any(covers(pattern, name) for pattern in intended())
    }
    assert surprises == {}


def test_everyLineIsAboutADifference() -> None:
    assert len(intended()) > 10
    idle = [pattern for pattern in intended() if not any(covers(pattern, name) for name in found())]
    assert idle == []


def test_aDifferenceWouldBeSeen() -> None:
    # The comparison itself looks at names, attributes and calls.
    assert found()["ssh.common.install"] == "is missing"
    assert found()["ssh.common.NS"] == "calls t value"


@pytest.mark.parametrize("place", sorted(USED_ALL_THE_SAME))
def test_whatApplicationsUseAllTheSame(place: str) -> None:
    module, _, name = place.rpartition(".")
    if name[:1].islower():
        module, name = place, ""
    thing = importlib.import_module(f"limpet.{module}")
    if name:
        thing = getattr(thing, name)
    missing = [
        attribute
        for attribute in USED_ALL_THE_SAME[place]
        if not hasattr(thing, attribute)
        and not any(attribute in vars(c).get("__annotations__", {}) for c in _bases(thing))
    ]
    assert missing == []


def _bases(thing: object) -> tuple[type, ...]:
    return thing.__mro__ if isinstance(thing, type) else ()
