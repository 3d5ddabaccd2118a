"""env and config: how docker is pointed to a machine."""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

from shoal.cli import machine_parents as parents
from shoal.cli.machine_command import Session
from shoal.machine import probe, provisioning, shells
from shoal.machine.errors import MachineError
from shoal.machine.host import Host, Say, open_host
from shoal.machine.table import swarm_url

_ENV = """
      --swarm          Point to the classic Swarm that docker-machine made the machine the master of
      --shell string   Force environment to be configured for a specified shell: bash, zsh, sh, fish, powershell,
                       pwsh, cmd, tcsh, csh, emacs, nu, elvish, xonsh; default is auto-detect
  -u, --unset          Unset variables instead of setting them
      --no-proxy       Add machine IP to NO_PROXY environment variable
"""


def env(session: Session, words: list[str]) -> int:
    """Print what configures a shell for a machine, or takes that back."""
    given = session.options(words, _ENV, "[NAME]")
    windows = os.name == "nt"
    shell = shells.find(given.text("shell") or shells.detect(parents.names(), os.environ.get("SHELL"), windows=windows))
    typed = session.typed_in_full(words)
    if given.flag("unset"):
        if given.args:
            raise MachineError("Error: Expected no machine name when the -u flag is present")
        proxy = [shells.proxy_variable(os.environ)] if given.flag("no-proxy") else []
        unset = dict.fromkeys([*_variables(), *proxy])
        sys.stdout.write(shells.lines(shell, unset, typed))
        return 0
    host = open_host(session.store, session.name(given.args))
    address = _checked_url(host, "Error checking TLS connection: ", session.complain, swarm=given.flag("swarm"))
    values = dict(zip(_variables(), ("1", address, str(host.directory), host.name, "true"), strict=False))
    if given.flag("no-proxy"):
        name, value = shells.proxy_exception(os.environ, host.driver.address())
        values[name] = value
    sys.stdout.write(shells.lines(shell, values, typed))
    return 0


def _variables() -> list[str]:
    """What `env` sets, in docker-machine's order; the last is for a docker-compose on Windows."""
    names = ["DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME"]
    return [*names, "COMPOSE_CONVERT_WINDOWS_PATHS"] if os.name == "nt" else names


def _checked_url(host: Host, prefix: str, complain: Say, *, swarm: bool) -> str:
    """Where docker is to be pointed to, after the engine has taken our certificate and we its."""
    master = host.record.host_options.swarm_options
    if swarm and not (master and master.master):
        raise MachineError(
            f'{prefix}"{host.name}" is not a swarm master. The --swarm flag is intended for use with swarm masters'
        )
    try:
        address = host.driver.url()
        # A machine that came back elsewhere, or a certificate that expires soon: docker's own client must not notice.
        provisioning.keep_valid(host, address, complain, datetime.now(UTC))
        probe.check(address, host.name, host.directory)
    except probe.ProbeError as fault:
        raise MachineError(f"{prefix}{fault}\n{fault.advice(host.name)}".rstrip()) from fault
    except MachineError as fault:
        raise MachineError(f"{prefix}{fault}") from fault
    if not (swarm and master):
        return address
    address = swarm_url(address, master)
    target = urlsplit(address)
    try:
        socket.create_connection((target.hostname or "", target.port or 0), 5).close()
    except OSError as fault:
        raise MachineError(
            f"{prefix}Connection to Swarm cannot be checked but the certs are valid. Maybe swarm is not started"
        ) from fault
    return address


def config(session: Session, words: list[str]) -> int:
    """Print the options that point docker to a machine; further names are ignored, as docker-machine did."""
    given = session.options(
        words, "      --swarm   Point to the classic Swarm that the machine is the master of", "[NAME]"
    )
    host = open_host(session.store, session.names(given.args[:1])[0])
    address = _checked_url(host, "Error running connection boilerplate: ", session.complain, swarm=given.flag("swarm"))
    session.say("--tlsverify")
    for flag, file in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")):
        session.say(f"--{flag}={host.directory / file}")
    session.say(f"-H={address}")
    return 0


RUN = {"env": env, "config": config}
