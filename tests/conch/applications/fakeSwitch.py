"""A switch of fake-switches, which plays network devices, with one user.

    python -m limpet.conch -- fakeSwitch.py PORT MODEL

Its own command starts it as well, and gives it the password in a form that `enable` does not take.
"""

from __future__ import annotations

import logging
import sys

from fake_switches.switch_factory import SwitchFactory
from fake_switches.transports.ssh_service import SwitchSshService
from twisted.internet import reactor
from twisted.python import log

log.startLogging(sys.stdout)
logging.basicConfig(level="INFO", stream=sys.stdout)
switch = SwitchFactory().get(sys.argv[2], "reef", "opensesame")
service = SwitchSshService("127.0.0.1", int(sys.argv[1]), switch, {"ann": b"opensesame"})
service.hook_to_reactor(reactor)
reactor.run()
