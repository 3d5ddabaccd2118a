"""Structs to plain JSON values, with Go's habits that the struct alone cannot say.

A field at its default is left out where the struct says so (`omit_defaults`), except those that Go always prints
(`ALWAYS`); private fields (`PRIVATE`) never are; task states are words.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec

from shoal.model import objects, swarm_spec
from shoal.model.states import TaskState

ALWAYS: dict[type, set[str]] = {
    swarm_spec.PortConfig: {"protocol", "target_port", "published_port", "publish_mode"},
    swarm_spec.UpdateConfig: {"parallelism", "max_failure_ratio", "order"},
    swarm_spec.TaskSpec: {"force_update"},
    swarm_spec.ServiceSpec: {"labels", "task_template", "mode"},
    swarm_spec.NodeSpec: {"labels", "role", "availability"},
    swarm_spec.ClusterSpec: {"name", "labels"},
    swarm_spec.OrchestrationConfig: set(),
    swarm_spec.RaftConfig: {"snapshot_interval", "log_entries_for_slow_followers", "election_tick", "heartbeat_tick"},
    swarm_spec.EncryptionConfig: {"auto_lock_managers"},
    swarm_spec.Mount: {"type"},
    swarm_spec.Ulimit: {"name", "hard", "soft"},
    swarm_spec.GenericResource.Discrete: {"kind", "value"},
    swarm_spec.GenericResource.Named: {"kind", "value"},
    objects.ManagerStatus: {"reachability", "addr"},
    objects.Endpoint: {"spec"},
    objects.UpdateStatus: {"state", "message"},
    objects.ContainerStatus: {"container_id", "pid", "exit_code"},
}
"""Fields that are printed even at their default, beyond what the struct itself says."""

PRIVATE: dict[type, set[str]] = {
    objects.Object: {"spec_since"},
    objects.Node: {"role", "certificate", "attachments", "member_id", "is_shoal", "down_since"},
    objects.Service: {
        "spec_version", "previous_spec_version", "registry_auth", "previous_registry_auth",
    },
    objects.Task: {
        "spec_version", "service_name", "service_labels", "endpoint_spec", "endpoint", "registry_auth", "log_driver",
    },
    objects.TaskStatus: {"applied_at"},
    objects.Cluster: {"root_ca", "removed_nodes", "join_tokens"},
    swarm_spec.CAConfig: {"signing_ca_key"},
}  # fmt: skip
"""Fields of the model that are nobody's business outside the managers."""

OMIT_EMPTY: dict[type, set[str]] = {
    objects.Node: {"manager_status"},
    objects.Service: {"previous_spec", "update_status", "service_status"},
    objects.Task: {"name", "slot", "service_id", "node_id", "networks_attachments", "generic_resources"},
    objects.TaskStatus: {"err", "container_status"},
    objects.NodeStatus: {"message"},
}
"""Fields that Go leaves out when empty, of structs that otherwise print everything."""


class _Field(NamedTuple):
    attribute: str
    name: str
    default: Any
    omit: bool


def printed(value: Any) -> Any:
    """`value` as plain dicts, lists, strings and numbers: what the API's JSON has."""
    if isinstance(value, TaskState):
        return value.word
    if isinstance(value, msgspec.Struct):
        result = {}
        for attribute, name, default, omit in _fields(type(value)):
            item = getattr(value, attribute)
            if not (omit and item == default):
                result[name] = printed(item)
        return result
    if isinstance(value, dict):
        return {key: printed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printed(item) for item in value]
    if isinstance(value, datetime | bytes):
        return msgspec.to_builtins(value)
    return value


@cache
def _fields(struct: type[msgspec.Struct]) -> tuple[_Field, ...]:
    always, omit_empty = ALWAYS.get(struct, set()), OMIT_EMPTY.get(struct, set())
    private = set().union(*(PRIVATE.get(base, set()) for base in struct.__mro__))
    omit_defaults = struct.__struct_config__.omit_defaults
    return tuple(
        _Field(
            field.name,
            field.encode_name,
            _default(field),
            field.name in omit_empty or (omit_defaults and not field.required and field.name not in always),
        )
        for field in msgspec.structs.fields(struct)
        if field.name not in private
    )


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return msgspec.UNSET


def or_null(value: Any) -> Any:
    """Go prints a nil list or map as null: `value`, or None when it is empty."""
    return value or None


__all__ = ["ALWAYS", "OMIT_EMPTY", "PRIVATE", "or_null", "printed"]
