"""YAML as Compose reads it, with the line of everything: duplicate keys are refused, `80:80` and `yes` stay text."""

from __future__ import annotations

import re
from typing import Any

import yaml

from shoal.stack.names import StackFault

Place = tuple[str | int, ...]
"""Where something stands: the keys and positions that lead to it."""

Places = dict[Place, int]
"""Line numbers, from one, of keys and list items."""

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """Types of plain words as YAML 1.2 has them (with 1.1's octal numbers), not 1.1's base 60, dates and `yes`."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}


_RESOLVERS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
     "-+0123456789."),
    ("merge", r"<<", "<"),
)  # fmt: skip
for _name, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), list(_first))


def load(text: str, file: str) -> tuple[Any, Places]:
    """The document in `text` and where its parts stand. Raises StackFault naming `file` and the line."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(fault, "problem", None) or str(fault)
        raise StackFault(f"{file}{line}: yaml: {problem}") from fault
    places: Places = {}
    return (_value(node, (), places, file) if node else None), places


def _value(node: Any, place: Place, places: Places, file: str) -> Any:
    places.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, places, file)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*place, number), places, file) for number, item in enumerate(node.value)]
    return _scalar(node)


def _mapping(node: Any, place: Place, places: Places, file: str) -> dict[str, Any]:
    result: dict[str, Any] = {}
    merged: list[Any] = []
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == "tag:yaml.org,2002:merge":
            merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            continue
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None or key_node.tag != "tag:yaml.org,2002:str":
            where = ".".join(map(str, place)) or "top level"
            raise StackFault(
                f"{file}:{line}: Non-string key in {where}: {key if key is not None else '(a collection)'}"
            )
        if key in lines:
            raise StackFault(f'{file}:{line}: yaml: mapping key "{key}" already defined at line {lines[key]}')
        lines[key] = places[(*place, key)] = line
        result[key] = _value(value_node, (*place, key), places, file)
    for other in merged:
        if not isinstance(other, yaml.MappingNode):
            raise StackFault(f"{file}:{other.start_mark.line + 1}: yaml: map merge requires map or sequence of maps")
        for key, value in _mapping(other, place, {}, file).items():
            result.setdefault(key, value)
    return result


def _scalar(node: Any) -> Any:
    text = node.value
    match node.tag.rpartition(":")[2]:
        case "bool":
            return text.lower() == "true"
        case "null":
            return None
        case "int":
            return _integer(text)
        case "float":
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    if re.fullmatch(r"[-+]?0[0-7]+", digits):
        return int(digits, 8)
    return int(digits, 0)
