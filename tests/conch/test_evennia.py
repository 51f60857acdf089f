"""Evennia 5.0, a server for text games: a manhole whose realm, transports and checks are its own.

It takes parts of `manhole_ssh` that are not public, and answers from another process. Runs with
LIMPET_FULL=1: it makes a database and a world first.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.servers import freePort
from tests.conch.programs import (
    ENVIRONMENT,
    Clients,
    Program,
    environment,
    onLimpet,
    started,
)

NAME, PASSWORD = "admin", "opensesame99"

SETTINGS = """
SSH_ENABLED = True
SSH_PORTS = [{ssh}]
SSH_INTERFACES = ["127.0.0.1"]
TELNET_ENABLED = False
WEBSERVER_ENABLED = False
AMP_PORT = {amp}
SECRET_KEY = "{key}"
"""

MAKE_OWNER = f"""
import django, evennia
django.setup()
evennia._init()
from evennia.accounts.models import AccountDB
AccountDB.objects.create_superuser("{NAME}", "owner@example.com", "{PASSWORD}").save()
"""


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    if not os.environ.get("LIMPET_FULL"):
        pytest.skip("takes long: LIMPET_FULL=1 runs it")
    onLimpet()  # Or the environment is missing.
    directory = tmp_path_factory.mktemp("evennia")
    home = directory / "game"
    port, amp = freePort(), freePort()
    more = {
        "PATH": f"{ENVIRONMENT}:/usr/bin:/bin",
        "PYTHONPATH": f"{home}:{environment(directory)['PYTHONPATH']}",
        "DJANGO_SETTINGS_MODULE": "server.conf.settings",
    }

    def run(*command: str | Path, place: Path = home) -> None:
        subprocess.run(
            [str(part) for part in command],
            cwd=place,
            env={**environment(directory), **more},
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=240,
        )

    run("evennia", "--init", "game", place=directory)
    with (home / "server/conf/settings.py").open("a") as settings:
        settings.write(SETTINGS.format(ssh=port, amp=amp, key="x" * 40))
    run("evennia", "migrate")
    run(ENVIRONMENT / "python", "-c", MAKE_OWNER)
    portal = next(ENVIRONMENT.parent.glob("lib/python*/site-packages/evennia/server/portal"))
    command = onLimpet("twistd", "-n", "--pidfile=", f"--python={portal}/portal.py")
    with started(command, home, port, more) as program:
        # The portal is there, so that this starts the game behind it only.
        run("evennia", "start")
        try:
            # Once it has made its world it starts itself again.
            log = home / "server/logs/server.log"
            Program(program.process, log).waitFor("successfully restarted")
            yield Clients(port, "ann", directory, password="any")
            program.assertWell()
        finally:
            run("evennia", "stop")


def test_playing(game: Clients) -> None:
    with game.talking() as terminal:
        terminal.expect(b"connect <username> <password>")
        terminal.type(f"connect {NAME} {PASSWORD}\r".encode())
        terminal.expect(b"Limbo")
        terminal.type(b"say hello, barnacles\r")
        # As typed, and as answered, in colours.
        terminal.expect(b"hello, barnacles\r\n")
        terminal.expect(b"hello, barnacles\x1b")
        terminal.type(b"quit\r")
        _, status = terminal.end()
        assert status == 255
