"""Variables in a Compose file: `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?message}`, `${X?message}`, `$$`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from shoal.stack.names import StackFault
from shoal.stack.yaml_places import Place

_START = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)|(?P<brace>\{))")
_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATORS = (":-", "-", ":?", "?")


class _Fault(ValueError):
    """Not a well-formed variable, or a required one is missing."""


def text(template: str, variables: Mapping[str, str]) -> str:
    """`template` with its variables replaced; an unset one without a default is empty.

    Raises ValueError with docker's words for a required one that is missing, or one that is not well formed.
    """
    result, position = "", 0
    while position < len(template):
        dollar = template.find("$", position)
        if dollar < 0:
            return result + template[position:]
        result += template[position:dollar]
        match = _START.match(template, dollar)
        if not match:
            raise _Fault(f'"{template}"')
        if match["escaped"]:
            result, position = result + "$", match.end()
        elif match["name"]:
            result, position = result + variables.get(match["name"], ""), match.end()
        else:
            end = _closing(template, match.end())
            result, position = result + _braced(template[match.end() : end], template, variables), end + 1
    return result


def _closing(template: str, start: int) -> int:
    """The brace that closes the one before `start`; defaults may hold variables themselves."""
    depth = 1
    for position in range(start, len(template)):
        if template[position] == "{" and template[position - 1] == "$":
            depth += 1
        elif template[position] == "}":
            depth -= 1
            if not depth:
                return position
    raise _Fault(f'"{template}"')


def _braced(body: str, template: str, variables: Mapping[str, str]) -> str:
    match = _NAME.match(body)
    if not match:
        raise _Fault(f'"{template}"')
    name, rest = match.group(), body[match.end() :]
    if not rest:
        return variables.get(name, "")
    operator = next((operator for operator in _OPERATORS if rest.startswith(operator)), "")
    if not operator:
        raise _Fault(f'"{template}"')
    argument = rest[len(operator) :]
    value = variables.get(name)
    if value or (value is not None and ":" not in operator):
        return value
    if "-" in operator:
        return text(argument, variables)
    raise _Fault(f'"required variable {name} is missing a value: {text(argument, variables)}"')


def tree(value: Any, variables: Mapping[str, str], place: Place, where: Callable[[Place], str]) -> Any:
    """Every text below `value` with its variables replaced; keys stay. Raises StackFault naming the place."""
    if isinstance(value, str):
        try:
            return text(value, variables)
        except _Fault as fault:
            dotted = ".".join(map(str, place))
            raise StackFault(
                f"invalid interpolation format for {dotted}: {fault}; you may need to escape any $ with another $"
                f"{where(place)}"
            ) from fault
    if isinstance(value, dict):
        return {key: tree(item, variables, (*place, key), where) for key, item in value.items()}
    if isinstance(value, list):
        return [tree(item, variables, (*place, number), where) for number, item in enumerate(value)]
    return value
