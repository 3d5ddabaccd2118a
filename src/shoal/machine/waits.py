"""Waiting for machines: until ssh answers, until the engine does. Every wait has an end and says what it waited for."""

from __future__ import annotations

import time

from shoal.machine import probe, ssh
from shoal.machine.driver import State, traits
from shoal.machine.errors import MachineError, NotRunning
from shoal.machine.host import Host, Say


def until_usable(host: Host, say: Say) -> None:
    """Wait for ssh and for the engine. Raises MachineError with the end of the machine's log."""
    until_ssh(host, say)
    say("Detecting the provisioner...")
    until_engine(host)


def until_ssh(host: Host, say: Say) -> None:
    """Wait until its sshd says hello, wherever its driver says it is by then."""
    say("Waiting for SSH to be available...")
    limit = traits(host.driver).ssh_timeout
    deadline = time.monotonic() + limit
    while True:
        try:
            endpoint = host.driver.ssh()
        except NotRunning as fault:
            if host.driver.state() in (State.STOPPED, State.ERROR) or time.monotonic() > deadline:
                raise MachineError(f"the machine does not run any more{log_of(host)}") from fault
        else:
            if ssh.greets(endpoint):
                return
            if time.monotonic() > deadline:
                raise MachineError(
                    "Too many retries waiting for SSH to be available.  Nothing answers at "
                    f"{endpoint.host}:{endpoint.port} after {limit:g} seconds{log_of(host)}"
                )
        time.sleep(0.03)


def until_engine(host: Host) -> str:
    """Wait until its engine answers; the version. Raises MachineError with the end of its log."""
    limit = traits(host.driver).engine_timeout
    try:
        return probe.wait_for_engine(host.driver.url(), host.name, host.directory, limit)
    except probe.ProbeError as fault:
        raise MachineError(f"Unable to verify the Docker daemon is listening: {fault}{log_of(host)}") from fault


def log_of(host: Host) -> str:
    """The end of the machine's log, to be put behind a sentence."""
    log = host.driver.diagnose()
    return f"\nThe last lines of its log:\n{log}" if log else ""
