"""A configuration as `ssh -G` prints it: a line for each keyword that Limpet heeds.

Rule: the words are those of `ssh -G`, so that the two can be compared and programs that read the
one can read the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from limpet.client.config import ClientConfig, ForwardSpec
from limpet.core.sshconfig import Setting
from limpet.core.sshconfig.values import TRAFFIC_CLASSES


def configLines(config: ClientConfig) -> list[str]:
    """The lines of `limpet ssh -G`, keywords in lower case."""
    # Some values are shown as they were written, before anything was put in place of a token.
    written = {} if config.settings is None else config.settings.values
    lines: list[str] = []

    def line(keyword: str, value: object) -> None:
        lines.append(f"{keyword} {value}")

    def flag(keyword: str, value: bool) -> None:
        line(keyword, "yes" if value else "no")

    line("host", config.host)
    line("user", config.user)
    line("hostname", config.hostName)
    line("port", config.port)
    line("addressfamily", config.addressFamily)
    flag("batchmode", config.batchMode)
    line("canonicalizehostname", _trueFalse(config.canonicalizeHostname))
    flag("canonicalizefallbacklocal", config.nameRules.fallbackLocal)
    line("canonicalizemaxdots", config.nameRules.maxDots)
    line("canonicaldomains", " ".join(config.nameRules.domains) or "none")
    rules = [":".join(pair) for pair in config.nameRules.permittedCNAMEs]
    line("canonicalizepermittedcnames", " ".join(rules) or "none")
    flag("checkhostip", config.checkHostIP)
    flag("compression", config.compression)
    flag("enableescapecommandline", config.enableEscapeCommandline)
    flag("exitonforwardfailure", config.exitOnForwardFailure)
    line("fingerprinthash", config.fingerprintHash.upper())
    flag("forkafterauthentication", config.forkAfterAuthentication)
    flag("gatewayports", config.gatewayPorts)
    flag("hashknownhosts", config.hashKnownHosts)
    flag("identitiesonly", config.identitiesOnly)
    flag("kbdinteractiveauthentication", config.kbdInteractiveAuthentication)
    flag("nohostauthenticationforlocalhost", config.noHostAuthenticationForLocalhost)
    flag("passwordauthentication", config.passwordAuthentication)
    flag("permitlocalcommand", config.permitLocalCommand)
    flag("proxyusefdpass", config.proxyUseFdpass)
    line("pubkeyauthentication", _trueFalse(config.pubkeyAuthentication))
    line("requesttty", _trueFalse(config.requestTTY))
    line("sessiontype", config.sessionType)
    flag("stdinnull", config.stdinNull)
    line("streamlocalbindmask", f"0{config.streamLocalBindMask:o}")
    flag("streamlocalbindunlink", config.streamLocalBindUnlink)
    line("stricthostkeychecking", _trueFalse(config.strictHostKeyChecking))
    flag("tcpkeepalive", config.tcpKeepAlive)
    line("updatehostkeys", _trueFalse(config.updateHostKeys))
    flag("visualhostkey", config.visualHostKey)
    line("connectionattempts", config.connectionAttempts)
    line("numberofpasswordprompts", config.numberOfPasswordPrompts)
    line("serveralivecountmax", config.serverAliveCountMax)
    line("serveraliveinterval", f"{config.serverAliveInterval:g}")
    line("requiredrsasize", config.requiredRSASize)
    if config.bindAddress is not None:
        line("bindaddress", config.bindAddress)
    if config.bindInterface is not None:
        line("bindinterface", config.bindInterface)
    line("ciphers", _names(config.ciphers))
    line("hostkeyalgorithms", _names(config.hostKeyAlgorithms))
    if config.hostKeyAlias is not None:
        line("hostkeyalias", config.hostKeyAlias)
    line("kexalgorithms", _names(config.kexAlgorithms))
    line("casignaturealgorithms", _names(config.caSignatureAlgorithms))
    if config.kbdInteractiveDevices:
        line("kbdinteractivedevices", ",".join(config.kbdInteractiveDevices))
    if config.knownHostsCommand is not None:
        line("knownhostscommand", config.knownHostsCommand)
    localCommand = _asWritten(written, "localcommand")
    if localCommand is not None:
        line("localcommand", localCommand)
    if config.remoteCommand is not None:
        line("remotecommand", config.remoteCommand)
    line("loglevel", "DEBUG" if config.logLevel == "DEBUG1" else config.logLevel)
    line("macs", _names(config.macs))
    line("pubkeyacceptedalgorithms", _names(config.pubkeyAcceptedAlgorithms))
    if "preferredauthentications" in written:
        line("preferredauthentications", ",".join(config.preferredAuthentications))
    if "identityagent" in written:
        line("identityagent", _agent(written["identityagent"][0].value, config.identityAgent))
    if config.revokedHostKeys:
        line("revokedhostkeys", " ".join(config.revokedHostKeys))
    for spec in config.dynamicForwards:
        line("dynamicforward", _place(spec.listenHost, spec.listenPort, spec.listenPath))
    for spec in config.localForwards:
        line("localforward", _forward(spec))
    for spec in config.remoteForwards:
        line("remoteforward", _forward(spec))
    for path in [one.value for one in written.get("identityfile", ())] or config.identityFiles:
        line("identityfile", path)
    for path in [one.value for one in written.get("certificatefile", ())] or (
        config.certificateFiles
    ):
        line("certificatefile", path)
    files = written["globalknownhostsfile"][0].value if "globalknownhostsfile" in written else ()
    line("permitremoteopen", _permitted(config))
    line("globalknownhostsfile", " ".join(files or config.globalKnownHostsFiles) or "none")
    line("userknownhostsfile", " ".join(config.userKnownHostsFiles) or "none")
    for pattern in config.sendEnv:
        line("sendenv", pattern)
    for name, value in config.setEnv.items():
        line("setenv", f"{name}={value}")
    line("addkeystoagent", _addKeys(config))
    line(
        "forwardagent", _agent(_asWritten(written, "forwardagent") or "no", config.forwardAgentPath)
    )
    timeout = config.connectTimeout
    line("connecttimeout", "none" if timeout is None else f"{timeout:g}")
    line("escapechar", "none" if config.escapeChar is None else _char(config.escapeChar))
    line("controlmaster", _trueFalse(config.controlMaster))
    line("controlpersist", _persist(config.controlPersist))
    if config.controlPath is not None:
        line("controlpath", config.controlPath)
    if "ipqos" in written:
        line("ipqos", " ".join(_trafficClass(number) for number in config.ipQoS))
    if "channeltimeout" in written:
        line("channeltimeout", " ".join(written["channeltimeout"][0].arguments))
    if "tag" in written:
        line("tag", written["tag"][0].value)
    if config.versionAddendum is not None:
        line("versionaddendum", config.versionAddendum)
    line("rekeylimit", " ".join(str(number) for number in config.rekeyLimit))
    if config.proxyCommand is not None:
        line("proxycommand", _asWritten(written, "proxycommand") or config.proxyCommand)
    if config.proxyJump:
        line("proxyjump", ",".join(str(jump) for jump in config.proxyJump))
    return lines


def _asWritten(written: Mapping[str, Sequence[Setting]], keyword: str) -> str | None:
    found = written.get(keyword)
    return str(found[0].value) if found else None


def _agent(value: str, path: str | None) -> str:
    """An agent: a variable by its name, a path with its tokens replaced."""
    if value in ("none", "SSH_AUTH_SOCK") or value.startswith("$"):
        return value
    return path or value


def _trueFalse(word: str) -> str:
    """Some keywords print their yes and no as true and false."""
    return {"yes": "true", "no": "false"}.get(word, word)


def _names(names: Sequence[bytes]) -> str:
    return ",".join(name.decode("ascii") for name in names)


def _trafficClass(number: int | None) -> str:
    if number is None:
        return "none"
    return next(
        (name for name, value in TRAFFIC_CLASSES.items() if value == number), f"{number:#04x}"
    )


def _permitted(config: ClientConfig) -> str:
    if config.permitRemoteOpen is None:
        return "any"
    places = [
        f"{f'[{host}]' if ':' in host else host}:{'*' if port is None else port}"
        for host, port in config.permitRemoteOpen
    ]
    return " ".join(places) or "none"


def _addKeys(config: ClientConfig) -> str:
    seconds = config.addKeysToAgentSeconds
    if config.addKeysToAgent == "yes" and seconds is not None:
        return str(seconds)
    word = _trueFalse(config.addKeysToAgent)
    return word if seconds is None else f"{word} {seconds}"


def _persist(seconds: int | None) -> str:
    return "no" if seconds is None else str(seconds or "yes")


def _char(char: str) -> str:
    code = ord(char)
    return f"\\^{chr(code | 64)}" if code < 32 else char


def _forward(spec: ForwardSpec) -> str:
    listen = _place(spec.listenHost, spec.listenPort, spec.listenPath)
    if spec.isDynamic:
        return f"{listen} [socks]:0"
    return f"{listen} {_place(spec.targetHost, spec.targetPort, spec.targetPath)}"


def _place(host: str | None, port: int | None, path: str | None) -> str:
    if path is not None:
        return path
    if host is None:
        return str(port)
    return f"[{host}]:{port}"
