"""fake-switches 1.5, which plays network devices for tests of others: terminals, and NETCONF.

It was written for Conch 16. Its avatar is its session, its NETCONF a subsystem that is one protocol
for all connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.servers import freePort
from tests.conch.programs import APPLICATIONS, Clients, Program, onLimpet, started

END = b"]]>]]>"
HELLO = b'<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"/>' + END
GET = (
    b'<rpc message-id="7" xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">'
    b"<get-config><source><running/></source></get-config></rpc>" + END
)


@contextmanager
def running(model: str, directory: Path) -> Iterator[tuple[Program, Clients]]:
    port = freePort()
    command = onLimpet(APPLICATIONS / "fakeSwitch.py", str(port), model)
    with started(command, directory, port) as program:
        yield program, Clients(port, "ann", directory, password="opensesame")
        program.assertWell()


def test_aSwitchIsConfigured(tmp_path: Path) -> None:
    with running("cisco_generic", tmp_path) as (_, clients), clients.talking() as terminal:
        for prompt, line in (
            (b"reef>", b"enable"),
            (b"Password: ", b"opensesame"),
            (b"reef#", b"configure terminal"),
            (b"reef(config)#", b"vlan 42"),
            (b"reef(config-vlan)#", b"name barnacles"),
            (b"reef(config-vlan)#", b"exit"),
            (b"reef(config)#", b"exit"),
            (b"reef#", b"show vlan brief"),
        ):
            terminal.expect(prompt)
            terminal.type(line + b"\r")
        assert b"42   barnacles" in terminal.expect(b"active\r\nreef#")
        terminal.type(b"exit\r")
        terminal.end()


def test_aSubsystem(tmp_path: Path) -> None:
    with (
        running("juniper_qfx_copper_generic", tmp_path) as (program, clients),
        clients.talking("netconf", options=["-s"]) as netconf,
    ):
        assert b"urn:ietf:params:xml:ns:netconf:base:1.0" in netconf.expect(END)
        netconf.type(HELLO)
        # It takes all that comes at once for one message.
        program.waitFor("greeting received")
        netconf.type(GET)
        answer = netconf.expect(END)
        assert b'message-id="7"' in answer
        assert b"<configuration" in answer
