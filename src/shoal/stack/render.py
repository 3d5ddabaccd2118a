"""A loaded tree as a Compose file again: `stack config`."""

from __future__ import annotations

from typing import Any

import yaml

from shoal.kit.units import parse_bytes
from shoal.stack.shorthand import Tree, scalar


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Quoted with double quotes, where a plain word would mean something else."""
    tag = dumper.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
    plain = tag == "tag:yaml.org,2002:str" and value not in ("y", "n", "Y", "N")
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, None if plain and value else '"')


_Dumper.add_representer(str, _text)

_DEPLOY = (
    "mode", "replicas", "labels", "update_config", "rollback_config", "resources", "restart_policy", "placement",
    "endpoint_mode",
)  # fmt: skip
"""The order in which docker prints them."""


def render(tree: Tree, *, escape: bool) -> str:
    """YAML of `tree`. `escape` doubles dollars, so that the result means the same when it is read again."""
    whole: Tree = {"version": tree["version"], "services": {}}
    for name, service in sorted(tree["services"].items()):
        whole["services"][name] = {key: _plain(key, service[key]) for key in sorted(service, key=_place)}
    for section in ("networks", "volumes"):
        if tree[section]:
            whole[section] = {name: _ordered(item) for name, item in sorted(tree[section].items())}
    whole |= {key: value for key, value in sorted(tree.items()) if key.startswith("x-")}
    if escape:
        whole = _escaped(whole)
    text: str = yaml.dump(
        whole, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=4096
    )
    return text


def _place(key: str) -> str:
    return "environment/file" if key == "env_file" else key


def _ordered(item: Tree) -> Tree:
    order = ("name", "driver", "driver_opts", "ipam", "external", "internal", "attachable", "labels")
    return {key: item[key] for key in (*order, *(key for key in item if key not in order)) if key in item}


def _plain(key: str, value: Any) -> Any:
    if key == "deploy":
        known = [name for name in _DEPLOY if name in value]
        ordered = {name: value[name] for name in [*known, *(name for name in value if name not in known)]}
        return {name: _resources(item) if name == "resources" else item for name, item in ordered.items()}
    if key == "build" and isinstance(value, str):
        return {"context": value}
    if key == "expose":
        return [str(item) for item in value]
    return dict(sorted(value.items())) if key in ("environment", "labels", "networks", "ulimits", "sysctls") else value


def _resources(given: Tree) -> Tree:
    """Memory in bytes, CPUs as text."""
    result: Tree = {}
    for block, values in given.items():
        result[block] = dict(values)
        if "memory" in values:
            memory = values["memory"]
            result[block]["memory"] = str(memory if isinstance(memory, int) else parse_bytes(memory))
        if "cpus" in values:
            result[block]["cpus"] = scalar(values["cpus"])
    return result


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
