"""create: the options of every driver, and several machines at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shoal.cli.flags import Options, declare, integer
from shoal.cli.machine_command import Failed, Session, UsageFault, double_dashed
from shoal.machine import actions
from shoal.machine.driver import Flag, driver_class
from shoal.machine.errors import MachineError
from shoal.machine.host import Say
from shoal.machine.record import EngineOptions

_CREATE = """
  -d, --driver string                   Driver to create machine with [$MACHINE_DRIVER] (default "{driver}")
      --engine-env list                 Environment variable to set in the engine
      --engine-insecure-registry list   Registry to be reached without checking its certificate
      --engine-install-url string       Accepted for docker-machine's sake; "none": install no engine
                                        [$MACHINE_DOCKER_INSTALL_URL]
      --engine-label list               Label of the engine
      --engine-opt list                 Any flag of the engine, as name=value or name
      --engine-registry-mirror list     Mirror to pull from [$ENGINE_REGISTRY_MIRROR]
      --engine-storage-driver string    Storage driver of the engine
      --swarm                           Classic Swarm: no longer there, see 'swarm init'
      --swarm-addr string               Classic Swarm: no longer there
      --swarm-discovery string          Classic Swarm: no longer there
      --swarm-experimental              Classic Swarm: no longer there
      --swarm-host string               Classic Swarm: no longer there
      --swarm-image string              Classic Swarm: no longer there [$MACHINE_SWARM_IMAGE]
      --swarm-join-opt list             Classic Swarm: no longer there
      --swarm-master                    Classic Swarm: no longer there
      --swarm-opt list                  Classic Swarm: no longer there
      --swarm-strategy string           Classic Swarm: no longer there
      --tls-san list                    Further name or address that the machine's certificate is valid for
"""
_OLD_STORAGE, _STORAGE = ("aufs", "overlay"), "overlay2"


def default_driver(platform: str, *, root: bool) -> str:
    """The driver of `create` without `--driver`: what works there without anything to install or to pay for."""
    if platform == "linux" and root:
        return "local"
    return "qemu" if platform == "linux" else "virtualbox"


def create(session: Session, words: list[str]) -> int:
    """Make machines."""
    lines = _CREATE.format(driver=default_driver(sys.platform, root=_is_root()))
    driver = chosen_driver(words, lines, os.environ)
    flags = driver_class(driver).flags()
    given = session.options(words, lines + declared(flags), "NAME [NAME...]")
    names = list(dict.fromkeys(given.args))
    if not names:
        raise UsageFault("Error: No machine name specified", session.typed)
    _check_swarm(given)
    engine, values = _engine_options(given), {flag.name: value(given, flag, os.environ) for flag in flags}
    _warn(session, given, engine, shoald=not values.get("local-engine"))
    authority = {key: Path(os.path.abspath(path)) for key, path in session.certificates.items()}

    def make(name: str, say: Say) -> None:
        request = actions.Request(name, driver, engine, values, tuple(given.many("tls-san")), authority)
        actions.create(session.store, request, say, datetime.now(UTC))

    try:
        _hint(session, session.each(names, make))
    except Failed as fault:
        _hint(session, fault.done)
        raise
    return 0


def _hint(session: Session, names: Sequence[str]) -> None:
    for name in names:
        session.say(
            "To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: "
            f"{session.program} env {name}"
        )


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def chosen_driver(words: Sequence[str], lines: str, environment: Mapping[str, str]) -> str:
    """The driver must be known before its options can be parsed: look for it in the words.

    `lines` are the options of `create`.
    """
    flags = declare(lines)
    rest = double_dashed(words, flags)
    chosen = environment.get("MACHINE_DRIVER") or next(flag.default for flag in flags if flag.name == "driver")
    takes_value = {f"--{flag.name}" for flag in flags if flag.kind}
    while rest and (word := rest.pop(0)) != "--":
        if word in ("-d", "--driver") and rest:
            chosen = rest.pop(0)
        elif word.startswith(("-d=", "--driver=")):
            chosen = word.partition("=")[2]
        elif word.startswith("-d") and len(word) > 2:
            chosen = word[2:]
        elif word in takes_value and rest:
            rest.pop(0)
    return chosen


def declared(flags: Sequence[Flag]) -> str:
    """The driver's options as lines of `--help`, in alphabetic order."""
    lines = []
    for flag in sorted(flags):
        kind = {bool: "", int: "int", tuple: "list"}.get(type(flag.default), "string")
        default = f' (default "{flag.default}")' if flag.default and not isinstance(flag.default, bool | tuple) else ""
        variable = f" [${flag.environment}]" if flag.environment else ""
        lines.append(f"      --{flag.name}{' ' if kind else ''}{kind}   {flag.help}{variable}{default}\n")
    return "".join(lines)


def value(given: Options, flag: Flag, environment: Mapping[str, str]) -> Any:
    """The flag's value: from the command line, else from its environment variable, else its default.

    A variable that is empty counts as not set. Raises MachineError for a number that is none.
    """
    text = "" if given.changed(flag.name) else environment.get(flag.environment, "") if flag.environment else ""
    if isinstance(flag.default, tuple):
        return tuple(split(text) if text else given.many(flag.name)) or flag.default
    if isinstance(flag.default, bool):
        if text:
            return text.lower() in ("1", "t", "true")
        return given.flag(flag.name) if given.changed(flag.name) else flag.default
    if isinstance(flag.default, int):
        if not text:
            return given.number(flag.name)
        try:
            return integer(text)
        except ValueError:
            raise MachineError(f'invalid value "{text}" of ${flag.environment}: not a number') from None
    return text or given.text(flag.name) or flag.default


def split(text: str) -> list[str]:
    """A list as environment variables hold it."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_swarm(given: Options) -> None:
    discovery = given.text("swarm-discovery")
    if discovery and "://" not in discovery:
        raise MachineError(f"Error parsing swarm discovery: Swarm Discovery URL was in the wrong format: {discovery}")


def _warn(session: Session, given: Options, engine: EngineOptions, *, shoald: bool) -> None:
    swarm = [f"--{name}" for name in given.given() if name == "swarm" or name.startswith("swarm-")]
    if swarm:
        session.complain(
            f"Warning: {', '.join(swarm)}: classic Swarm is gone and this has no effect; use 'docker swarm init'"
        )
    storage = engine.storage_driver
    if storage in _OLD_STORAGE:
        session.complain(f"Warning: --engine-storage-driver {storage}: no engine has it any more, this has no effect")
    elif shoald and storage not in ("", _STORAGE):
        session.complain(f"Warning: --engine-storage-driver {storage}: shoald's is {_STORAGE}, this has no effect")
    if engine.install_url not in ("", "none"):
        session.complain("Warning: --engine-install-url: machines get Shoal from this client, this has no effect")


def _engine_options(given: Options) -> EngineOptions:
    return EngineOptions(
        arbitrary_flags=given.many("engine-opt"),
        env=given.many("engine-env"),
        insecure_registry=given.many("engine-insecure-registry"),
        labels=given.many("engine-label"),
        registry_mirror=given.many("engine-registry-mirror") or split(os.environ.get("ENGINE_REGISTRY_MIRROR", "")),
        storage_driver=given.text("engine-storage-driver"),
        install_url=given.text("engine-install-url") or os.environ.get("MACHINE_DOCKER_INSTALL_URL", ""),
    )


RUN = {"create": create}
