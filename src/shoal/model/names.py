"""Names: what is allowed, what a nameless thing gets, and how an object is found by what people type."""

from __future__ import annotations

import re
from collections.abc import Iterable
from random import Random
from typing import Protocol, TypeVar

from shoal.model.errors import InvalidArgument, NotFound
from shoal.model.objects import Task

_DNS_NAME = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*")
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_ADJECTIVES = """
    amber able blue bold brave brisk calm clever coral crisp daring deep eager early fair fleet fond
    free fresh gentle glad golden grand happy hardy honest humble jolly keen kind lively loyal lucid
    lucky mellow merry mild nimble noble patient plucky polite proud quick quiet rapid ready royal
    silver smart snug spry steady still sunny swift tidy true vivid warm wise witty young zesty
""".split()  # noqa: SIM905
_SURNAMES = """
    abel babbage banach bell bohr borg boole cantor church codd cray curie darwin dijkstra dirac
    einstein engelbart euclid euler fermat feynman galileo galois gauss germain goedel hamilton hamming
    heisenberg hertz hopper hypatia joule kepler khorana knuth lamport laplace leibniz liskov lovelace
    maxwell mendel milner morse newton noether pascal pauling perlman planck poincare ptolemy raman
    ritchie rivest salk shannon swartz tesla thompson torvalds turing volta wiles wozniak
""".split()  # noqa: SIM905


class Named(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Named)


def check_service_name(name: str) -> None:
    """Raise InvalidArgument unless `name` may name a service or a swarm network: a DNS label of up to 63."""
    if not name:
        raise InvalidArgument("rpc error: code = InvalidArgument desc = name must be provided")
    if not _DNS_NAME.fullmatch(name):
        raise InvalidArgument("rpc error: code = InvalidArgument desc = name must be valid as a DNS name component")
    if len(name) > 63:
        raise InvalidArgument("rpc error: code = InvalidArgument desc = name must be 63 characters or fewer")


def check_container_name(name: str) -> None:
    """Raise InvalidArgument unless `name` may name a container."""
    if not _CONTAINER_NAME.fullmatch(name):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


def check_volume_name(name: str) -> None:
    """Raise InvalidArgument unless `name` may name a volume, which is a directory of that name."""
    if len(name) < 2:
        raise InvalidArgument(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if len(name) > 255:
        raise InvalidArgument(f"create {name}: volume name is too long, names should be at most 255 characters")
    if not _CONTAINER_NAME.fullmatch(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def random_name(rng: Random) -> str:
    """`adjective_surname`, for what the user did not name."""
    return f"{rng.choice(_ADJECTIVES)}_{rng.choice(_SURNAMES)}"


def task_name(task: Task) -> str:
    """`web.1.<task id>`; of a global service's task, the node id stands for the slot. Also its container's name."""
    return f"{task.service_name}.{task.slot or task.node_id}.{task.id}"


def find(kind: str, things: Iterable[N], wanted: str, name_of: str | None = None) -> N:
    """The one of `things` that `wanted` means: its full id, else its exact name, else the beginning of its id.

    `name_of` is a dotted path to the name (`spec.name`). Raises NotFound, or InvalidArgument when several match.
    """
    things = list(things)
    by_id = [thing for thing in things if thing.id == wanted]
    by_name = [thing for thing in things if name_of and _dig(thing, name_of) == wanted]
    by_prefix = [thing for thing in things if wanted and thing.id.startswith(wanted)]
    for matches in (by_id, by_name, by_prefix):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InvalidArgument(f"{kind} {wanted} is ambiguous ({len(matches)} matches found)")
    raise NotFound(f"{kind} {wanted} not found")


def _dig(thing: object, path: str) -> object:
    for part in path.split("."):
        thing = getattr(thing, part)
    return thing
