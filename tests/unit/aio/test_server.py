"""Servers on a plain loop: coroutines as programs, keys and files from the disk."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.python.components import registerAdapter
from zope.interface import implementer

import limpet.aio
from limpet._reactor import getReactor
from limpet.aio import Program, Terminal, reactor_for
from limpet.aio.loops import _LoopThreads
from limpet.avatar import ConchUser
from limpet.checkers import SSHPublicKeyChecker
from limpet.files.filesystem import ConfinedFiles
from limpet.interfaces import IConchUser, ISession, ISFTPServer
from limpet.ssh.channel import SSHChannel
from limpet.ssh.factory import SSHFactory
from limpet.ssh.filetransfer import FileTransferServer
from limpet.ssh.keys import Key
from limpet.ssh.session import SSHSession
from limpet.unix.filetransfer import SFTPServerForUnixConchUser
from limpet.wire.fields import NS
from tests.pair.stack import HOST_KEY

SECONDS = 20.0
KEY = Key.generate("ed25519")


class User(ConchUser):
    def __init__(self, name: bytes, handle: Any, root: Path) -> None:
        super().__init__()
        self.name, self.handle, self.root = name, handle, root
        self.channelLookup[b"session"] = SSHSession
        self.subsystemLookup[b"sftp"] = FileTransferServer


@implementer(IRealm)
class Realm:
    def __init__(self, handle: Any, root: Path) -> None:
        self.handle, self.root = handle, root

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IConchUser, User(avatarId, self.handle, self.root), lambda: None


registerAdapter(lambda user: limpet.aio.sessions(user.handle)(user), User, ISession)
registerAdapter(
    lambda user: SFTPServerForUnixConchUser(user, ConfinedFiles(bytes(user.root))),
    User,
    ISFTPServer,
)


class KeysInAThread:
    """Keys that have to be waited for."""

    def getAuthorizedKeys(self, username: bytes) -> Any:
        reactor = getReactor()
        arrived: defer.Deferred[Any] = defer.Deferred()

        def told(succeeded: bool, keys: Any) -> None:
            reactor.callFromThread(arrived.callback, keys)

        reactor.getThreadPool().callInThreadWithCallback(told, lambda: [KEY.public()])
        return arrived


def serving(handle: Any, root: Path, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run `use` with a client of a server whose programs `handle` plays."""

    async def main() -> Any:
        factory = SSHFactory()
        factory.privateKeys = {b"ssh-ed25519": HOST_KEY}
        factory.publicKeys = {b"ssh-ed25519": HOST_KEY.public()}
        factory.portal = Portal(Realm(handle, root), [SSHPublicKeyChecker(KeysInAThread())])
        async with (
            await limpet.aio.listen(factory) as listener,
            limpet.aio.connect(
                "ann@127.0.0.1",
                port=listener.port,
                keys=[KEY],
                host_keys=[HOST_KEY.public()],
                config_files=(),
                only=True,
            ) as client,
        ):
            return await use(client)

    return asyncio.run(asyncio.wait_for(main(), SECONDS))


async def play(program: Program) -> int | None:
    """A program for each kind of thing that a program does."""
    words = (program.command or "shell").split()
    match words:
        case ["upper"]:
            async for line in program:
                program.write(line.upper())
                await program.drain()
            return None
        case ["fail"]:
            raise OSError("this is what was to happen")
        case ["both"]:
            program.write(b"out")
            program.write_error(b"err")
            return 7
        case ["wait"]:
            program.write(b"ready")
            await asyncio.Event().wait()
        case ["tell"]:
            program.write(repr((program.terminal, program.environment)).encode())
            program.write(program.user.name)
        case ["size"]:
            program.write(b"ready")
            while program.terminal and program.terminal.rows == 24:
                await asyncio.sleep(0)
            program.write(repr(program.terminal).encode())
        case _:
            program.write(b"$ " + await program.read(3))
    return None


def test_aCoroutineReadsAndWrites(tmp_path: Path) -> None:
    async def use(client: Any) -> Any:
        lines = b"".join(b"line %d\n" % number for number in range(20_000))
        shouted = await client.run("upper", input=lines + b"rest")
        assert shouted.stdout == (lines + b"rest").upper()
        both = await client.run("both")
        shell = await client.start()
        shell.write(b"abcdef")
        return shouted.exit_status, both, await shell.read_all(), (await shell.wait()).exit_status

    status, both, shell, ended = serving(play, tmp_path, use)
    assert (status, shell, ended) == (0, b"$ abc", 0)
    assert (both.stdout, both.stderr, both.exit_status) == (b"out", b"err", 7)


def test_aLineThatDoesNotEndComesInPieces(tmp_path: Path) -> None:
    """A client sends what it likes: nothing is lost, nothing raised, and memory is bounded."""
    pieces = []

    async def handle(program: Program) -> None:
        pieces.extend([line async for line in program])

    async def use(client: Any) -> Any:
        return (await client.run("take", input=bytes(300_000) + b"\nrest\n")).exit_status

    assert serving(handle, tmp_path, use) == 0
    assert b"".join(pieces) == bytes(300_000) + b"\nrest\n"
    assert pieces[-1] == b"rest\n"
    assert len(pieces) > 2
    assert max(map(len, pieces)) < 2**20


def test_aProgramThatRaisesEndsAlone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def use(client: Any) -> Any:
        failed = await client.run("fail")
        return failed.exit_status, failed.stdout, (await client.run("both")).exit_status

    assert serving(play, tmp_path, use) == (1, b"", 7)


def test_itIsCancelledByASignalAndWhenTheClientGoes(tmp_path: Path) -> None:
    cancelled = []

    async def handle(program: Program) -> int | None:
        try:
            return await play(program)
        except asyncio.CancelledError:
            cancelled.append(program.command)
            raise

    async def use(client: Any) -> Any:
        stopped = await client.start("wait")
        assert await stopped.read() == b"ready"
        stopped.signal("TERM")
        ending = await stopped.wait()
        left = await client.start("wait")
        assert await left.read() == b"ready"
        left.close()
        while len(cancelled) < 2:
            await asyncio.sleep(0)
        return ending.exit_signal

    assert serving(handle, tmp_path, use) == "TERM"


def test_aSignalThatComesWithTheCommandEndsIt(tmp_path: Path) -> None:
    """It comes before the program's first step, in which nobody would be there to tell the end."""

    class Hasty(SSHChannel):
        name = b"session"

        def channelOpen(self, specificData: bytes) -> None:
            self.conn.sendRequest(self, b"exec", NS(b"wait"))
            self.conn.sendRequest(self, b"signal", NS(b"TERM"))

        def request_exit_signal(self, data: bytes) -> bool:
            ended.append(data)
            return True

        def closed(self) -> None:
            ended.append(b"closed")

    ended: list[bytes] = []

    async def use(client: Any) -> Any:
        first = await client.start("wait")
        first.twisted.channel.conn.openChannel(Hasty())
        while b"closed" not in ended:
            await asyncio.sleep(0)
        return ended[0]

    assert serving(play, tmp_path, use).startswith(NS(b"TERM"))


@pytest.mark.parametrize(
    ("code", "said"), [(None, (0, b"")), (3, (3, b"")), ("no such thing", (1, b"no such thing\n"))]
)
def test_aProgramThatExitsEndsAlone(tmp_path: Path, code: Any, said: tuple[int, bytes]) -> None:
    """`argparse` does, where a client's words are not what it wants: the server goes on."""

    async def handle(program: Program) -> int | None:
        if program.command == "exit":
            sys.exit(code)
        return await play(program)

    async def use(client: Any) -> Any:
        ended = await client.run("exit")
        return (ended.exit_status, ended.stderr), (await client.run("both")).exit_status

    assert serving(handle, tmp_path, use) == (said, 7)


def test_theTerminalAndTheVariables(tmp_path: Path) -> None:
    async def use(client: Any) -> Any:
        told = await client.run("tell", env={"LANG": "C"}, terminal=Terminal("vt100", 10, 20))
        sized = await client.start("size", terminal=Terminal("vt100"))
        assert await sized.read() == b"ready"
        sized.resize(50, 132)
        return told.stdout.decode(), (await sized.read_all()).decode()

    told, sized = serving(play, tmp_path, use)
    assert told.startswith("(Terminal(term='vt100', rows=10, columns=20")
    assert told.endswith("{'LANG': 'C'})ann")
    assert "rows=50, columns=132" in sized


def test_whatNobodyReadsWaitsAtTheWriter(tmp_path: Path) -> None:
    """Both ways: memory is bounded by the window, and by what a line may be."""
    written = []

    async def handle(program: Program) -> None:
        if program.command == "deaf":
            await asyncio.Event().wait()
        while True:
            program.write(bytes(2**18))
            written.append(program)
            await program.drain()

    async def use(client: Any) -> Any:
        endless = await client.start("endless")
        deaf = await client.start("deaf")
        deaf.write(bytes(2**23))
        for _ in range(500):
            await asyncio.sleep(0)
        before = len(written)
        for _ in range(500):
            await asyncio.sleep(0)
        assert len(written) == before
        assert deaf.twisted.channel.bufferedBytes > 2**21
        await endless.read(2**16)
        endless.close()
        return before

    assert 1 < serving(handle, tmp_path, use) < 100


def test_filesFromTheDisk(tmp_path: Path) -> None:
    """The disk is waited for in a thread of the loop's."""
    (tmp_path / "f").write_text("content")

    async def use(client: Any) -> Any:
        assert getReactor() is reactor_for(asyncio.get_running_loop())
        async with await client.files() as files:
            await files.write("g", b"new")
            with pytest.raises(limpet.aio.SFTPError, match="No such file"):
                await files.read("none")
            assert (await files.stat_vfs()).bsize > 0
            files.limit_rate(None)
            return await files.read("f"), await files.exists("/etc/passwd")

    assert serving(play, tmp_path, use) == (b"content", False)
    assert (tmp_path / "g").read_text() == "new"


def test_whereItCannotListen() -> None:
    async def main() -> None:
        async with await limpet.aio.listen(Factory()) as listener:
            with pytest.raises(OSError, match="in use"):
                await limpet.aio.listen(Factory(), listener.port)
            serving = asyncio.create_task(listener.serve_forever())
            await asyncio.sleep(0)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            await (await limpet.aio.listen(Factory(), listener.port)).close()

    asyncio.run(main())


def test_threadsTellWhatFailed() -> None:
    async def main() -> tuple[bool, Any]:
        told: asyncio.Future[tuple[bool, Any]] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def tell(*result: Any) -> None:
            loop.call_soon_threadsafe(told.set_result, result)

        threads = _LoopThreads(loop)
        threads.callInThread(lambda: None)
        threads.callInThreadWithCallback(tell, int, "x")
        return await told

    succeeded, failure = asyncio.run(main())
    assert not succeeded
    assert failure.check(ValueError)


def test_elsewhereTheReactorIsTheProcesss() -> None:
    program = (
        "import asyncio, limpet.aio\n"
        "from limpet._reactor import getReactor\n"
        "async def main():\n"
        "    reactor = limpet.aio.reactor_for(asyncio.get_running_loop())\n"
        "    assert getReactor() is reactor\n"
        "    return reactor\n"
        "reactor = asyncio.run(main())\n"
        "from twisted.internet import reactor as installed\n"
        "assert getReactor() is installed is not reactor\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
