"""An nftables table as a value, and the commands that lead from one value to another. Pure.

Callers describe the whole table that should be; `change` finds the smallest transaction. Names of chains and sets are
stable, so what did not change is not touched and counters (`numgen inc`) go on where they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order. `hook` is empty for a chain that others jump to."""

    rules: tuple[str, ...] = ()
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Elements:
    """A named set or map. `items` maps keys to values; a set has empty values."""

    type: str
    """As nft writes it: `ifname`, or `inet_proto . inet_service : verdict`."""
    items: Mapping[str, str] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """`map` or `set`."""
        return "map" if " : " in self.type else "set"


@dataclass(frozen=True, slots=True)
class Table:
    """An IPv4 table."""

    name: str
    chains: Mapping[str, Chain] = field(default_factory=dict)
    sets: Mapping[str, Elements] = field(default_factory=dict)


def replace(table: Table) -> str:
    """Commands that make `table` exactly so, whatever was there before."""
    return remove(table.name) + create(table)


def create(table: Table) -> str:
    """Commands that make `table` where there is none; cheaper than `replace`."""
    return f"add table ip {table.name}\n" + "".join(_changes(Table(table.name), table))


def change(old: Table, new: Table) -> str:
    """Commands from `old` to `new` (of the same name); empty when they are equal."""
    return "".join(_changes(old, new))


LIST = "list tables ip"
"""The command whose output tells `is_among` which tables there are."""


def is_among(name: str, listing: str) -> bool:
    """Whether there is a table called `name`."""
    return f"table ip {name}" in listing.splitlines()


def remove(name: str) -> str:
    """Commands that remove the table, be it there or not."""
    return f"add table ip {name}\ndelete table ip {name}\n"


def _changes(old: Table, new: Table) -> Iterator[str]:
    """Things appear before anything refers to them, and go after nothing does."""
    name = new.name
    old_chains = {key: chain for key, chain in old.chains.items() if key in new.chains and _same_hook(old, new, key)}
    old_sets = {key: items for key, items in old.sets.items() if key in new.sets and new.sets[key].type == items.type}
    for key, chain in new.chains.items():
        if key not in old_chains:
            if key in old.chains:
                yield f"flush chain ip {name} {key}\ndelete chain ip {name} {key}\n"
            yield f"add chain ip {name} {key} {{ {chain.hook} }}\n" if chain.hook else f"add chain ip {name} {key}\n"
    for key, items in new.sets.items():
        if key not in old_sets:
            yield f"add {items.word} ip {name} {key} {{ type {items.type}; }}\n"
    for key, chain in new.chains.items():
        before = old_chains.get(key, Chain()).rules
        if before != chain.rules:
            if before:
                yield f"flush chain ip {name} {key}\n"
            for rule in chain.rules:
                yield f"add rule ip {name} {key} {rule}\n"
    for key, items in new.sets.items():
        yield from _element_changes(name, key, old_sets.get(key, Elements(items.type)).items, items.items)
    for key in old.chains.keys() - new.chains.keys():
        yield f"flush chain ip {name} {key}\n"
    for key, items in old.sets.items():
        if key not in new.sets:
            yield f"delete {items.word} ip {name} {key}\n"
    for key in sorted(old.chains.keys() - new.chains.keys()):
        yield f"delete chain ip {name} {key}\n"


def _element_changes(table: str, name: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    gone = [key for key, value in old.items() if new.get(key) != value]
    come = [f"{key} : {value}" if value else key for key, value in new.items() if old.get(key) != value]
    if gone:
        yield f"delete element ip {table} {name} {{ {', '.join(gone)} }}\n"
    if come:
        yield f"add element ip {table} {name} {{ {', '.join(come)} }}\n"


def _same_hook(old: Table, new: Table, key: str) -> bool:
    return old.chains[key].hook == new.chains[key].hook
