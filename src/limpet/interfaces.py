"""What an application provides to Limpet, and what Limpet provides to it, as zope interfaces.

Rule: declarations only. Names and signatures are those that Conch documents, so that an avatar, a
session or an SFTP server written against them works unchanged.

    portal.login(credentials, None, IConchUser) → avatar
        IConchUser        channels, subsystems and global requests
        ISession          a shell, a command, a pseudo-terminal      (the avatar, or an adapter)
        ISessionSetEnv    environment variables before they start
        ISFTPServer       the sftp subsystem;  ISFTPFile one open file of it
"""

from __future__ import annotations

from twisted.cred.credentials import ICredentials
from zope.interface import Attribute, Interface

__all__ = [
    "EnvironmentVariableNotPermitted",
    "IAuthorizedKeysDB",
    "IConchUser",
    "IKeyboardInteractiveCredentials",
    "IKeyboardInteractiveDevice",
    "IKnownHostEntry",
    "IPasswordChangeCredentials",
    "ISFTPFile",
    "ISFTPServer",
    "ISession",
    "ISessionSetEnv",
    "ISubsystemProgram",
]


class EnvironmentVariableNotPermitted(ValueError):
    """The session does not let the client set this environment variable; refused without a log."""


class IConchUser(Interface):
    """The logged-in user, as the connection layer sees it: the avatar that a realm returns."""

    conn = Attribute("The `SSHConnection` of this login; set by the connection when it starts.")

    def lookupChannel(channelType, windowSize, maxPacket, data):  # type: ignore[no-untyped-def]
        """Make the channel that the client asks for.

        Args:
            channelType: The type of the channel, as bytes: b"session", b"direct-tcpip".
            windowSize: How many bytes may be sent to the client before it enlarges the window.
            maxPacket: The largest piece, in bytes, that one message to the client may carry.
            data: What the type adds to the request, not decoded.

        Returns:
            An `SSHChannel` that was given `windowSize` and `maxPacket` as `remoteWindow` and
            `remoteMaxPacket`, or None for a type that does not exist here.

        Raises:
            ConchError: The channel is refused; `value` is the text, `data` the reason `OPEN_*`.
        """

    def lookupSubsystem(subsystem, data):  # type: ignore[no-untyped-def]
        """Make the protocol of a subsystem.

        Args:
            subsystem: Its name, as bytes: b"sftp".
            data: The whole body of the request, the name's string included.

        Returns:
            A `Protocol` or `ProcessProtocol`, or None where there is no such subsystem.
        """

    def gotGlobalRequest(requestType, data):  # type: ignore[no-untyped-def]
        """Serve a request that concerns the whole connection (RFC 4254 section 4).

        Args:
            requestType: Its name, as bytes.
            data: What the request carries, not decoded.

        Returns:
            False to refuse, True to accept; or a tuple whose second item is the answer's data.
        """


class ISession(Interface):
    """What a session channel starts for a user. A method refuses by raising."""

    def getPty(term, windowSize, modes):  # type: ignore[no-untyped-def]
        """Prepare a pseudo-terminal for the shell or command that follows.

        Args:
            term: The terminal's type, as bytes: b"xterm".
            windowSize: (rows, columns, width in pixels, height in pixels).
            modes: A list of (opcode, value), RFC 4254 section 8.
        """

    def openShell(proto):  # type: ignore[no-untyped-def]
        """Start the user's shell and connect it to `proto`, a `ProcessProtocol`."""

    def execCommand(proto, command):  # type: ignore[no-untyped-def]
        """Start `command` (bytes, as the client sent it) and connect it to `proto`."""

    def windowChanged(newWindowSize):  # type: ignore[no-untyped-def]
        """The client's window is now (rows, columns, width in pixels, height in pixels)."""

    def eofReceived():  # type: ignore[no-untyped-def]
        """The client sends no more data; what was started may go on and answer."""

    def closed():  # type: ignore[no-untyped-def]
        """The channel is closed; end what was started."""


class ISessionSetEnv(Interface):
    """A session that lets a client set environment variables before a shell or command starts."""

    def setEnv(name, value):  # type: ignore[no-untyped-def]
        """Set the variable `name` to `value`, both bytes.

        Raises:
            EnvironmentVariableNotPermitted: This variable may not be set.
        """


class ISubsystemProgram(Interface):
    """A subsystem that is a program of the session, as a shell is: what `lookupSubsystem` may make.

    The session tells its `ISession` of the end of the client's data and of its own end, as with any
    program, so that nobody else has to.
    """

    def start(session, proto):  # type: ignore[no-untyped-def]
        """Start the program.

        Args:
            session: The `ISession` of the avatar.
            proto: The `ProcessProtocol` to connect the program to.
        """


class ISFTPServer(Interface):
    """The files behind an SFTP subsystem (draft-ietf-secsh-filexfer-02, version 3).

    Each method checks that the user may do what it does. Each may return its result or a Deferred
    of it, and fails by raising: `OSError`, `EOFError`, `SFTPError`, or `NotImplementedError`.
    An attrs dictionary has any of the keys "size", "uid", "gid", "permissions", "atime", "mtime"
    (all integers, times in seconds since the epoch) and "ext_NAME" (bytes).
    """

    avatar = Attribute("The avatar of the logged-in user.")

    def gotVersion(otherVersion, extData):  # type: ignore[no-untyped-def]
        """The client has said which version it speaks.

        Args:
            otherVersion: The version number.
            extData: The extensions that the client announces: name to data.

        Returns:
            The extensions that the server announces in turn, as a dictionary of the same form.
        """

    def openFile(filename, flags, attrs):  # type: ignore[no-untyped-def]
        """Open `filename` (bytes) as the `FXF_*` bits of `flags` say; `attrs` are for a new file.

        Returns:
            An `ISFTPFile`.
        """

    def removeFile(filename):  # type: ignore[no-untyped-def]
        """Remove the file `filename`; not a directory."""

    def renameFile(oldpath, newpath):  # type: ignore[no-untyped-def]
        """Move `oldpath` to `newpath`; it is an error if `newpath` exists."""

    def makeDirectory(path, attrs):  # type: ignore[no-untyped-def]
        """Create the directory `path` with `attrs`."""

    def removeDirectory(path):  # type: ignore[no-untyped-def]
        """Remove the directory `path`, which has to be empty."""

    def openDirectory(path):  # type: ignore[no-untyped-def]
        """List the directory `path`.

        Returns:
            An iterable of (filename, longname, attrs), or of Deferreds of such triples, with a
            method `close()` that is called once when the client has read enough. `longname` is a
            line in the style of `ls -l`.
        """

    def getAttrs(path, followLinks):  # type: ignore[no-untyped-def]
        """The attrs of `path`; of a symbolic link itself where `followLinks` is false."""

    def setAttrs(path, attrs):  # type: ignore[no-untyped-def]
        """Change those attributes of `path` that `attrs` names."""

    def readLink(path):  # type: ignore[no-untyped-def]
        """What the symbolic link `path` points to."""

    def makeLink(linkPath, targetPath):  # type: ignore[no-untyped-def]
        """Make a symbolic link at `linkPath` that points to `targetPath`."""

    def realPath(path):  # type: ignore[no-untyped-def]
        """`path` as an absolute path, with its links followed."""

    def extendedRequest(extendedName, extendedData):  # type: ignore[no-untyped-def]
        """Serve a request that the protocol itself does not have.

        Returns:
            The data of the reply, as bytes.

        Raises:
            NotImplementedError: There is no such request here.
        """


class ISFTPFile(Interface):
    """A file that an SFTP client has open. Each method may return a Deferred of its result."""

    def close():  # type: ignore[no-untyped-def]
        """Close the file; no other method is called afterwards."""

    def readChunk(offset, length):  # type: ignore[no-untyped-def]
        """Read up to `length` bytes from `offset`.

        Returns:
            Bytes, fewer than `length` only at the end of an ordinary file.

        Raises:
            EOFError: There is nothing at or after `offset`.
        """

    def writeChunk(offset, data):  # type: ignore[no-untyped-def]
        """Write all of `data` at `offset`."""

    def getAttrs():  # type: ignore[no-untyped-def]
        """The file's attrs, as `ISFTPServer` describes them."""

    def setAttrs(attrs):  # type: ignore[no-untyped-def]
        """Change those attributes that `attrs` names."""


class IKnownHostEntry(Interface):
    """One entry of a known_hosts file: a host, or several, and a key."""

    keyType = Attribute("The type of the key, as bytes: b'ssh-ed25519'.")

    def matchesKey(key):  # type: ignore[no-untyped-def]
        """Whether `key`, a `Key`, is the entry's key."""

    def matchesHost(hostname):  # type: ignore[no-untyped-def]
        """Whether the entry is about `hostname` (bytes), which is not resolved."""

    def toString():  # type: ignore[no-untyped-def]
        """The entry as a line of a known_hosts file, as bytes, without the newline."""


class IAuthorizedKeysDB(Interface):
    """Which public keys let which user in; `SSHPublicKeyChecker` asks it."""

    def getAuthorizedKeys(avatarId):  # type: ignore[no-untyped-def]
        """The keys of the user `avatarId` (bytes).

        Returns:
            An iterable of `Key`, or of `limpet.core.authorizedkeys.AuthorizedKey` where a key has
            restrictions; or a Deferred of one. Empty for a user who does not exist.
        """


class IPasswordChangeCredentials(ICredentials):
    """A user, the password so far, and what it is to become (RFC 4252 section 8).

    A checker that takes these changes the password and returns the avatar's id, or does neither and
    fails. `IUsernamePassword` credentials never ask for a change.
    """

    username = Attribute("The name of the user, as bytes.")
    password = Attribute("The password so far, as bytes.")
    newPassword = Attribute("The new password, as bytes.")


class IKeyboardInteractiveCredentials(ICredentials):
    """A user and a device that asks that user questions (RFC 4256).

    A checker runs the conversation through `ask`, which may be called several times, and returns
    the avatar's id as any other checker does.
    """

    username = Attribute("The name of the user, as bytes.")
    submethods = Attribute("The submethods that the client prefers, a tuple of bytes.")

    def ask(prompts, name=b"", instruction=b""):  # type: ignore[no-untyped-def]
        """Ask the user.

        Args:
            prompts: A sequence of (prompt, echo): bytes, and whether what is typed may be shown.
            name: A title.
            instruction: A text above the prompts.

        Returns:
            A Deferred that fires with a list of bytes, one answer per prompt. It fails with
            `UnauthorizedLogin` where the client answers otherwise or goes away.
        """


class IKeyboardInteractiveDevice(Interface):
    """Asks a user questions and decides on the answers; `KeyboardInteractiveChecker` runs it."""

    def authenticate(credentials):  # type: ignore[no-untyped-def]
        """Run one conversation with `credentials`, an `IKeyboardInteractiveCredentials`.

        Returns:
            True for a user who is let in, else False; or a Deferred of that.
        """
