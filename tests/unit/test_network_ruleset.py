"""nftables tables as values: what leads from one to another, and what the rules say."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from shoal.network.ruleset import Chain, Elements, Table, change, create, remove, replace
from shoal.network.tables import (
    BridgeRules,
    Gate,
    IngressEnd,
    MeshPort,
    MeshRules,
    PublishedPort,
    VirtualAddress,
    in_turn,
    node_table,
    sandbox_table,
)

names = st.sampled_from(["a", "b", "c"])
chains = st.dictionaries(
    names,
    st.builds(Chain, st.lists(st.sampled_from(["r1", "r2"]), max_size=2).map(tuple), st.sampled_from(["", "hook1"])),
)
sets = st.dictionaries(
    names.map(lambda name: "s" + name),
    st.builds(
        Elements,
        st.sampled_from(["k : v", "k : w"]),
        st.dictionaries(st.sampled_from("123"), st.sampled_from(["x", "y"])),
    ),
)
tables = st.builds(Table, st.just("t"), chains, sets)


def run(commands: str, start: Table) -> Table:
    """A tiny nftables: what a table is after these commands."""
    hooks = {name: chain.hook for name, chain in start.chains.items()}
    rules = {name: list(chain.rules) for name, chain in start.chains.items()}
    kinds = {name: items.type for name, items in start.sets.items()}
    elements = {name: dict(items.items) for name, items in start.sets.items()}
    for command in commands.splitlines():
        match command.split(maxsplit=5):
            case ["add", "table", *_]:
                pass
            case ["add", "chain", _, _, name, *rest]:
                assert name not in hooks
                hooks[name] = rest[0].strip("{} ") if rest else ""
                rules[name] = []
            case ["flush", "chain", _, _, name]:
                rules[name] = []
            case ["delete", "chain", _, _, name]:
                assert not rules.pop(name)
                del hooks[name]
            case ["add", "rule", _, _, name, rule]:
                rules[name].append(rule)
            case ["add", "map", _, _, name, kind]:
                assert name not in kinds
                kinds[name] = kind.strip("{} ").removeprefix("type ").rstrip("; ")
                elements[name] = {}
            case ["delete", "map", _, _, name]:
                del kinds[name], elements[name]
            case ["add", "element", _, _, name, items]:
                for key, value in re.findall(r"(\w+) : (\w+)", items):
                    assert key not in elements[name]
                    elements[name][key] = value
            case ["delete", "element", _, _, name, items]:
                for key in re.findall(r"\w+", items):
                    del elements[name][key]
            case _:
                raise AssertionError(command)
    return Table(
        "t",
        {name: Chain(tuple(rules[name]), hooks[name]) for name in hooks},
        {name: Elements(kinds[name], elements[name]) for name in kinds},
    )


def same(one: Table, other: Table) -> bool:
    return dict(one.chains) == dict(other.chains) and dict(one.sets) == dict(other.sets)


@given(old=tables, new=tables)
def test_change_leads_from_old_to_new(old: Table, new: Table) -> None:
    """The commands of a change turn the old table into exactly the new one."""
    old = Table("t", old.chains, {k: v for k, v in old.sets.items() if k not in new.sets or new.sets[k].type == v.type})
    assert same(run(change(old, new), old), new)


@given(tables)
def test_equal_tables_need_nothing(table: Table) -> None:
    """Between equal tables there is no command at all."""
    assert change(table, table) == ""


@given(tables)
def test_create_makes_all_of_it(table: Table) -> None:
    """A table is made from nothing; replacing is removing and making."""
    assert same(run(create(table), Table("t")), table)
    assert replace(table) == remove("t") + create(table)


def test_untouched_chains_keep_their_place() -> None:
    """A change to one service leaves the others' chains alone, so that their turns go on."""
    before = node_table("n", [], [], mesh(("10.0.0.1",), ("10.0.0.7",)))
    after = node_table("n", [], [], mesh(("10.0.0.1", "10.0.0.2"), ("10.0.0.7",)))
    commands = change(before, after)
    assert "mesh_tcp_80" in commands
    assert "mesh_tcp_81" not in commands


def mesh(*backends: tuple[str, ...]) -> MeshRules:
    ports = tuple(MeshPort("tcp", 80 + number, some, 1024 + number) for number, some in enumerate(backends))
    return MeshRules("in", "10.0.0.0/24", 1450, ports)


def test_backends_take_turns() -> None:
    """Backends are numbered from 0 and the counter runs modulo their number."""
    assert in_turn(["10.0.0.1", "10.0.0.2"]) == "dnat ip to numgen inc mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }"


def test_node_table() -> None:
    """Published ports, the mesh and the bridges are elements of sets; a port without backends leads nowhere."""
    bridges = [BridgeRules("docker0", ("172.17.0.0/16",)), BridgeRules("inner", ("172.18.0.0/16",), internal=True)]
    published = [
        PublishedPort("tcp", "", 8080, "172.17.0.2", 80),
        PublishedPort("udp", "127.0.0.1", 53, "172.17.0.2", 53),
    ]
    table = node_table("n", bridges, published, mesh(("10.0.0.1",), ()))
    assert table.sets["everywhere"].items == {"tcp . 8080": "172.17.0.2 . 80"}
    assert table.sets["somewhere"].items == {"127.0.0.1 . udp . 53": "172.17.0.2 . 53"}
    assert table.sets["mesh"].items == {"tcp . 80": "goto mesh_tcp_80"}
    assert set(table.sets["bridges"].items) == {'"docker0"', '"inner"', '"in"'}
    assert set(table.sets["internal"].items) == {'"inner"'}
    assert 'oifname != "docker0" ip saddr 172.17.0.0/16 masquerade' in table.chains["post"].rules
    assert not any('oifname != "inner"' in rule for rule in table.chains["post"].rules)


def test_outside_clients_are_never_masqueraded_into_the_mesh() -> None:
    """Towards the mesh only the node's own addresses and those of its local networks are masqueraded."""
    rules = node_table("n", [BridgeRules("docker0", ("172.17.0.0/16",))], [], mesh(("10.0.0.1",))).chains["post"].rules
    towards = [rule for rule in rules if rule.startswith('oifname "in"')]
    assert towards == [
        'oifname "in" ct status dnat fib saddr type local masquerade fully-random',
        'oifname "in" ct status dnat ip saddr { 10.0.0.0/24, 172.17.0.0/16 } masquerade fully-random',
    ]


def test_sandbox_table() -> None:
    """Names come before virtual addresses, a service without tasks is refused, and nothing needs no table."""
    addresses = [VirtualAddress("10.0.1.2", ("10.0.1.3",)), VirtualAddress("10.0.1.9", ())]
    table = sandbox_table((4053, 4054), addresses)
    assert table.chains["out"].rules == (
        "ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:4053",
        "ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:4054",
        "ip daddr vmap @vips",
    )
    assert table.sets["vips"].items == {"10.0.1.2": "goto vip_10_0_1_2"}
    assert table.sets["dead"].items == {"10.0.1.9": ""}
    assert not sandbox_table(None).chains


def test_ingress_end() -> None:
    """A container on the ingress network marks connections by the MAC of the node they came through."""
    gate = Gate("02:42:0a:00:00:65", 0x10065, (("tcp", 2000, 80), ("udp", 2001, 53)))
    table = sandbox_table(None, (), IngressEnd("eth0", "10.0.0.0/24", "172.18.0.2"), [gate])
    assert table.sets["gates"].items == {"02:42:0a:00:00:65": "0x10065"}
    assert table.sets["gate_ports"].items["02:42:0a:00:00:65 . tcp . 2000"] == "80"
    assert table.sets["gate_datagrams"].items == {"02:42:0a:00:00:65 . 2001": "172.18.0.2 . 53"}
