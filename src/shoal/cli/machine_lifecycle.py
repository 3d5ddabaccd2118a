"""create, start, stop, restart, kill, rm."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shoal.cli.flags import Options, declare
from shoal.cli.machine_command import Session, UsageFault, double_dashed
from shoal.machine import actions
from shoal.machine.driver import Flag, driver_class
from shoal.machine.errors import MachineError
from shoal.machine.record import EngineOptions

_DEFAULT_DRIVER = "local"

_CREATE = """
  -d, --driver string                   Driver to create machine with [$MACHINE_DRIVER] (default "local")
      --engine-env list                 Environment variable to set in the engine
      --engine-insecure-registry list   Registry to be reached without checking its certificate
      --engine-install-url string       Accepted for docker-machine's sake [$MACHINE_DOCKER_INSTALL_URL]
      --engine-label list               Label of the engine
      --engine-opt list                 Any flag of the engine, as name=value or name
      --engine-registry-mirror list     Mirror to pull from [$ENGINE_REGISTRY_MIRROR]
      --engine-storage-driver string    Storage driver of the engine
      --swarm                           Classic Swarm: no longer there, see 'swarm init'
      --swarm-addr string               Classic Swarm: no longer there
      --swarm-discovery string          Classic Swarm: no longer there
      --swarm-experimental              Classic Swarm: no longer there
      --swarm-host string               Classic Swarm: no longer there
      --swarm-image string              Classic Swarm: no longer there
      --swarm-join-opt list             Classic Swarm: no longer there
      --swarm-master                    Classic Swarm: no longer there
      --swarm-opt list                  Classic Swarm: no longer there
      --swarm-strategy string           Classic Swarm: no longer there
      --tls-san list                    Further name or address that the machine's certificate is valid for
"""


def create(session: Session, words: list[str]) -> int:
    """Make a machine."""
    driver = _chosen_driver(words)
    flags = driver_class(driver).flags()
    given = session.options(words, _CREATE + _declared(flags), "[NAME]")
    if len(given.args) > 1:
        raise MachineError(f"Invalid command line. Found extra arguments [{' '.join(given.args[1:])}]")
    if not given.args:
        raise UsageFault("Error: No machine name specified", session.typed)
    for name in ("swarm", "swarm-master", "swarm-discovery"):
        if given.changed(name):
            session.complain(f"Warning: --{name} is for classic Swarm and has no effect; use 'docker swarm init'")
    request = actions.Request(
        given.args[0],
        driver,
        _engine_options(given),
        {flag.name: _value(given, flag) for flag in flags},
        tuple(given.many("tls-san")),
        {key: Path(os.path.abspath(path)) for key, path in session.certificates.items()},
    )
    # An end by SIGTERM takes back what was made, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host = actions.create(session.store, request, session.say, datetime.now(UTC))
    session.say(
        "To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: "
        f"{session.program} env {host.name}"
    )
    return 0


def _chosen_driver(words: Sequence[str]) -> str:
    """The driver must be known before its options can be parsed: look for it in the words."""
    flags = declare(_CREATE)
    words = double_dashed(words, flags)
    chosen = os.environ.get("MACHINE_DRIVER") or _DEFAULT_DRIVER
    for position, word in enumerate(words):
        if word == "--":
            break
        if word in ("-d", "--driver") and position + 1 < len(words):
            chosen = words[position + 1]
        elif word.startswith(("-d=", "--driver=")):
            chosen = word.partition("=")[2]
    return chosen


def _declared(flags: Sequence[Flag]) -> str:
    lines = []
    for flag in flags:
        kind = {bool: "", int: "int", tuple: "list"}.get(type(flag.default), "string")
        default = f' (default "{flag.default}")' if flag.default and not isinstance(flag.default, bool | tuple) else ""
        variable = f" [${flag.environment}]" if flag.environment else ""
        lines.append(f"      --{flag.name}{' ' if kind else ''}{kind}   {flag.help}{variable}{default}\n")
    return "".join(lines)


def _value(given: Options, flag: Flag) -> Any:
    """The flag's value: from the command line, else from its environment variable, else its default."""
    text = None if given.changed(flag.name) else os.environ.get(flag.environment or "=")
    if isinstance(flag.default, tuple):
        return tuple(given.many(flag.name)) if text is None else tuple(p.strip() for p in text.split(",") if p.strip())
    if isinstance(flag.default, bool):
        return given.flag(flag.name) if text is None else text.lower() in ("1", "t", "true")
    if isinstance(flag.default, int):
        return given.number(flag.name) if text is None else int(text, 0)
    return (given.text(flag.name) if text is None else text) or flag.default


def _engine_options(given: Options) -> EngineOptions:
    mirrors = given.many("engine-registry-mirror")
    if not mirrors:
        mirrors = [part.strip() for part in os.environ.get("ENGINE_REGISTRY_MIRROR", "").split(",") if part.strip()]
    return EngineOptions(
        arbitrary_flags=given.many("engine-opt"),
        env=given.many("engine-env"),
        insecure_registry=given.many("engine-insecure-registry"),
        labels=given.many("engine-label"),
        registry_mirror=mirrors,
        storage_driver=given.text("engine-storage-driver"),
        install_url=given.text("engine-install-url") or os.environ.get("MACHINE_DOCKER_INSTALL_URL", ""),
    )


_START = """
      --new-address   Come back with another address (drivers that choose addresses themselves)
"""


def start(session: Session, words: list[str]) -> int:
    """Start machines."""
    given = session.options(words, _START)
    fresh = given.flag("new-address")

    def act(name: str) -> None:
        actions.start(session.store, name, session.say, datetime.now(UTC), new_address=fresh)

    code = session.each(session.names(given.args), act)
    _say_new_addresses(session, "Started")
    return code


def restart(session: Session, words: list[str]) -> int:
    """Stop and start machines."""
    given = session.options(words)
    code = session.each(
        session.names(given.args),
        lambda name: actions.restart(session.store, name, session.say, datetime.now(UTC)),
    )
    _say_new_addresses(session, "Restarted")
    return code


def _say_new_addresses(session: Session, what: str) -> None:
    session.say(
        f"{what} machines may have new IP addresses. You may need to re-run the `{session.program} env` command."
    )


def stop(session: Session, words: list[str]) -> int:
    """Shut machines down."""
    given = session.options(words)
    return session.each(session.names(given.args), lambda name: actions.stop(session.store, name, session.say))


def kill(session: Session, words: list[str]) -> int:
    """Cut machines' power."""
    given = session.options(words)
    return session.each(session.names(given.args), lambda name: actions.kill(session.store, name, session.say))


_REMOVE = """
  -f, --force   Remove local configuration even if machine cannot be removed, also implies an automatic yes (`-y`)
  -y            Assumes automatic yes to proceed with remove, without prompting further user confirmation
"""


def remove(session: Session, words: list[str]) -> int:
    """Take machines away; what remains of one makes the exit status 1."""
    given = session.options(words, _REMOVE.replace("-y            ", "-y, --yes     "), "NAME [NAME...]")
    names, force = list(dict.fromkeys(given.args)), given.flag("force")
    if not names:
        raise UsageFault("Error: Expected to get one or more machine names as arguments", session.typed)
    session.say(f"About to remove {', '.join(names)}")
    session.say("WARNING: This action will delete both local reference and remote instance.")
    if not (force or given.flag("yes")) and not _agreed():
        return 1
    code = 0
    for name in names:
        try:
            actions.remove(session.store, name, session.say, force=force)
        except MachineError as fault:
            session.complain(str(fault))
            code = 1
    return code


def _agreed() -> bool:
    sys.stdout.write("Are you sure? (y/n): ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stdout.write("\n")
        raise MachineError("nobody answered; use -y to remove without being asked")
    return answer.strip().lower().startswith("y")


RUN = {"create": create, "start": start, "restart": restart, "stop": stop, "kill": kill, "rm": remove}
