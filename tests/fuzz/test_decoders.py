"""Whatever bytes a decoder is given: a value or its documented error, in bounded time and memory.

LIMPET_FUZZ_SECONDS=600 tries each decoder for so long, with inputs that lead to new lines kept and
changed further; LIMPET_FUZZ_NUMBER is where its chance begins. Without, each gets a few hundred.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

import limpet.core
import limpet.crypto
import limpet.wire
from tests.fuzz.decoders import HARNESSES, NOT_DECODERS, Harness
from tests.fuzz.mutation import Mutator, Tracer

SECONDS = float(os.environ.get("LIMPET_FUZZ_SECONDS", "0"))
NUMBER = int(os.environ.get("LIMPET_FUZZ_NUMBER", "1"))

INPUTS = 400
"""How many inputs a decoder gets in the usual run; a slow one gets a tenth."""

HANGS_SECONDS = 60
"""After which one input counts as one that a decoder hangs on."""

SHOWN = 2000
"""How much of what failed is told, in bytes; it is made again by the same numbers."""

DECODER_NAMES = re.compile(
    r"(decode|parse|read[A-Z]|expand|match[A-Z]|faultOf|reached|allows[A-Z]|is[A-Z]\w+Name$)"
    r"|(getNS|getMP|unwrap|recognise|feed|fromString|guessType|judge|publicBlob|nameOf|sanitised"
    r"|numberOf|splitLine|splitArguments|splitCommand|verifySignature|encapsulate)$"
)
"""What functions are called that take apart what somebody else has put together."""

PACKAGES = (limpet.wire, limpet.crypto, limpet.core)

byHarness = pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.name)


def nameOf(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def decoders() -> Iterator[str]:
    """The names of all public functions and methods that are named like a decoder."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
                    continue
                if inspect.isfunction(value) and DECODER_NAMES.match(name):
                    yield nameOf(value)
                if inspect.isclass(value):
                    for inner, member in vars(value).items():
                        function = getattr(member, "__func__", member)
                        if inspect.isfunction(function) and DECODER_NAMES.match(inner):
                            yield nameOf(function)


def test_every_decoder_is_in_the_table() -> None:
    covered = {nameOf(call) for harness in HARNESSES for call in harness.covers}
    missing = sorted({*decoders()} - covered - NOT_DECODERS.keys())
    assert not missing, f"tests/fuzz/decoders.py has no harness for {', '.join(missing)}"


def test_nothing_is_excused_that_is_not_there() -> None:
    assert NOT_DECODERS.keys() <= {*decoders()}
    names = [harness.name for harness in HARNESSES]
    assert len(names) == len(set(names))


@byHarness
def test_what_it_begins_with_means_something(harness: Harness) -> None:
    """Seeds that all fail at the first byte would try nothing behind it."""
    assert any(harness.decode(seed) for seed in harness.seeds)


@contextmanager
def notForEver(data: bytes) -> Iterator[None]:
    def tell(number: int, frame: Any) -> None:
        raise AssertionError(f"hangs on {data[:2000].hex()}")

    before = signal.signal(signal.SIGALRM, tell)
    signal.alarm(HANGS_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tryOne(harness: Harness, data: bytes) -> bool:
    try:
        with notForEver(data):
            return harness.decode(data)
    except BaseException:
        print(f"{harness.name}: bytes.fromhex({data[:SHOWN].hex()!r})")  # noqa: T201
        raise


@byHarness
def test_any_bytes_are_a_value_or_the_documented_error(harness: Harness) -> None:
    mutator = Mutator(harness.seeds, harness.words, NUMBER)
    for seed in harness.seeds:
        for end in range(0, len(seed) + 1, 1 + len(seed) // (4 if harness.isSlow else 40)):
            tryOne(harness, seed[:end])
    for _ in range(INPUTS // 10 if harness.isSlow else INPUTS):
        tryOne(harness, mutator.next())


def forLong(harness: Harness, capsys: pytest.CaptureFixture[str]) -> None:
    mutator = Mutator(harness.seeds, harness.words, NUMBER)
    tracer = Tracer()
    for seed in harness.seeds:
        tracer.run(partial(tryOne, harness, seed))
    end = time.monotonic() + SECONDS
    count = 0
    while time.monotonic() < end:
        data = mutator.next()
        before = len(tracer.edges)
        tracer.run(partial(tryOne, harness, data))
        count += 1
        if len(tracer.edges) > before:
            mutator.pool.append(data)
    with capsys.disabled():
        print(f" {count} inputs, {len(tracer.edges)} edges, {len(mutator.pool)} kept", end="")  # noqa: T201


if SECONDS:
    # Where nobody asks for it there is no such test, rather than one that is skipped.
    test_for_long = pytest.mark.timeout(SECONDS + 300)(byHarness(forLong))


# ── Bounds ────────────────────────────────────────────────────────────────────────────────────

LONG = 16384 if SECONDS else 3000
"""Length of the shorter inputs that are compared, in bytes; the longer ones have four times as
much."""

PIECES = 1000 if SECONDS else 6
"""How many of the seeds, and of the words, are stretched."""


def stretched(harness: Harness, length: int) -> Iterator[bytes]:
    """Inputs of that length: each seed and each word again and again, and a seed with a tail."""
    seeds = harness.seeds[:PIECES]
    for piece in (b"\x00", b"\xff", b"a", b"\x00\x00\x00\x01", *harness.words[-PIECES:], *seeds):
        if piece:
            yield (piece * (length // len(piece) + 1))[:length]
    for seed in seeds:
        yield seed + b"a" * (length - len(seed))


def stepsOf(harness: Harness, data: bytes) -> int:
    tracer = Tracer()
    tracer.run(partial(tryOne, harness, data))
    return tracer.steps


@byHarness
def test_four_times_the_input_is_at_most_about_four_times_the_work(harness: Harness) -> None:
    pairs = zip(stretched(harness, LONG), stretched(harness, 4 * LONG), strict=True)
    for shorter, longer in pairs:
        few, many = stepsOf(harness, shorter), stepsOf(harness, longer)
        assert many <= 5 * few + 6000, f"{few} lines, then {many}, on {shorter[:60]!r} repeated"


@byHarness
def test_memory_is_in_proportion_to_the_input(harness: Harness) -> None:
    """A hundred times at most, for objects are larger than the bytes that they are made of; a count
    that the input merely promises gets none."""
    for data in stretched(harness, LONG):
        tryOne(harness, data)
        tracemalloc.start()
        try:
            tryOne(harness, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= 100 * len(data) + 1_000_000, f"{peak} bytes for {data[:60]!r} repeated"
