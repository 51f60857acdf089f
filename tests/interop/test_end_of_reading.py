"""A client that cannot write what it gets, as in `… ssh host yes | head -1`: the command ends.

OpenSSH's client says so to OpenSSH's server alone; `limpet ssh` says it to every server.
"""

from __future__ import annotations

import os
import subprocess

from tests.interop.host import Host
from tests.interop.limpetssh import environment, limpetSsh


def test_a_reader_that_goes_away_ends_the_command(host: Host) -> None:
    """Also where the client's input stays open, as at a terminal."""
    stdin, keepsOpen = os.pipe()
    output, stdout = os.pipe()
    process = subprocess.Popen(
        [*limpetSsh(host), host.destination, "yes; echo ended with $? >&2"],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(host),
    )
    try:
        os.close(stdin)
        os.close(stdout)
        assert os.read(output, 2) == b"y\n"
        os.close(output)
        errors = process.communicate(timeout=30)[1]
        assert b"ended with 141" in errors.splitlines()
    finally:
        process.kill()
        process.wait()
        os.close(keepsOpen)
    host.waitUntilIdle()
