"""Large reads: the memory of one serves the next."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from limpet._memory import KEPT_BLOCK
from limpet.descriptors import LARGE_READ_SIZE as PIPE_READ
from limpet.streams import LARGE_READ_SIZE as SOCKET_READ

READS = 500
PROGRAM = f"""
import os, resource, sys
from limpet._memory import keepLargeBlocks
if sys.argv[1] == "kept":
    keepLargeBlocks()
reading, writing = os.pipe()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({READS}):
    os.write(writing, bytes(65536))
    os.read(reading, {PIPE_READ})
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """How many pages the kernel had to bring for some large reads."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is meant")
def test_a_large_read_costs_no_page_faults() -> None:
    assert faults("kept") < READS < faults("as it is")


def test_the_largest_reads_are_kept() -> None:
    assert max(PIPE_READ, SOCKET_READ) < KEPT_BLOCK
