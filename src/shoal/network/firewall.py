"""Living beside Docker Engine or another firewall that drops what it does not know (FORWARD policy DROP).

Our own table already drops what must not pass, so what uses our bridges is simply let through the other's chain.
Without such a firewall nothing is done.
"""

from __future__ import annotations

import logging
import shutil
import subprocess

from shoal.network.kernel.namespaces import Namespace

log = logging.getLogger(__name__)

_TIMEOUT = 10.0


def admit(namespace: Namespace, device: str) -> None:
    """Let packets from and to a bridge pass an iptables FORWARD chain whose policy is DROP. Idempotent."""
    if not (chain := _chain(namespace)):
        return
    for rule in _rules(device):
        if _iptables(namespace, "-C", chain, *rule) is None:
            _iptables(namespace, "-I", chain, *rule)


def expel(namespace: Namespace, device: str) -> None:
    """The opposite of `admit`."""
    if not (chain := _chain(namespace)):
        return
    for rule in _rules(device):
        _iptables(namespace, "-D", chain, *rule)


def _rules(device: str) -> list[list[str]]:
    return [["-i", device, "-j", "ACCEPT"], ["-o", device, "-j", "ACCEPT"]]


def _chain(namespace: Namespace) -> str:
    """Where to put our rules: empty when FORWARD does not drop. DOCKER-USER stays first when dockerd restarts."""
    listing = _iptables(namespace, "-S", "FORWARD")
    if listing is None or not listing.startswith("-P FORWARD DROP"):
        return ""
    return "DOCKER-USER" if "-j DOCKER-USER" in listing else "FORWARD"


def _iptables(namespace: Namespace, *arguments: str) -> str | None:
    """The output of iptables, run in `namespace`; None when it fails or is not installed."""
    program = shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if not program:
        return None
    try:
        with namespace.entered():
            done = subprocess.run(
                [program, "-w", *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT
            )
    except subprocess.TimeoutExpired:
        log.warning("iptables waits for another firewall: %s is not done", " ".join(arguments))
        return None
    return done.stdout if done.returncode == 0 else None
