"""Dockerfile instructions applied to a container config: what `docker import --change` and `commit --change` take."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from shoal.kit.units import parse_duration
from shoal.model.container import ContainerConfig
from shoal.model.errors import InvalidArgument
from shoal.model.swarm_spec import HealthConfig


def apply_changes(config: ContainerConfig, changes: Sequence[str]) -> ContainerConfig:
    """`config` after the instructions in `changes`. Raises InvalidArgument for what is not allowed there."""
    for line in changes:
        word, _, rest = line.strip().partition(" ")
        instruction = _INSTRUCTIONS.get(word.upper())
        if instruction is None:
            raise InvalidArgument(f"{word.upper()} is not a valid change command")
        try:
            config = instruction(config, rest.strip())
        except ValueError as fault:
            raise InvalidArgument(f"{word.upper()}: {fault}") from fault
    return config


def _words(text: str) -> list[str] | None:
    """The exec form, a JSON list of strings; None for any other text."""
    try:
        words = json.loads(text) if text.startswith("[") else None
    except ValueError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _command(text: str) -> list[str]:
    """The exec form, or the shell form."""
    words = _words(text)
    return ["/bin/sh", "-c", text] if words is None else words


def _pairs(text: str) -> dict[str, str]:
    """`a=1 b="two words"`, or the old form `a rest of the line`."""
    first, _, rest = text.partition(" ")
    if "=" not in first:
        return {first: rest.strip()}
    return dict(word.partition("=")[::2] for word in shlex.split(text))


def _env(config: ContainerConfig, text: str) -> ContainerConfig:
    known = dict(entry.partition("=")[::2] for entry in config.env) | _pairs(text)
    return replace(config, env=[f"{key}={value}" for key, value in known.items()])


def _expose(config: ContainerConfig, text: str) -> ContainerConfig:
    ports: dict[str, dict[str, str]] = {port if "/" in port else f"{port}/tcp": {} for port in text.split()}
    for port in ports:
        if not 0 < int(port.split("/")[0]) < 65536:
            raise ValueError(f"invalid containerPort: {port}")
    return replace(config, exposed_ports={**config.exposed_ports, **ports})


def _volume(config: ContainerConfig, text: str) -> ContainerConfig:
    words = _words(text)
    paths = text.split() if words is None else words
    return replace(config, volumes={**config.volumes, **{path: {} for path in paths}})


def _healthcheck(config: ContainerConfig, text: str) -> ContainerConfig:
    durations: dict[str, int] = {}
    retries = 0
    words = text.split(" ")
    while words and words[0].startswith("--"):
        name, _, value = words.pop(0)[2:].partition("=")
        if name == "retries":
            retries = int(value)
        elif name in ("interval", "timeout", "start-period", "start-interval"):
            durations[name.replace("-", "_")] = parse_duration(value)
        else:
            raise ValueError(f"unknown flag: {name}")
    kind, _, rest = " ".join(words).partition(" ")
    if kind.upper() == "NONE" and not rest:
        return replace(config, healthcheck=HealthConfig(test=["NONE"]))
    if kind.upper() != "CMD":
        raise ValueError(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    exact = _words(rest.strip())
    test = ["CMD-SHELL", rest.strip()] if exact is None else ["CMD", *exact]
    return replace(config, healthcheck=HealthConfig(test=test, retries=retries, **durations))


_INSTRUCTIONS: dict[str, Callable[[ContainerConfig, str], ContainerConfig]] = {
    "CMD": lambda config, text: replace(config, cmd=_command(text)),
    "ENTRYPOINT": lambda config, text: replace(config, entrypoint=_command(text)),
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": lambda config, text: replace(config, labels={**config.labels, **_pairs(text)}),
    "STOPSIGNAL": lambda config, text: replace(config, stop_signal=text),
    "USER": lambda config, text: replace(config, user=text),
    "VOLUME": _volume,
    "WORKDIR": lambda config, text: replace(config, working_dir=text),
}
