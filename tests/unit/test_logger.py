"""limpet._logger: what a class logs, and what it does not keep alive."""

from __future__ import annotations

import gc
import weakref

from twisted.logger import LimitedHistoryLogObserver

from limpet._logger import ClassLogger


class Speaker:
    log = ClassLogger(observer=LimitedHistoryLogObserver())


class Heir(Speaker):
    pass


def events() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    Speaker.log.observer.replayTo(found.append)  # type: ignore[attr-defined]
    return found


def test_anEventKeepsNobodyAlive() -> None:
    speaker = Speaker()
    ended = weakref.ref(speaker)
    speaker.log.info("a word of {who}", who="the speaker")
    del speaker
    assert ended() is None
    assert events()[-1]["who"] == "the speaker"


def test_theClassIsNamed() -> None:
    Speaker().log.info("one")
    Heir().log.info("two")
    Heir.log.info("three")
    here = __name__
    assert [event["log_namespace"] for event in events()[-3:]] == [
        f"{here}.Speaker",
        f"{here}.Heir",
        f"{here}.Heir",
    ]


def test_aClassIsForgotten() -> None:
    class Passing(Speaker):
        pass

    Passing.log.info("a word")
    before = len(Speaker.__dict__["log"]._ofClass)
    del Passing
    gc.collect()
    assert len(Speaker.__dict__["log"]._ofClass) == before - 1
