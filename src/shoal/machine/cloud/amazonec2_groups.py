"""Security groups at EC2: one per name in a VPC, shared by machines, also by those that are made at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.machine.cloud import rules
from shoal.machine.cloud.provider import Save

MADE_BY = "Made by shoal machine"
"""The description of our groups: those of others are never removed."""


def open_ports(cloud: Any, data: dict[str, Any], save: Save) -> None:
    """Find or make the groups that `data` names, and let in what they do not, unless they are not ours to change."""
    ids: list[str] = []
    for name in data["SecurityGroupNames"]:
        group, present = _group(cloud, name, data["VpcId"])
        ids.append(group)
        # Before its rules: whatever comes between, the group is known.
        data["SecurityGroupIds"] = ids
        save()
        if not data["SecurityGroupReadOnly"]:
            _allow(cloud, data, group, present)


def close_ports(cloud: Any, data: Mapping[str, Any], in_use: Callable[[Exception], bool]) -> None:
    """Remove those of our own making that no network card bears any more."""
    used = {group["group_id"] for card in cloud.ex_list_network_interfaces() for group in card.extra["groups"]}
    for group in cloud.ex_get_security_groups(filters={"group-id": list(data["SecurityGroupIds"])}):
        if group.extra.get("description") != MADE_BY or group.id in used:
            continue
        try:
            cloud.ex_delete_security_group_by_id(group.id)
        except Exception as fault:  # Libcloud has no type of its own for it
            if not in_use(fault):
                raise


def covers(old: Mapping[str, Any], rule: rules.Rule, group: str) -> bool:
    """Whether a group's rule lets in all that `rule` does."""
    if old["protocol"] not in (rule.protocol, "-1"):
        return False
    sources = [pair.get("group_id") for pair in old["group_pairs"]] if rule.members else old["cidr_ips"]
    if not ({group, rules.ANYWHERE} & {*sources, *old["cidr_ips"]}):
        return False
    first, last = old["from_port"], old["to_port"]
    return old["protocol"] == "-1" or (first is not None and int(first) <= rule.first and rule.last <= int(last))


def _group(cloud: Any, name: str, network: str) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """The id of the group and the rules that it has; made when it is missing."""
    wanted = {"vpc-id": network, "group-name": name}
    if not (found := cloud.ex_get_security_groups(filters=wanted)):
        try:
            return str(cloud.ex_create_security_group(name, MADE_BY, vpc_id=network)["group_id"]), ()
        except Exception as fault:  # Libcloud has no type of its own for it
            # Another command at the same time was first.
            if "InvalidGroup.Duplicate" not in str(fault):
                raise
        found = cloud.ex_get_security_groups(filters=wanted)
    return str(found[0].id), found[0].ingress_rules


def _allow(cloud: Any, data: Mapping[str, Any], group: str, present: Sequence[Mapping[str, Any]]) -> None:
    for rule in rules.needed(data["SSHPort"], data["OpenPorts"]):
        if any(covers(old, rule, group) for old in present):
            continue
        source = {"group_pairs": [{"group_id": group}]} if rule.members else {"cidr_ips": [rules.ANYWHERE]}
        try:
            cloud.ex_authorize_security_group_ingress(group, rule.first, rule.last, protocol=rule.protocol, **source)
        except Exception as fault:  # as above
            if "InvalidPermission.Duplicate" not in str(fault):
                raise
