"""What a commit means for versions and names, the same for every store: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from shoal.model.errors import Conflict, OutOfSequence
from shoal.model.objects import Cluster, StoreObject
from shoal.store.base import Put, Write
from shoal.store.view import View, kind_of, name_of

Name = tuple[str, str]
"""Kind and lower-cased name."""


@dataclass
class Names:
    """Unique names that a commit takes and releases; a name may be both, when it changes hands."""

    taken: dict[Name, StoreObject] = field(default_factory=dict)
    released: dict[Name, StoreObject] = field(default_factory=dict)


def check_versions(view: View, writes: Sequence[Write]) -> None:
    """Raises OutOfSequence when something was changed since it was read, or is written twice at once."""
    seen = set()
    for write in writes:
        thing = write.thing
        known: StoreObject | None = view.get(type(thing), thing.id)
        if (known.version.index if known else 0) != thing.version.index or (type(thing), thing.id) in seen:
            raise OutOfSequence
        seen.add((type(thing), thing.id))


def name_changes(view: View, writes: Sequence[Write]) -> Names:
    """Which names change hands. Raises Conflict when two of the writes want the same."""
    names = Names()
    for write in writes:
        thing = write.thing
        old: StoreObject | None = view.get(type(thing), thing.id)
        before = name_of(old) if old is not None else None
        after = name_of(thing) if isinstance(write, Put) else None
        if before == after:
            continue
        if old is not None and before is not None:
            names.released[kind_of(thing), before] = old
        if after is not None:
            if (kind_of(thing), after) in names.taken:
                raise name_conflict(thing)
            names.taken[kind_of(thing), after] = thing
    return names


def stamped(thing: StoreObject, view: View, now: datetime) -> StoreObject:
    """`thing` as it is written at `now`: new ones get `created_at`, all get `updated_at`, new specs `spec_since`."""
    before: StoreObject | None = view.get(type(thing), thing.id)
    same_spec = before is not None and _asked_for(before) == _asked_for(thing)
    return replace(
        thing,
        created_at=thing.created_at if thing.version.index else now,
        updated_at=now,
        spec_since=thing.spec_since if same_spec else view.revision,
    )


def _asked_for(thing: StoreObject) -> object:
    """What of it users decide: the spec, and the swarm's tokens, which they rotate."""
    return (thing.spec, thing.join_tokens) if isinstance(thing, Cluster) else thing.spec


def name_conflict(thing: StoreObject) -> Conflict:
    """The error for a name that is taken, in docker's words."""
    kind, name = kind_of(thing), getattr(thing.spec, "name", "")
    if kind == "network":
        return Conflict(f"network with name {name} already exists")
    return Conflict(
        f"rpc error: code = AlreadyExists desc = name conflicts with an existing object: {kind} {name} already exists"
    )
