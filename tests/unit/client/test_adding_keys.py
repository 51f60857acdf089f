"""AddKeysToAgent: a key from a file that the server takes is given to the agent, as was asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer

from limpet.client.authenticating import ConfiguredUserAuth, Credentials
from limpet.client.config import ClientConfig
from limpet.client.identities import readIdentityFile
from limpet.ssh.keys import Key, createKeyFiles
from limpet.ssh.service import SSHService
from limpet.wire.agent import Constraints
from tests.keymaking import makeKey

KEY = makeKey()


class Agent:
    """Remembers what it is given, or refuses it."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.given: list[tuple[bytes, bytes, Constraints]] = []

    def addIdentity(self, blob: bytes, comment: bytes, constraints: Constraints) -> Any:
        if self.failure is not None:
            return defer.fail(self.failure)
        self.given.append((blob, comment, constraints))
        return defer.succeed(None)


class Person:
    def __init__(self, answer: Any = True) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self.told: list[bytes] = []

    def prompt(self, text: bytes) -> Any:
        self.asked.append(text)
        return self.answer

    def warn(self, text: bytes) -> None:
        self.told.append(text)

    def ask(self, prompt: bytes, echo: bool) -> Any:
        return defer.succeed(b"secret")


def sign(path: Path, agent: Agent | None, person: Person, **changes: Any) -> Any:
    """What signing with the key in `path` gives."""
    config = replace(ClientConfig("h", "h", user="u"), **changes)
    auth = ConfiguredUserAuth(config, SSHService(), Credentials(), person, None)
    auth.agent = agent
    auth.signatureAlgorithm = b"ssh-ed25519"
    auth.tried.append("the key")
    results: list[Any] = []
    signing = auth.signData(readIdentityFile(path), b"data")
    assert signing is not None
    signing.addBoth(results.append)
    return results[0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "key"
    createKeyFiles(KEY, made, comment="me@here")
    return made


@pytest.mark.parametrize(
    ("wanted", "seconds", "expected"),
    [
        ("yes", None, Constraints()),
        ("yes", 3600, Constraints(3600)),
        ("confirm", None, Constraints(confirm=True)),
        ("confirm", 60, Constraints(60, True)),
    ],
)
def test_a_key_is_added(
    path: Path, wanted: str, seconds: int | None, expected: Constraints
) -> None:
    agent = Agent()
    changes = {"addKeysToAgent": wanted, "addKeysToAgentSeconds": seconds}
    signature = sign(path, agent, Person(), **changes)
    assert KEY.public().verify(signature, b"data")
    assert agent.given == [(KEY.privateBlob(), b"me@here", expected)]


def test_nothing_is_added_unless_that_was_asked_for(path: Path) -> None:
    agent = Agent()
    assert isinstance(sign(path, agent, Person()), bytes)
    assert isinstance(sign(path, None, Person(), addKeysToAgent="yes"), bytes)
    assert agent.given == []


@pytest.mark.parametrize("answer", [True, False, None, defer.fail(ValueError("gone"))], ids=repr)
def test_the_person_may_be_asked(path: Path, answer: Any) -> None:
    agent, person = Agent(), Person(answer)
    assert isinstance(sign(path, agent, person, addKeysToAgent="ask"), bytes)
    assert b"me@here" in person.asked[0]
    assert bool(agent.given) is (answer is True)


def test_an_agent_that_refuses_does_not_keep_the_user_out(path: Path) -> None:
    person = Person()
    signature = sign(path, Agent(ValueError("no room")), person, addKeysToAgent="yes")
    assert isinstance(signature, bytes)
    assert b"no room" in person.told[0]


def test_a_key_with_a_passphrase_is_added_open(tmp_path: Path) -> None:
    made = tmp_path / "locked"
    createKeyFiles(KEY, made, comment="c", passphrase="secret")
    agent = Agent()
    assert isinstance(sign(made, agent, Person(), addKeysToAgent="yes"), bytes)
    assert agent.given[0][0] == Key.fromFile(made, passphrase="secret").privateBlob()
