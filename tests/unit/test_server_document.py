"""The programs of docs/server.md do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.portal import Portal
from twisted.logger import STDLibLogObserver, globalLogBeginner

from limpet import aio
from limpet.checkers import KeyboardInteractiveChecker
from limpet.client.errors import AuthenticationFailed
from limpet.client.programs import Terminal
from limpet.ssh.factory import SSHFactory
from limpet.testing import MemoryNetwork
from tests.pair.stack import HOST_KEY

TEXT = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
ASYNCIO, TWISTED, QUESTIONS, LOGGING = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def given(source: str, old: str, new: str) -> str:
    assert old in source
    return source.replace(old, new)


def parts(tmp_path: Path, without: str = "") -> dict[str, Any]:
    """What the first program defines, without a line of it."""
    (tmp_path / "host_key").write_bytes(HOST_KEY.toString("OPENSSH"))
    source = given(ASYNCIO, '"host_key"', repr(str(tmp_path / "host_key")))
    source = given(source, "asyncio.run(main())", "")
    source = given(source, "aio.listen(factory, 2222)", "aio.listen(factory, 0)")
    source = given(source, "await listener.serve_forever()", "await use(listener)")
    defined: dict[str, Any] = {}
    exec(given(source, without, ""), defined)
    return defined


def factoryOf(defined: dict[str, Any], checker: Any) -> SSHFactory:
    factory = SSHFactory()
    factory.privateKeys = {b"ssh-ed25519": HOST_KEY}
    factory.publicKeys = {b"ssh-ed25519": HOST_KEY.public()}
    factory.portal = Portal(defined["Realm"](), [checker])
    return factory


def test_onAsyncio(tmp_path: Path) -> None:
    defined = parts(tmp_path)
    results = []

    async def use(listener: aio.Listener) -> None:
        async with (
            listener,
            aio.connect(
                "ann@127.0.0.1",
                port=listener.port,
                password="secret",
                host_keys=[HOST_KEY.public()],
                config_files=(),
                only=True,
            ) as client,
        ):
            results.append(await client.run("ls"))

    defined["use"] = use
    defined["asyncio"].run(defined["main"]())
    assert results[0].stdout == b"Hello, ann. You said: 'ls'\n"
    assert results[0].exit_status == 3


def test_withTwisted(tmp_path: Path) -> None:
    defined = parts(tmp_path, without="registerAdapter(aio.sessions(play), User, ISession)")
    exec(TWISTED, defined)
    checker = defined["InMemoryUsernamePasswordDatabaseDontUse"](ann=b"secret")
    network = MemoryNetwork()
    client = network.logIn(factoryOf(defined, checker), "ann", password="secret")
    result = network.result(client.run("ls"))
    assert (result.stdout, result.exitStatus) == (b"you want ls\n", 3)
    shell = network.result(client.start(terminal=Terminal(rows=24, columns=80)))
    shell.resize(50, 132)
    shell.write(b"north\r")
    network.settle()
    assert b"you typed north" in network.result(shell.read())
    shell.writeEOF()
    network.result(shell.wait())


def test_questions(tmp_path: Path) -> None:
    defined = parts(tmp_path)
    exec(QUESTIONS, defined)
    factory = factoryOf(defined, KeyboardInteractiveChecker(defined["Registration"]()))
    asked = []

    def answering(password: bytes) -> Any:
        def answer(title: bytes, text: bytes, prompts: list[tuple[bytes, bool]]) -> list[bytes]:
            asked.append((title, prompts))
            return [password]

        return answer

    network = MemoryNetwork()
    for _ in range(2):
        network.logIn(factory, "ann", answer=answering(b"first"))
    assert asked == [(b"Welcome", [(b"Password: ", False)]), (b"Welcome back", asked[0][1])]
    with pytest.raises(AuthenticationFailed):
        network.logIn(factory, "ann", answer=answering(b"second"))


def test_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are right; to begin twice would be noise in the other tests."""
    begun = []
    monkeypatch.setattr(globalLogBeginner, "beginLoggingTo", lambda *a, **k: begun.append((a, k)))
    exec(LOGGING, {})
    ((observers,), options) = begun[0]
    assert isinstance(observers[0], STDLibLogObserver)
    assert options == {"redirectStandardIO": False}
