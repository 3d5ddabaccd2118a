"""Identifiers: the two shapes docker uses, from an injectable source of randomness."""

from __future__ import annotations

import random
import secrets
from typing import Protocol

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class Ids(Protocol):
    """A source of fresh identifiers."""

    def object_id(self) -> str:
        """25 characters of lower-case base 36: nodes, services, tasks, swarm networks, sessions."""
        ...

    def hex_id(self) -> str:
        """64 lower-case hexadecimal digits: containers, local networks, execs."""
        ...


class RandomIds:
    """Identifiers from the operating system's randomness."""

    def object_id(self) -> str:
        return _object_id(secrets.randbits(128))

    def hex_id(self) -> str:
        return secrets.token_hex(32)


class SeededIds:
    """Reproducible identifiers, for tests."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = random.Random(seed)

    def object_id(self) -> str:
        return _object_id(self._rng.getrandbits(128))

    def hex_id(self) -> str:
        return f"{self._rng.getrandbits(256):064x}"


def base36(value: int, width: int = 0) -> str:
    """`value` (not negative) in lower-case base 36, padded on the left with zeros to `width`."""
    digits = ""
    while value:
        value, digit = divmod(value, 36)
        digits = _BASE36[digit] + digits
    return digits.rjust(width, "0")


def _object_id(bits: int) -> str:
    return base36(bits % 36**25, 25)
