"""Of a machine that was set up before, its certificates alone, and its engine's restart alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.machine import ssh
from shoal.machine.driver import SshEndpoint
from shoal.machine.errors import MachineError
from shoal.machine.install import carry_out, plan, survey

_NOTHING: dict[str, Any] = {"files": {}, "decisive": [], "service": "", "enable": [], "bundle": "", "links": []}


def check(endpoint: SshEndpoint, folder: str) -> None:
    """Whether the machine is reached, and has `folder`. Raises MachineError where it was not set up by us."""
    if ssh.run(endpoint, ssh.as_root(endpoint, f"test -d {ssh.quote(folder)}")).status:
        raise MachineError("the machine was not set up by shoal machine: `provision` does that")


def hand_over(endpoint: SshEndpoint, files: Mapping[str, tuple[int, bytes]]) -> None:
    """Put `files` on the machine; nothing is restarted."""
    carry_out(endpoint, survey(endpoint), {**_NOTHING, "files": plan.encoded(files)}, b"")


def restart(endpoint: SshEndpoint) -> None:
    """Restart the machine's engine; containers go on."""
    found = survey(endpoint)
    carry_out(endpoint, found, {**_NOTHING, "service": plan.service(found), "due": True}, b"")
