"""Which ports must be open for a machine of a swarm. Decisions only; providers' files tell the providers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shoal.machine.errors import MachineError

ENGINE_PORT = 2376
ANYWHERE = "0.0.0.0/0"

_OPEN_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?")


class Rule(NamedTuple):
    """Ports `first` to `last` are let in; `members`: only from machines under the same rules, else from anywhere."""

    protocol: str
    first: int
    last: int
    members: bool = False


SWARM = (
    Rule("tcp", 2377, 2378, members=True), Rule("tcp", 7946, 7946, members=True),
    Rule("udp", 7946, 7946, members=True), Rule("udp", 4789, 4789, members=True),
)  # fmt: skip
"""Management, certificates for those who join, gossip, and the overlay networks' packets."""


def needed(ssh_port: int, opened: Iterable[str] = ()) -> Sequence[Rule]:
    """What is let in: ssh, the Engine API, the swarm's traffic between members, and what the user opens.

    `opened` are `8080`, `8080/udp`, `8000-8010/tcp`. Raises MachineError for others.
    """
    mine = [Rule("tcp", ssh_port, ssh_port), Rule("tcp", ENGINE_PORT, ENGINE_PORT), *SWARM]
    return list(dict.fromkeys([*mine, *map(_parse, opened)]))


def _parse(text: str) -> Rule:
    match = _OPEN_PORT.fullmatch(text.strip())
    if not match:
        raise MachineError(f'invalid port "{text}": want PORT, PORT-PORT or PORT/tcp|udp')
    first, last = int(match[1]), int(match[2] or match[1])
    if not 0 < first <= last < 65536:
        raise MachineError(f'invalid port "{text}"')
    return Rule(match[3] or "tcp", first, last)
