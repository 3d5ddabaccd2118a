"""What is to be done on a machine that was surveyed: decisions only."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shoal.machine.driver import EngineSetup
from shoal.machine.errors import MachineError
from shoal.machine.install import units
from shoal.machine.install.facts import Facts

DOCKER_SOCKET, OWN_SOCKET = "unix:///var/run/docker.sock", "unix:///run/shoal/docker.sock"
_BUNDLED = "/opt/shoal/current/bin/shoald"
_PROGRAMS = {"shoal": "shoal.cli.main", "shoald": "shoal.daemon", "docker": "shoal.cli.main"}


class Plan(NamedTuple):
    """What `apply` is told, and what is said about it."""

    order: dict[str, Any]
    notes: tuple[str, ...] = ()


def check(facts: Facts, user: str, setup: EngineSetup) -> None:
    """Whether the machine can be set up at all, by this user. Raises MachineError that says what is in the way."""
    if facts.system != "Linux":
        raise MachineError(f"the machine runs {facts.system}; Shoal runs on Linux")
    if facts.uid != 0 and facts.sudo != "yes":
        why = "sudo is not installed there" if facts.sudo == "missing" else "sudo asks for a password there"
        raise MachineError(
            f'user "{user}" cannot become root on the machine: {why}. Log in as root, or allow it with a line '
            f'"{user} ALL=(ALL) NOPASSWD: ALL" in /etc/sudoers.d'
        )
    if facts.image or facts.ours:
        return
    if facts.foreign_units:
        raise MachineError(
            f"a shoald that shoal machine did not install is set up on the machine ({facts.foreign_units[0]}). It is "
            "left alone: remove that file to have it replaced; its data in /var/lib/shoal stay"
        )
    if "shoald" in facts.processes:
        raise MachineError(
            f"a shoald that shoal machine did not install runs on the machine (process {facts.processes['shoald']}). "
            "It is left alone: stop it first; containers keep running, and ours finds them"
        )
    for port in ports(setup.arguments):
        if port in facts.listens:
            owner = "dockerd" if "dockerd" in facts.processes else "another program"
            raise MachineError(
                f"port {port} of the machine is taken by {owner}, which is left alone: choose another one "
                "(--generic-engine-port), or stop it"
            )


def ports(arguments: Sequence[str]) -> list[int]:
    """The TCP ports that an engine with these flags listens on."""
    found = []
    for flag, value in pairwise(arguments):
        if flag in ("-H", "--host") and value.startswith("tcp://"):
            found.append(urlsplit(value).port or 2376)
    return found


def service(facts: Facts) -> str:
    """What keeps the engine running there."""
    if facts.image:
        return "image"
    return "systemd" if facts.systemd else "init"


def make(facts: Facts, setup: EngineSetup, bundle: str) -> Plan:
    """The order for `apply`: `bundle` is the name of the one to be used, empty for the machine's own engine."""
    if facts.image:
        return Plan(_order(setup, setup.arguments, service=service(facts)))
    notes = []
    arguments = list(setup.arguments)
    if "dockerd" in facts.processes:
        arguments = [OWN_SOCKET if argument == DOCKER_SOCKET else argument for argument in arguments]
        notes.append(
            "A Docker Engine is on the machine and is left as it is: Shoal runs beside it, with its own data in "
            f"/var/lib/shoal and its own socket {OWN_SOCKET.removeprefix('unix://')}"
        )
    engine = _BUNDLED if bundle else facts.shoald
    if not engine:
        raise MachineError(
            "there is no shoald on the machine, and --engine-install-url none says that none is to be installed"
        )
    order = _order(setup, arguments, service=service(facts))
    extra = {units.LAUNCHER: (0o755, units.launcher(engine).encode())}
    if facts.systemd:
        extra[units.SYSTEMD_UNIT] = (0o644, units.UNIT.encode())
        extra[units.SHUTDOWN] = (0o755, units.DOWN.encode())
        order["enable"] = [["systemctl", "daemon-reload"], ["systemctl", "enable", "--quiet", "shoald"]]
    else:
        extra[units.INIT_SCRIPT] = (0o755, units.SCRIPT.encode())
        order["enable"] = [["update-rc.d", "shoald", "defaults"], ["chkconfig", "--add", "shoald"],
                           ["rc-update", "add", "shoald", "default"]]  # fmt: skip
    order["files"].update(encoded(extra))
    order["decisive"] += list(extra)
    if bundle:
        order.update(
            bundle=bundle, python=facts.python, python_version=".".join(map(str, facts.python_version[:2])),
            programs=_PROGRAMS, links=["shoal", "shoald", *([] if facts.docker else ["docker"])],
        )  # fmt: skip
    return Plan(order, tuple(notes))


def _order(setup: EngineSetup, arguments: Sequence[str], *, service: str) -> dict[str, Any]:
    decisive = units.settings(arguments, setup.environment)
    return {
        "files": {**encoded(setup.files), **encoded(decisive)},
        "decisive": list(decisive),
        "service": service,
        "enable": [],
        "bundle": "",
        "links": [],
    }


def encoded(files: Mapping[str, tuple[int, bytes]]) -> dict[str, tuple[int, str]]:
    """Files as JSON can hold them."""
    return {path: (mode, base64.b64encode(data).decode()) for path, (mode, data) in files.items()}
