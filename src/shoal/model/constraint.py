"""The placement constraint language: `node.labels.disk==ssd`, `node.role!=manager` (rules as in SwarmKit)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from shoal.model.base import Struct
from shoal.model.errors import InvalidArgument
from shoal.model.objects import Node

_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE)


class Constraint(Struct, frozen=True):
    """`key` equals, or differs from, `value`."""

    key: str
    equal: bool
    value: str

    def holds(self, node: Node) -> bool:
        """Whether `node` satisfies this; an unknown key never does."""
        if self.key == "node.ip":
            return self._holds_address(node.status.addr)
        actual = _attribute(node, self.key)
        return actual is not None and (actual.lower() == self.value.lower()) == self.equal

    def _holds_address(self, text: str) -> bool:
        try:
            inside = ipaddress.ip_address(text) in ipaddress.ip_network(self.value, strict=False)
        except ValueError:
            return False
        return inside == self.equal


def parse(texts: Iterable[str]) -> list[Constraint]:
    """The constraints that `texts` mean; all of them must hold. Raises InvalidArgument."""
    return [_parse_one(text) for text in texts]


def satisfied(texts: Iterable[str], node: Node) -> bool:
    """Whether `node` satisfies every one of `texts`, which were validated before."""
    return all(constraint.holds(node) for constraint in parse(texts))


def _parse_one(text: str) -> Constraint:
    for operator, equal in (("==", True), ("!=", False)):
        key, found, value = text.partition(operator)
        if not found:
            continue
        key, value = key.strip(), value.strip()
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"key '{key}' is invalid")
        if not _VALUE.fullmatch(value):
            raise InvalidArgument(f"value '{value}' is invalid")
        return Constraint(key=key, equal=equal, value=value)
    raise InvalidArgument("constraint expected one operator from ==, !=")


def _attribute(node: Node, key: str) -> str | None:
    lowered = key.lower()
    simple = {
        "node.id": node.id,
        "node.hostname": node.description.hostname,
        "node.role": node.role,
        "node.platform.os": node.description.platform.os,
        "node.platform.arch": node.description.platform.architecture,
    }
    if lowered in simple:
        return simple[lowered]
    if lowered.startswith("node.labels."):
        return node.spec.labels.get(key[len("node.labels.") :], "")
    if lowered.startswith("engine.labels."):
        return node.description.engine.labels.get(key[len("engine.labels.") :], "")
    return None
