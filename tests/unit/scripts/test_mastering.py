"""`limpet ssh` as a master: where it shares, what it says of that, and how it asks."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.task import Clock

from limpet.client.config import loadClientConfig
from limpet.client.controlsocket import ControlSocket
from limpet.client.interaction import NobodyToAsk
from limpet.client.mastering import ControlMaster
from limpet.scripts.mastering import Consent, share
from limpet.scripts.messages import Loudness, Messages


class StillReactor(Clock):
    """Time, and nothing that is read by itself."""

    def addReader(self, reader: object) -> None:
        """Nobody looks."""

    removeReader = addReader


def shared(messages: Messages, path: Path | str | None, master: str) -> ControlMaster | None:
    options = [("ControlMaster", master)]
    if path is not None:
        options.append(("ControlPath", str(path)))
    connection: Any = SimpleNamespace(
        reactor=StillReactor(),
        config=loadClientConfig("web", overrides=options, files=()),
        connection=SimpleNamespace(channels={}),
        markPackets=lambda atTerminal: None,
    )
    consent: Any = SimpleNamespace(ask=lambda question: defer.succeed(False))
    makeForwards: Any = None
    return share(connection, makeForwards, consent, messages, lambda: None, lendsAgent=False)


class TestSharing:
    @pytest.mark.parametrize("word", ["yes", "ask", "auto", "autoask"])
    def test_where_it_is_asked_for(self, tmp_path: Path, word: str) -> None:
        master = shared(Messages(), tmp_path / "m", word)
        assert master is not None
        assert (tmp_path / "m").is_socket()
        answers: list[bool] = []
        master.allows("May it").addCallback(answers.append)
        assert answers == ["ask" not in word]
        master.cut()
        assert os.listdir(tmp_path) == []

    def test_where_it_is_not(self, tmp_path: Path) -> None:
        assert shared(Messages(), tmp_path / "m", "no") is None
        assert shared(Messages(), None, "yes") is None
        assert shared(Messages(), "none", "yes") is None
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize(("word", "isSaid"), [("yes", True), ("auto", False)])
    def test_where_another_does_already(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str], word: str, isSaid: bool
    ) -> None:
        path = tmp_path / "m"
        there = ControlSocket.make(str(path))
        assert shared(Messages(), path, word) is None
        assert ("is there already" in capfd.readouterr().err) is isSaid
        assert shared(Messages(loudness=Loudness.VERBOSE), path, word) is None
        assert "is there already" in capfd.readouterr().err
        there.remove()

    def test_where_it_cannot_be(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert shared(Messages(), tmp_path / "none" / "m", "auto") is None
        assert "not shared: cannot listen at" in capfd.readouterr().err


class TestConsent:
    @pytest.fixture(autouse=True)
    def noProgram(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)

    def consent(self, answers: list[Any]) -> tuple[Consent, list[Any]]:
        seen: list[Any] = []
        config = loadClientConfig("web", files=())
        consent = Consent(None, config, lambda text: None, seen.append)
        interface: Any = consent._interface

        def prompt(text: bytes) -> defer.Deferred[bool]:
            seen.append(text)
            answer: defer.Deferred[bool] = answers.pop(0)
            return answer

        interface.prompt = prompt
        return consent, seen

    def test_the_session_leaves_the_terminal_alone_meanwhile(self) -> None:
        first: defer.Deferred[bool] = defer.Deferred()
        consent, seen = self.consent([first, defer.succeed(False)])
        one = consent.ask("One?")
        two = consent.ask("Two?")
        assert seen == [True, b"One? (yes/no) "]
        first.callback(True)
        assert seen == [True, b"One? (yes/no) ", False, True, b"Two? (yes/no) ", False]
        assert (one.result, two.result) == (True, False)

    def test_a_program_needs_no_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSH_ASKPASS", "/bin/true")
        monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
        consent, seen = self.consent([defer.succeed(True)])
        answers: list[bool] = []
        consent.ask("One?").addCallback(answers.append)
        assert (seen, answers) == ([b"One? (yes/no) "], [True])

    def test_nobody_says_no(self) -> None:
        consent, seen = self.consent([defer.fail(NobodyToAsk("no"))])
        answers: list[bool] = []
        consent.ask("One?").addCallback(answers.append)
        assert answers == [False]
        assert seen[-1] is False

    def test_nobody_is_asked_for_one_who_is_gone(self) -> None:
        consent, seen = self.consent([defer.Deferred()])
        one = consent.ask("One?")
        two = consent.ask("Two?")
        failures: list[Any] = []
        two.addErrback(failures.append)
        two.cancel()
        one.cancel()
        # The terminal is the session's again.
        assert seen == [True, b"One? (yes/no) ", False]
        assert one.result is False
        assert failures[0].check(defer.CancelledError)
