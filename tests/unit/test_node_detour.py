"""Where packets to managers that moved are sent while there is no quorum."""

from __future__ import annotations

from shoal.node.detour import TABLE, detours, rules

PEERS = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3", "d": "fd00::4"}


def test_only_managers_that_moved_are_reached_by_a_detour() -> None:
    """Old to present address, for other managers that etcd knows elsewhere; nothing for oneself, those that stayed,
    those of another family of addresses, names, and managers that etcd does not know."""
    present = {"a": "10.0.0.9", "b": "10.0.0.2", "c": "10.0.0.1", "d": "10.0.0.4", "e": "10.0.0.5"}
    assert detours(PEERS, present, "a") == {"10.0.0.3": "10.0.0.1"}
    assert detours(PEERS, PEERS, "a") == {}
    assert detours({"b": "here"}, {"b": "there; flush ruleset"}, "a") == {}


def test_the_rules_replace_those_before() -> None:
    """One transaction that removes what was there, and makes one rule for each detour."""
    assert rules({}, 2378) == f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    text = rules({"10.0.0.3": "10.0.0.1", "fd00::4": "fd00::5"}, 2378)
    assert text.startswith(rules({}, 2378))
    assert "ip daddr 10.0.0.3 tcp dport 2378 dnat ip to 10.0.0.1:2378\n" in text
    assert "ip6 daddr fd00::4 tcp dport 2378 dnat ip6 to [fd00::5]:2378\n" in text
