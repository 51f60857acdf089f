"""`limpet ssh` as a program, set up for a host under test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.interop.host import COMMAND_SECONDS, Host, environmentFor

SRC = Path(__file__).resolve().parents[2] / "src"


def limpetSsh(host: Host, *options: str, key: Path | None = None) -> list[str]:
    """The command, but for the destination; of a setting given twice `options` have the say."""
    return [
        *(sys.executable, "-m", "limpet", "ssh", *options, "-F", "none", "-p", str(host.port)),
        *("-i", str(key or host.work.clientKey), "-o", "IdentitiesOnly=yes"),
        *("-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=yes"),
        *("-o", f"UserKnownHostsFile={host.knownHosts}", "-o", "GlobalKnownHostsFile=none"),
    ]


def environment(host: Host, **more: str) -> dict[str, str]:
    return environmentFor(host, {"PYTHONPATH": str(SRC), **more})


def run(
    host: Host,
    *arguments: str,
    input: bytes = b"",
    key: Path | None = None,
    seconds: float = COMMAND_SECONDS,
    **more: str,
) -> subprocess.CompletedProcess[bytes]:
    """Run `limpet ssh ARGUMENTS`, the destination among them, to its end."""
    return subprocess.run(
        [*limpetSsh(host, key=key), *arguments],
        input=input,
        capture_output=True,
        timeout=seconds,
        env=environment(host, **more),
        start_new_session=True,
        check=False,
    )
