"""The text of a container's /etc/resolv.conf and /etc/hosts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.network.sandbox import SandboxRequest

RESOLVER = "127.0.0.11"
"""Where a container on a network of the user's finds names."""

_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""
_FALLBACK = ["8.8.8.8", "8.8.4.4"]


def values(resolv_conf: str, keyword: str) -> list[str]:
    """The words after `keyword` in a resolv.conf: all nameservers, but only the last search list."""
    found: list[str] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if words[:1] == [keyword]:
            found = found + words[1:2] if keyword == "nameserver" else words[1:]
    return found


def resolv_conf(request: SandboxRequest, host: str, *, resolver: bool) -> str:
    """`host` is the host's resolv.conf. With `resolver` our own comes first and asks the others itself.

    Without it, loopback servers of the host make no sense in a container and are left out; when none is left, docker's
    public fallback stands in.
    """
    servers = list(request.dns)
    if not servers:
        servers = [server for server in values(host, "nameserver") if not server.startswith("127.") and server != "::1"]
        servers = servers or _FALLBACK
    search = list(request.dns_search) or values(host, "search")
    options = list(request.dns_options) or values(host, "options")
    if resolver:
        servers = [RESOLVER]
        if not any(option.startswith("ndots:") for option in options):
            options.append("ndots:0")
    lines = [f"nameserver {server}" for server in servers]
    if search and search != ["."]:
        lines.append("search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def hosts(request: SandboxRequest, addresses: Sequence[str], gateway: str) -> str:
    """`addresses`: the container's own; `gateway`: what `host-gateway` means."""
    own = request.hostname or request.container_id[:12]
    if request.domainname:
        own = f"{own}.{request.domainname}\t{own}"
    lines = [f"{address}\t{own}\n" for address in addresses]
    return _HOSTS + "".join(_extra(request, gateway) + lines)


def host_hosts(request: SandboxRequest, host: str) -> str:
    """/etc/hosts of a container in the host's network: the host's, and what was asked for besides."""
    return host + "".join(_extra(request, "127.0.0.1"))


def _extra(request: SandboxRequest, gateway: str) -> list[str]:
    lines = []
    for entry in request.extra_hosts:
        separator = "=" if "=" in entry.split(":", 1)[0] else ":"
        name, _, address = entry.partition(separator)
        lines.append(f"{gateway if address == 'host-gateway' else address.strip('[]')}\t{name}\n")
    return lines
