"""Runs `twistd cowrie` whoever we are: Cowrie refuses to run as root, and CI is root.

python -m limpet.conch -- cowrieAsRoot.py      in a directory with etc/cowrie.cfg
"""

from __future__ import annotations

import os
import sys

from twisted.scripts.twistd import run

os.getuid = lambda: 1000  # nothing here depends on it but the refusal
sys.argv = ["twistd", "-n", "--pidfile=", "cowrie"]
run()
