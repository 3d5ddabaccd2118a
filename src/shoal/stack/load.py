"""Compose files to one checked tree in long form: read, interpolate, check, unfold, merge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from shoal.model.swarm_spec import NetworkSpec
from shoal.stack import interpolate, merge, shorthand, vocabulary
from shoal.stack.names import StackFault
from shoal.stack.schema import SchemaFault
from shoal.stack.shorthand import Surroundings, Tree
from shoal.stack.yaml_places import Place, Places
from shoal.stack.yaml_places import load as load_yaml


class File(NamedTuple):
    """A Compose file's name as messages show it, and its text."""

    name: str
    text: str


class Loaded(NamedTuple):
    """The merged tree, and what the user should know."""

    tree: Tree
    warnings: list[str]


def load(
    files: Sequence[File],
    directory: str,
    variables: Mapping[str, str],
    read: Callable[[str], str],
    *,
    interpolated: bool = True,
) -> Loaded:
    """The stack that `files`, in order, describe.

    `directory` is where relative paths start, `variables` the caller's environment, `read` gets the text of an
    env_file. Raises StackFault, OSError.
    """
    trees = [_one(file, Surroundings(directory, variables, read), interpolated=interpolated) for file in files]
    versions = {tree["version"] for tree in trees}
    if len(versions) > 1:
        first, second = [tree["version"] for tree in trees if tree["version"] in versions][:2]
        raise StackFault(f"version mismatched between two composefiles : {first} and {second}")
    whole = trees[0]
    for tree in trees[1:]:
        whole = merge.files(whole, tree)
    return Loaded(whole, _warnings(whole))


def _one(file: File, around: Surroundings, *, interpolated: bool) -> Tree:
    data, places = load_yaml(file.text, file.name)
    if not isinstance(data, dict):
        raise StackFault(f"{file.name}: top-level object must be a mapping")
    where = _Where(file.name, places)
    version = _version(data, where)
    _refuse_forbidden(data, where)
    if interpolated:
        for section in ("services", "networks", "volumes"):
            if section in data:
                data[section] = interpolate.tree(data[section], around.variables, (section,), where)
    for section in ("services", "networks", "volumes"):
        if data.get(section, {}) is None:
            data[section] = {}
    try:
        data = vocabulary.FILE.read(data, ())
    except SchemaFault as fault:
        raise StackFault(f"{fault}{where(fault.place)}") from fault
    _refuse_later(data, where)
    _refuse_encryption(data, where)
    try:
        return {**_unfolded(data, around), "version": version}
    except StackFault as fault:
        raise StackFault(f"{fault} ({file.name})") from fault


class _Where:
    """Says where a place is: ` (docker-compose.yml:7)`."""

    def __init__(self, name: str, places: Places) -> None:
        self._name, self._places = name, places

    def __call__(self, place: Place) -> str:
        while place and place not in self._places:
            place = place[:-1]
        return f" ({self._name}:{self._places.get(place, 1)})"


def _version(data: Tree, where: _Where) -> str:
    version = data.get("version", vocabulary.VERSIONS[-1])
    if not isinstance(version, str):
        raise StackFault(f"version must be a string{where(('version',))}")
    if version not in vocabulary.VERSIONS:
        raise StackFault(f"unsupported Compose file version: {version}{where(('version',))}")
    return vocabulary.VERSIONS[-1] if version == "3" else version


def _refuse_forbidden(data: Tree, where: _Where) -> None:
    services = data.get("services")
    for name, service in services.items() if isinstance(services, dict) else []:
        for key in service if isinstance(service, dict) else []:
            if key in vocabulary.FORBIDDEN:
                place = where(("services", name, key))
                reason = vocabulary.FORBIDDEN[key]
                raise StackFault(f"Compose file contains unsupported options:\n\n{key}: {reason}{place}\n")


def _refuse_later(data: Tree, where: _Where) -> None:
    """Secrets and configs are not there yet: said by name, instead of starting something without them."""
    for section in ("secrets", "configs"):
        for name in data.get(section) or {}:
            raise StackFault(f"{section}.{name}: {section} are not supported yet{where((section, name))}")
        for name, service in data.get("services", {}).items():
            if service.get(section):
                place = ("services", name, section)
                raise StackFault(f"services.{name}.{section}: {section} are not supported yet{where(place)}")


def _refuse_encryption(data: Tree, where: _Where) -> None:
    """Refused here with its place; the manager would do it too, after half of the stack is there."""
    for name, network in data.get("networks", {}).items():
        options = shorthand.pairs((network or {}).get("driver_opts", {}))
        if NetworkSpec(options=options).encrypted:
            place = ("networks", name, "driver_opts", "encrypted")
            raise StackFault(
                f"{'.'.join(place)} is not supported: traffic between the nodes would go in clear{where(place)}"
            )


def _unfolded(data: Tree, around: Surroundings) -> Tree:
    result: Tree = {key: value for key, value in data.items() if key.startswith("x-")}
    result["services"] = {
        name: shorthand.service(name, service, around) for name, service in data.get("services", {}).items()
    }
    for section, kind in (("networks", "network"), ("volumes", "volume")):
        result[section] = {name: shorthand.resource(name, kind, item) for name, item in data.get(section, {}).items()}
    return result


def _warnings(tree: Tree) -> list[str]:
    used = {key for service in tree["services"].values() for key in service}
    found: list[str] = []
    ignored = sorted(used & {*vocabulary.UNSUPPORTED, "restart"})
    if ignored:
        found.append(f"Ignoring unsupported options: {', '.join(ignored)}\n")
    deprecated = sorted(used & vocabulary.DEPRECATED.keys())
    if deprecated:
        found.append("Ignoring deprecated options:\n")
        found += [f"{key}: {vocabulary.DEPRECATED[key]}\n" for key in deprecated]
    addressed = sorted(
        name for name, service in tree["services"].items() if any(port.get("ip") for port in service.get("ports", []))
    )
    found += [
        f"ignoring IP-address for ports of service {name}: a service listens on all addresses" for name in addressed
    ]
    return found


def read_files(paths: Sequence[str], stdin: Callable[[], str]) -> tuple[list[File], str]:
    """The files at `paths` (`-` is standard input) and the directory that relative paths start from. Raises OSError."""
    files: list[File] = []
    for path in paths:
        if path == "-":
            files.append(File("<stdin>", stdin()))
        else:
            with open(path, encoding="utf-8-sig") as file:
                files.append(File(path, file.read()))
    first = next((path for path in paths if path != "-"), "")
    return files, os.path.dirname(os.path.abspath(first)) if first else os.getcwd()


def read_text(path: str) -> str:
    """The text of an env_file. Raises OSError."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()
