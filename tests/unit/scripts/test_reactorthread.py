"""A reactor beside the main thread. In a process of its own: a reactor runs once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, threading
from twisted.internet import defer, protocol, reactor
from limpet.scripts import reactorthread
from limpet.scripts.reactorthread import GivenUp, ReactorThread

thread = ReactorThread(reactor)
thread.start()

async def answer(value):
    assert threading.current_thread() is not threading.main_thread()
    await defer.succeed(None)
    return value

assert thread.call(answer, 7) == 7

async def fails():
    raise ValueError("words")

try:
    thread.call(fails)
except ValueError as error:
    assert str(error) == "words"
else:
    raise AssertionError

cancelled = []

async def waits():
    reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
    try:
        await defer.Deferred()
    except defer.CancelledError:
        cancelled.append(True)
        raise

# Wherever the main thread is when it comes, be it about to sleep or in a destructor.
for _ in range(2000):
    cancelled.clear()
    try:
        thread.call(waits)
    except KeyboardInterrupt:
        assert cancelled
    else:
        raise AssertionError

# Who types ahead still gets the answer; who types on, when it takes long, is not kept waiting.
reactorthread.PATIENCE_SECONDS = 0.05
keyboard, typing = os.pipe()

async def never():
    try:
        await defer.Deferred()
    except defer.CancelledError:
        cancelled.append("given up")
        raise

os.write(typing, b"x")
assert thread.call(answer, 8, keyboard=keyboard) == 8
try:
    thread.call(never, keyboard=keyboard)
except GivenUp:
    assert cancelled.pop() == "given up"
else:
    raise AssertionError
assert os.read(keyboard, 10) == b"x"

async def slow():
    answered = defer.Deferred()
    reactor.callLater(0.1, answered.callback, 9)
    return await answered

assert thread.call(slow, keyboard=keyboard) == 9

class Child(protocol.ProcessProtocol):
    def __init__(self):
        self.ended = defer.Deferred()

    def processEnded(self, reason):
        self.ended.callback(reason.value.exitCode)

async def child():
    proto = Child()
    reactor.spawnProcess(proto, "/bin/sh", ["sh", "-c", "exit 5"])
    return await proto.ended

assert thread.call(child) == 5
print("all well", flush=True)
os._exit(0)
"""


def test_results_errors_interruptions_and_children() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "all well\n", done.stderr
