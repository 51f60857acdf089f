"""The command `limpet` and its subcommands.

Rule: what a subcommand needs is imported when it runs, so that `limpet --help` is quick. A mistake
of the person's is told in one sentence on standard error and ends with exit status 2.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from limpet._version import __version__
from limpet.scripts.foreign import load
from limpet.scripts.mistakes import Mistake


class ForeignArguments(click.Command):
    """A command whose arguments are read as another program reads its own: ssh(1) and its like."""

    def parse_args(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """Leave them as they are."""
        ctx.params["arguments"] = tuple(args)
        return []


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="limpet", message="%(prog)s %(version)s")
def main() -> None:
    """SSH for Python: serve logins, log in, make keys."""


@main.command()
@click.option(
    "--listen",
    "-l",
    multiple=True,
    metavar="HOST:PORT",
    help="Where to listen; may be given several times. [::1]:2222 for IPv6, port 0 for a free one."
    "  [default: 127.0.0.1:2222]",
)
@click.option(
    "--host-key",
    "hostKeys",
    multiple=True,
    metavar="FILE",
    help="A private host key; one of each type. Without one, a key is made and kept.",
)
@click.option(
    "--authorized-keys",
    "authorizedKeys",
    multiple=True,
    metavar="FILE",
    help="Keys that let a user in.  [default: ~/.ssh/authorized_keys]",
)
@click.option(
    "--sftp-root",
    "sftpRoot",
    metavar="DIR",
    help="Serve only the files in DIR, and nothing else: no shells, no commands.",
)
@click.option(
    "--read-only",
    "readOnly",
    is_flag=True,
    help="Let files be read only; no shells, no commands.",
)
@click.option(
    "--allow-forwarding",
    "allowForwarding",
    multiple=True,
    metavar="KIND,...",
    help="What may be forwarded, of local, remote, unix, agent.  [default: nothing]",
)
@click.option(
    "--permit-open",
    "permitOpen",
    multiple=True,
    metavar="HOST:PORT",
    help="Where forwarded connections may lead; may be given several times; docs/forwarding.md."
    "  [default: everywhere]",
)
@click.option("--config", metavar="FILE", help="Settings, in TOML; docs/serving.md has them all.")
@click.option(
    "--log-level",
    "logLevel",
    metavar="LEVEL",
    help="debug, info, warn or error.  [default: info]",
)
def serve(
    listen: tuple[str, ...],
    hostKeys: tuple[str, ...],
    authorizedKeys: tuple[str, ...],
    sftpRoot: str | None,
    readOnly: bool,
    allowForwarding: tuple[str, ...],
    permitOpen: tuple[str, ...],
    config: str | None,
    logLevel: str | None,
) -> None:
    """Let users of this machine log in with their own ssh.

    As an ordinary user it serves that user alone, as root every user. SIGTERM lets sessions end
    before the server does, a second one ends it at once; SIGHUP reads settings and keys again.
    """
    from limpet.scripts.serve import run

    run(
        {
            "listen": listen,
            "hostKeys": hostKeys,
            "authorizedKeys": tuple(asPattern(name) for name in authorizedKeys),
            "sftpRoot": sftpRoot and asPattern(sftpRoot),
            "readOnly": readOnly or None,
            "allowForwarding": tuple(
                kind.strip() for given in allowForwarding for kind in given.split(",")
            ),
            "permitOpen": permitOpen,
            "logLevel": logLevel,
        },
        config,
    )


@main.command(cls=ForeignArguments, short_help="Log in on another machine, or run a command there.")
def ssh(arguments: tuple[str, ...]) -> None:
    """`limpet ssh`, with the letters of ssh(1)."""
    load("ssh")(arguments)


@main.command(cls=ForeignArguments, short_help="Copy files to and from another machine.")
def sftp(arguments: tuple[str, ...]) -> None:
    """`limpet sftp`, with the letters of sftp(1)."""
    load("sftp")(arguments)


@main.command(cls=ForeignArguments, short_help="Copy files between machines, as scp does.")
def cp(arguments: tuple[str, ...]) -> None:
    """`limpet cp`, with the letters of scp(1)."""
    load("cp")(arguments)


def asPattern(name: str) -> str:
    """A file that was named to a shell, in the form of the setting `authorized-keys`."""
    return os.path.abspath(name).replace("%", "%%")


@main.command()
@click.option("-t", "kind", metavar="TYPE", default="ed25519", help="ed25519, ecdsa or rsa.")
@click.option("-b", "bits", type=int, metavar="BITS", help="Size, for ecdsa and rsa.")
@click.option("-f", "filename", metavar="FILE", help="Where the private key is or shall be.")
@click.option("-C", "comment", metavar="TEXT", help="What stands beside the key.")
@click.option(
    "-N", "passphrase", metavar="PASSPHRASE", help="What encrypts it; asked for if not given."
)
@click.option(
    "-P", "oldPassphrase", metavar="PASSPHRASE", help="What encrypts it now, for -p and -y."
)
@click.option("-l", "show", is_flag=True, help="Show the fingerprint of the key in FILE.")
@click.option("-y", "public", is_flag=True, help="Print the public key of the private key in FILE.")
@click.option("-p", "change", is_flag=True, help="Change the passphrase of the key in FILE.")
@click.option(
    "-F", "find", metavar="HOST", help="Show the lines of FILE, a known_hosts file, about HOST."
)
@click.option(
    "-R", "remove", metavar="HOST", help="Remove the keys of HOST from a known_hosts FILE."
)
@click.option("-H", "hide", is_flag=True, help="Hash the names of hosts in a known_hosts FILE.")
@click.option("-q", "quiet", is_flag=True, help="Say nothing when a key was made or changed.")
def keygen(
    kind: str,
    bits: int | None,
    filename: str | None,
    comment: str | None,
    passphrase: str | None,
    oldPassphrase: str | None,
    show: bool,
    public: bool,
    change: bool,
    find: str | None,
    remove: str | None,
    hide: bool,
    quiet: bool,
) -> None:
    """Make a key or show one, or look after known hosts.

    The letters mean what they mean to ssh-keygen, which has more of them: Limpet makes no
    certificates and no revocation lists, and converts no keys.
    """
    from limpet.scripts import keygen as command
    from limpet.scripts import knownhosts

    # Only -l goes with another: -F shows fingerprints then.
    showsKey = show and find is None
    if sum((showsKey, public, change, hide, find is not None, remove is not None)) > 1:
        raise Mistake("only one of -l, -y, -p, -F, -R and -H can be done at once")
    if find is not None:
        knownhosts.findHost(find, filename, show)
    elif remove is not None:
        knownhosts.removeHost(remove, filename)
    elif hide:
        knownhosts.hashHosts(filename)
    elif change:
        command.changePassphrase(filename, oldPassphrase, passphrase, quiet)
    elif show:
        command.showFingerprint(filename)
    elif public:
        command.showPublic(filename, passphrase if oldPassphrase is None else oldPassphrase)
    else:
        command.generate(kind, bits, filename, comment, passphrase, quiet)


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-a", "path", metavar="SOCKET", help="Where to listen; otherwise a place of its own.")
@click.option(
    "-t", "lifetime", metavar="TIME", help="How long keys are kept at most, such as 90, 30m, 1h30m."
)
@click.option("-D", "inForeground", is_flag=True, help="Stay in the foreground.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def agent(
    path: str | None, lifetime: str | None, inForeground: bool, command: tuple[str, ...]
) -> None:
    """Keep keys in memory and sign with them.

    With a COMMAND it serves that command and ends with it. Without one it prints what a shell has
    to be told and goes to the background, until SIGTERM. Keys are added by ssh-add.
    """
    from limpet.scripts.agent import run

    run(path, lifetime, inForeground, command)


@main.command("conch-doctor", short_help="Tell what a program written for Twisted Conch needs.")
@click.argument("target", metavar="MODULE-OR-FOLDER")
@click.option("--all", "-a", "showsSame", is_flag=True, help="List what is the same, too.")
def conchDoctor(target: str, showsSame: bool) -> None:
    """Read a program that was written for Twisted Conch and tell what Limpet changes.

    Each line names a file, a line, and what differs or is missing there. The program is read, not
    run. Exit status 1 means that something it uses does not exist here.
    """
    from limpet.scripts.doctor import run

    raise SystemExit(run(target, showsSame))
