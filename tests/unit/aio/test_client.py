"""The asyncio face: coroutines over the same client, on the loop that runs, and no more beside."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

import pytest
from twisted.internet.defer import Deferred

import limpet.aio
from limpet.client import clients, filecopy, processes, programs
from limpet.ssh.forwarding import openConnectForwardingClient
from tests.descriptors import openDescriptors
from tests.pair.stack import HOST_KEY, UserAuth, makeFactory, pattern

SECONDS = 20.0


def onServer(use: Callable[[Callable[..., Any]], Awaitable[Any]]) -> Any:
    """Run `use` with a function that connects to a server in the same loop."""

    async def main() -> Any:
        port = await limpet.aio.listen(makeFactory())

        def connect(**changes: Any) -> Any:
            usual: dict[str, Any] = {
                "port": port.port,
                "user": "alice",
                "password": UserAuth.password,
                "host_keys": [HOST_KEY.public()],
                "config_files": (),
                "only": True,
            }
            return limpet.aio.connect("127.0.0.1", **(usual | changes))

        async with port:
            return await asyncio.wait_for(use(connect), SECONDS)

    return asyncio.run(main())


def test_run() -> None:
    async def use(connect: Any) -> Any:
        async with connect() as client:
            return await client.run("both 300000")

    result = onServer(use)
    assert result.stdout == pattern(300000, b"out")
    assert result.stderr == pattern(300000, b"err")
    assert result.exit_status == 7


def test_awaitedAndClosedByHand() -> None:
    async def use(connect: Any) -> Any:
        client = await connect()
        await client.run("exit 0", check=True)
        await client.close()
        return await client.wait_closed()

    assert onServer(use) is None


def test_process() -> None:
    async def use(connect: Any) -> Any:
        async with connect() as client:
            process = await client.start("echo")
            process.write(b"one\ntwo")
            await process.drain()
            first = await process.read_until(b"\n")
            process.write_eof()
            rest = await process.read_all()
            return first, rest, (await process.wait()).exit_status

    assert onServer(use) == (b"one\n", b"two", 0)


def test_lines() -> None:
    async def use(connect: Any) -> Any:
        async with connect() as client:
            process = await client.start("echo")
            process.write(b"one\ntwo")
            process.write_eof()
            return [line async for line in process]

    assert onServer(use) == [b"one\n", b"two"]


def test_manyAtOnce() -> None:
    async def use(connect: Any) -> Any:
        async with connect() as client:
            return await asyncio.gather(*(client.run(f"exit {at}") for at in range(8)))

    assert [result.exit_status for result in onServer(use)] == list(range(8))


def test_errorsAreTheSame() -> None:
    async def use(connect: Any) -> None:
        with pytest.raises(limpet.aio.AuthenticationFailed):
            await connect(password="wrong")
        with pytest.raises(limpet.aio.HostKeyRefused):
            await connect(host_keys=[])
        with pytest.raises(limpet.aio.ConnectFailed):
            await connect(port=1)
        async with connect() as client:
            with pytest.raises(limpet.aio.CommandFailed) as failed:
                await client.run("exit 1", check=True)
            assert failed.value.result == limpet.aio.Result("exit 1", b"", b"", 1)
            with pytest.raises(limpet.aio.CommandTimedOut) as late:
                await client.run("wait", timeout=0.01)
            assert (late.value.result.exit_status, late.value.result.exit_signal) == (None, None)
            with pytest.raises(limpet.aio.RequestRefused):
                await client.subsystem("none")

    onServer(use)


def test_aCancelledTaskEndsWhatItHadBegun() -> None:
    async def use(connect: Any) -> Any:
        async with connect() as client:
            task = asyncio.create_task(client.run("wait"))
            channels = client.twisted.connection.connection.channels
            while not channels:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.run("exit 0")
            return len(channels)

    assert onServer(use) == 0


@pytest.mark.parametrize("isFirst", [True, False], ids=["result first", "cancelled first"])
def test_aResultThatComesAsTheTaskIsCancelled(isFirst: bool) -> None:
    async def main() -> list[str]:
        undone: list[str] = []
        deferred: Deferred[str] = Deferred()
        task = asyncio.create_task(limpet.aio.client._come(deferred, undone.append))
        await asyncio.sleep(0)
        if isFirst:
            deferred.callback("a connection")
        task.cancel()
        if not isFirst:
            deferred.callback("a connection")
        with pytest.raises(asyncio.CancelledError):
            await task
        return undone

    assert asyncio.run(main()) == ["a connection"]


def cancelledAtTheEnd(task: asyncio.Task[Any], make: Callable[..., Any], made: list[Any]) -> Any:
    """`make`, whose Deferred cancels the task at the moment at which it fires."""

    def making(*arguments: Any, **named: Any) -> Any:
        def fired(result: Any) -> Any:
            made.append(result)
            task.cancel()
            return result

        return make(*arguments, **named).addCallback(fired)

    return making


def test_aConnectionThatIsThereAsTheTaskIsCancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has it, so it is closed: as with a time-out that is up a moment too early."""
    made: list[Any] = []

    async def use(connect: Any) -> Any:
        task = asyncio.create_task(connect().__aenter__())
        making = cancelledAtTheEnd(task, clients.connect, made)
        monkeypatch.setattr(clients, "connect", making)
        with pytest.raises(asyncio.CancelledError):
            await task
        return await made[0].closed.asFuture(asyncio.get_running_loop())

    assert onServer(use) is None


@pytest.mark.parametrize("name", ["read", "readUntil", "readAll"])
def test_whatIsReadAsTheTaskIsCancelledIsReadNext(name: str) -> None:
    async def use(connect: Any) -> Any:
        async with connect() as client:
            process = await client.start("echo")
            ours = {"read": "read", "readUntil": "read_until", "readAll": "read_all"}[name]
            begin = getattr(process, ours)
            task = asyncio.create_task(begin(b"\n") if name == "readUntil" else begin())
            await asyncio.sleep(0)
            channel = process.twisted.channel
            receive = channel.dataReceived

            def receiving(data: bytes) -> None:
                receive(data)
                task.cancel()

            channel.dataReceived = receiving
            process.write(b"a line\nand more")
            with pytest.raises(asyncio.CancelledError):
                await task
            process.write_eof()
            return await process.read_all()

    assert onServer(use) == b"a line\nand more"


def test_aCoroutineMayAnswer() -> None:
    """What a server asks is put to a coroutine function; here nothing is asked."""

    async def answer(*asked: Any) -> list[bytes]:
        raise AssertionError("this server asks nothing")

    async def use(connect: Any) -> Any:
        async with connect(answer=answer) as client:
            return (await client.run("exit 0")).exit_status

    assert onServer(use) == 0


def test_connectIsACoroutine() -> None:
    """A task takes it, and so does asyncio.run; cancelled, it leaves nothing behind."""

    async def use(connect: Any) -> Any:
        client = await asyncio.create_task(connect())
        status = (await client.run("exit 3")).exit_status
        await client.close()
        cancelled = asyncio.create_task(connect())
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        connect().close()
        return status

    assert onServer(use) == 3
    with pytest.raises(limpet.aio.ConnectFailed):
        asyncio.run(limpet.aio.connect("127.0.0.1", port=1, config_files=()))


def test_throughAConnectionThatThereIs() -> None:
    """It carries as many others as one likes, outlives them, and takes them along."""

    async def main() -> Any:
        factory = makeFactory()
        async with await limpet.aio.listen(factory) as listener:
            arguments: dict[str, Any] = {
                "port": listener.port,
                "user": "alice",
                "password": UserAuth.password,
                "host_keys": [HOST_KEY.public()],
                "config_files": (),
                "only": True,
            }
            gate = await limpet.aio.connect("127.0.0.1", **arguments)
            with pytest.raises(limpet.aio.ConnectFailed, match=r"jump host 127\.0\.0\.1 does not"):
                await limpet.aio.connect("127.0.0.1", through=gate, **arguments)
            tables = factory.portal.realm.avatars[0].channelLookup
            tables[b"direct-tcpip"] = openConnectForwardingClient
            told = []
            for _ in range(2):
                async with limpet.aio.connect("127.0.0.1", through=gate, **arguments) as inner:
                    told.append((await inner.run("exit 3")).exit_status)
                assert inner.twisted.connection.via is not None
                told.append((await gate.run("exit 4")).exit_status)
            inner = await limpet.aio.connect("127.0.0.1", through=gate, **arguments)
            await gate.close()
            return told, await inner.wait_closed()

    told, why = asyncio.run(asyncio.wait_for(main(), SECONDS))
    assert told == [3, 4, 3, 4]
    assert isinstance(why, limpet.aio.ClientError)


def test_unknownArguments() -> None:
    async def use(connect: Any) -> None:
        for name in ("colour", "hostKeys", "host_Keys", "known_hosts", "reactor"):
            with pytest.raises(TypeError, match=name):
                await connect(**{name: "blue"})
        with pytest.raises(TypeError, match="there are answer, certificates, config_files, host_k"):
            await connect(username="alice")

    onServer(use)


def test_whatIsNoCommandAndNoInput() -> None:
    """The mistake is told where it was made, and the connection goes on."""

    async def use(connect: Any) -> Any:
        async with connect() as client:
            for begin in (client.run, client.start):
                with pytest.raises(TypeError, match=r"a line, str or bytes, and not list: .*shlex"):
                    await begin(["exit", "0"])
            with pytest.raises(TypeError, match="bytes or an open file, and not str"):
                await client.run("echo", input="text")
            assert (await client.run("echo", input=bytearray(b"x"))).stdout == b"x"
            return (await client.run("exit 3")).exit_status

    assert onServer(use) == 3


def test_results() -> None:
    """They have what Twisted's have, by names in snake_case."""
    result = limpet.aio.Result.of(processes.Result("x", b"out", b"err", None, "TERM"))
    assert result == limpet.aio.Result("x", b"out", b"err", exit_status=None, exit_signal="TERM")
    assert not result.succeeded
    with pytest.raises(limpet.aio.CommandFailed, match="x was ended by signal TERM: err") as caught:
        result.check()
    assert caught.value.result is result
    ending = programs.Ending(1, "HUP", True, "because", True, True)
    assert limpet.aio.Ending.of(ending) == limpet.aio.Ending(1, "HUP", True, "because", True, True)
    copied = filecopy.CopyResult(1, 2, 3, 4, [b"a"], [])
    assert limpet.aio.CopyResult.of(copied) == limpet.aio.CopyResult(1, 2, 3, 4, [b"a"], [])
    entry = limpet.aio.DirectoryEntry("d", {"permissions": 0o040755, "size": 9})
    assert (entry.is_directory, entry.is_link, entry.size) == (True, False, 9)


def snake(name: str) -> str:
    return re.sub("[A-Z]+", lambda found: "_" + found[0].lower(), name)


@pytest.mark.parametrize(
    ("ours", "twisted"),
    [
        (limpet.aio.Result, processes.Result),
        (limpet.aio.Ending, programs.Ending),
        (limpet.aio.CopyResult, filecopy.CopyResult),
    ],
)
def test_resultsHaveAllFields(ours: Any, twisted: Any) -> None:
    assert [field.name for field in fields(ours)] == [
        snake(field.name) for field in fields(twisted)
    ]


def test_filesHaveAllMethods() -> None:
    theirs = {name for name in vars(filecopy.RemoteFiles) if name[0] != "_"}
    below = {"of", "open", "relay", "copier", "localPlace", "remotePlace"}
    assert {snake(name) for name in theirs - below} <= set(dir(limpet.aio.Files))


def test_loopsLeaveNothingBehind() -> None:
    async def use(connect: Any) -> None:
        async with connect() as client:
            await client.run("exit 0")

    onServer(use)
    before, threads = openDescriptors(), threading.active_count()
    for _ in range(5):
        onServer(use)
    assert len(openDescriptors()) <= len(before)
    # The loop's own thread for looking up names is asyncio's, and ends with it.
    assert threading.active_count() <= threads


def test_installsNoReactor() -> None:
    program = (
        "import asyncio, sys, limpet.aio\n"
        "async def main():\n"
        "    try: await limpet.aio.connect('127.0.0.1', port=1, config_files=())\n"
        "    except limpet.aio.ConnectFailed: pass\n"
        "asyncio.run(main())\n"
        "sys.exit('twisted.internet.reactor' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
