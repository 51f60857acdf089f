"""The opcodes of terminal modes (RFC 4254 section 8, RFC 8160), and their names on this machine.

Rule: numbers come from the RFC; `TTYMODES` maps them to names of the standard `termios` module, so
that importing this module needs no terminal and no Unix.
"""

from __future__ import annotations

TTY_OP_END = 0

VINTR = 1
VQUIT = 2
VERASE = 3
VKILL = 4
VEOF = 5
VEOL = 6
VEOL2 = 7
VSTART = 8
VSTOP = 9
VSUSP = 10
VDSUSP = 11
VREPRINT = 12
VWERASE = 13
VLNEXT = 14
VFLUSH = 15
VSWTCH = 16
VSTATUS = 17
VDISCARD = 18
IGNPAR = 30
PARMRK = 31
INPCK = 32
ISTRIP = 33
INLCR = 34
IGNCR = 35
ICRNL = 36
IUCLC = 37
IXON = 38
IXANY = 39
IXOFF = 40
IMAXBEL = 41
IUTF8 = 42  # RFC 8160
ISIG = 50
ICANON = 51
XCASE = 52
ECHO = 53
ECHOE = 54
ECHOK = 55
ECHONL = 56
NOFLSH = 57
TOSTOP = 58
IEXTEN = 59
ECHOCTL = 60
ECHOKE = 61
PENDIN = 62
OPOST = 70
OLCUC = 71
ONLCR = 72
OCRNL = 73
ONOCR = 74
ONLRET = 75
CS7 = 90
CS8 = 91
PARENB = 92
PARODD = 93
TTY_OP_ISPEED = 128
TTY_OP_OSPEED = 129

TTYMODES: dict[int, str | tuple[int, str]] = {
    VINTR: "VINTR",
    VQUIT: "VQUIT",
    VERASE: "VERASE",
    VKILL: "VKILL",
    VEOF: "VEOF",
    VEOL: "VEOL",
    VEOL2: "VEOL2",
    VSTART: "VSTART",
    VSTOP: "VSTOP",
    VSUSP: "VSUSP",
    VDSUSP: "VDSUSP",
    VREPRINT: "VREPRINT",
    VWERASE: "VWERASE",
    VLNEXT: "VLNEXT",
    VFLUSH: "VFLUSH",
    VSWTCH: "VSWTCH",
    VSTATUS: "VSTATUS",
    VDISCARD: "VDISCARD",
    IGNPAR: (0, "IGNPAR"),
    PARMRK: (0, "PARMRK"),
    INPCK: (0, "INPCK"),
    ISTRIP: (0, "ISTRIP"),
    INLCR: (0, "INLCR"),
    IGNCR: (0, "IGNCR"),
    ICRNL: (0, "ICRNL"),
    IUCLC: (0, "IUCLC"),
    IXON: (0, "IXON"),
    IXANY: (0, "IXANY"),
    IXOFF: (0, "IXOFF"),
    IMAXBEL: (0, "IMAXBEL"),
    IUTF8: (0, "IUTF8"),
    ISIG: (3, "ISIG"),
    ICANON: (3, "ICANON"),
    XCASE: (3, "XCASE"),
    ECHO: (3, "ECHO"),
    ECHOE: (3, "ECHOE"),
    ECHOK: (3, "ECHOK"),
    ECHONL: (3, "ECHONL"),
    NOFLSH: (3, "NOFLSH"),
    TOSTOP: (3, "TOSTOP"),
    IEXTEN: (3, "IEXTEN"),
    ECHOCTL: (3, "ECHOCTL"),
    ECHOKE: (3, "ECHOKE"),
    PENDIN: (3, "PENDIN"),
    OPOST: (1, "OPOST"),
    OLCUC: (1, "OLCUC"),
    ONLCR: (1, "ONLCR"),
    OCRNL: (1, "OCRNL"),
    ONOCR: (1, "ONOCR"),
    ONLRET: (1, "ONLRET"),
    CS7: (2, "CS7"),
    CS8: (2, "CS8"),
    PARENB: (2, "PARENB"),
    PARODD: (2, "PARODD"),
    TTY_OP_ISPEED: "ISPEED",
    TTY_OP_OSPEED: "OSPEED",
}
"""Opcode to the name in `termios`: a string is a control character (or one of the two speeds), a
pair is (index of the flags in `termios.tcgetattr`'s list, name of the flag)."""
