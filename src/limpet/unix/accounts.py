"""Who a session runs as: an account of the system, and whether this process may become it.

Rule: an ordinary user's server serves that user alone. A server of root becomes the user
completely, setgroups → setgid → setuid, all three ids of each, and the child checks it before the
user's program starts; a child that is not what it should be never runs.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

DEFAULT_SHELL = "/bin/sh"
"""The shell of an account whose shell field is empty (passwd(5))."""


SHADOW_FILE = "/etc/shadow"
"""Where accounts have their last day (shadow(5))."""

_EXPIRY_FIELD = 7
_SECONDS_PER_DAY = 86400


class NotPermitted(Exception):
    """This account may not log in here; the text is for the log, not for the peer."""


@dataclass(frozen=True)
class Account:
    """One account of the system.

    Attributes:
        name: The login name.
        uid: The user id.
        gid: The primary group id.
        groups: All group ids, the primary one included, sorted.
        home: The home directory.
        shell: The login shell.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    @classmethod
    def named(cls, name: str) -> Account:
        """Look up an account. Raises KeyError where there is none of that name."""
        return cls._from(pwd.getpwnam(name))

    @classmethod
    def current(cls) -> Account:
        """The account that this process runs as. Raises KeyError where it has no entry."""
        return cls._from(pwd.getpwuid(os.geteuid()))

    @classmethod
    def _from(cls, entry: pwd.struct_passwd) -> Account:
        return cls(
            name=entry.pw_name,
            uid=entry.pw_uid,
            gid=entry.pw_gid,
            groups=tuple(sorted(set(os.getgrouplist(entry.pw_name, entry.pw_gid)))),
            home=entry.pw_dir or "/",
            shell=entry.pw_shell or DEFAULT_SHELL,
        )

    @property
    def shellName(self) -> str:
        """The shell's file name: "bash"."""
        return PurePosixPath(self.shell).name

    def isCurrent(self) -> bool:
        """Whether programs of this account are started just so.

        For root, whether this process already is the account, with all ids and groups. An ordinary
        user's process has the groups that it has: the system's list may have changed since the user
        logged in, and only root could follow it.
        """
        if os.geteuid() != 0:
            return os.getresuid() == (self.uid,) * 3
        return not _differences(self)


def checkMayServe(account: Account) -> None:
    """Check that this process can run programs as `account`.

    Raises:
        NotPermitted: It is not root, and `account` is not its own; or it is root, and the account
            has expired, whatever key its user still has.
    """
    uid = os.geteuid()
    if uid not in (0, account.uid):
        raise NotPermitted(f"{account.name} is not the user that this server runs as")
    if uid == 0 and hasExpired(account.name, time.time()):
        raise NotPermitted(f"the account {account.name} has expired")


def hasExpired(name: str, now: float, path: str = SHADOW_FILE) -> bool:
    """Whether the account's last day is over, as `usermod -e` sets it.

    Args:
        name: The login name.
        now: Seconds since 1970.
        path: The file. One that is not there, as where accounts are kept elsewhere, says nothing.
    """
    beginning = os.fsencode(name) + b":"
    try:
        with open(path, "rb") as file:
            entry = next((line for line in file if line.startswith(beginning)), b"")
    except FileNotFoundError:
        return False
    fields = entry.rstrip(b"\n").split(b":")
    if len(fields) <= _EXPIRY_FIELD or not (day := fields[_EXPIRY_FIELD]):
        return False
    # What is no number of days is no reason to believe that the account is good.
    return not day.isdigit() or len(day) > 9 or now >= int(day) * _SECONDS_PER_DAY


def makeIdentityCheck(account: Account) -> Callable[[], None]:
    """Make what a forked child calls to be sure of who it is; it raises where it is not."""

    def check() -> None:
        wrong = _differences(account)
        if wrong:
            raise NotPermitted(f"the child is not {account.name}: {wrong}")
        if account.uid != 0:
            try:
                os.setuid(0)
            except PermissionError:
                return
            raise NotPermitted("the child could become root again")

    return check


def _differences(account: Account) -> str:
    wrong = []
    if os.getresuid() != (account.uid,) * 3:
        wrong.append("uid")
    if os.getresgid() != (account.gid,) * 3:
        wrong.append("gid")
    # The kernel may or may not list the primary group among the supplementary ones.
    if set(os.getgroups()) | {account.gid} != set(account.groups):
        wrong.append("groups")
    return ", ".join(wrong)
