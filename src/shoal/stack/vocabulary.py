"""The vocabulary of Compose files, version 3.0 to 3.13, as docker's `stack deploy` accepts it."""

from __future__ import annotations

from shoal.stack.schema import Anything, Either, Fields, Integer, Items, Kind, Nothing, Number, Size, Switch, Text

VERSIONS = ("3", *(f"3.{minor}" for minor in range(14)))
"""Values of `version`."""

_NAME = r"[a-zA-Z0-9._-]+"
_text, _whole, _switch, _null = Text(), Integer(), Switch(), Nothing()
_duration = Text(form="duration")
_value = Either(_text, Number(loose=True), _null)
_texts = Items(_text)
_one_or_more = Either(_text, _texts)
_command = Either(_text, Items(_text, unique=False), _null)
_pairs = Either(Fields(others=_value), _texts)
"""A mapping, or a list of `key=value`."""
_external = Either(_switch, Fields({"name": _text}))
_memory = Either(Size(), Integer())


def _optional(kind: Kind) -> Kind:
    return Either(kind, _null)


_update = Fields({
    "parallelism": _whole,
    "delay": _duration,
    "failure_action": _text,
    "monitor": _duration,
    "max_failure_ratio": Number(),
    "order": Text(choices=("start-first", "stop-first")),
})  # fmt: skip

_generic = Items(Fields({"discrete_resource_spec": Fields({"kind": _text, "value": Number()})}))

_deploy = Fields({
    "mode": _text,
    "endpoint_mode": _text,
    "replicas": Integer(0),
    "labels": _pairs,
    "rollback_config": _update,
    "update_config": _update,
    "resources": Fields({
        "limits": Fields({"cpus": Either(_text, Number()), "memory": _memory, "pids": _whole}),
        "reservations": Fields({"cpus": Either(_text, Number()), "memory": _memory, "generic_resources": _generic}),
    }),
    "restart_policy": Fields({
        "condition": _text, "delay": _duration, "max_attempts": _whole, "window": _duration,
    }),
    "placement": Fields({
        "constraints": _texts,
        "preferences": Items(Fields({"spread": _text}), unique=False),
        "max_replicas_per_node": _whole,
    }),
}, extensible=True)  # fmt: skip

_port = Fields({"mode": _text, "target": _whole, "published": _whole, "protocol": _text})

_volume = Fields({
    "type": _text, "source": _text, "target": _text, "read_only": _switch, "consistency": _text,
    "bind": Fields({"propagation": _text}),
    "volume": Fields({"nocopy": _switch, "subpath": _text}),
    "tmpfs": Fields({"size": Integer(0)}),
}, required=("type",))  # fmt: skip

_service_network = _optional(Fields({
    "aliases": _texts, "ipv4_address": _text, "ipv6_address": _text, "driver_opts": Fields(others=_value),
}))  # fmt: skip

_file_reference = Items(Either(_text, Fields({
    "source": _text, "target": _text, "uid": _text, "gid": _text, "mode": _whole,
})))  # fmt: skip

_SERVICE_USED: dict[str, Kind] = {
    "cap_add": _texts,
    "cap_drop": _texts,
    "command": _command,
    "configs": _file_reference,
    "credential_spec": Fields({"config": _text, "file": _text, "registry": _text}),
    "deploy": _optional(_deploy),
    "dns": _one_or_more,
    "dns_search": _one_or_more,
    "entrypoint": _command,
    "env_file": _one_or_more,
    "environment": _pairs,
    "extra_hosts": _pairs,
    "healthcheck": Fields({
        "disable": _switch, "interval": _duration, "retries": _whole,
        "test": Either(_text, Items(_text, unique=False)), "timeout": _duration, "start_period": _duration,
        "start_interval": _duration,
    }),
    "hostname": _text,
    "image": _text,
    "init": _switch,
    "isolation": _text,
    "labels": _pairs,
    "logging": Fields({"driver": _text, "options": Fields(others=_value)}),
    "networks": Either(_texts, Fields(others=_service_network, keys=_NAME)),
    "oom_score_adj": _whole,
    "ports": Items(Either(Integer(), Text(form="ports"), _port)),
    "read_only": _switch,
    "restart": _text,
    "secrets": _file_reference,
    "stdin_open": _switch,
    "stop_grace_period": _duration,
    "stop_signal": _text,
    "sysctls": _pairs,
    "tmpfs": _one_or_more,
    "tty": _switch,
    "ulimits": Fields(
        others=Either(_whole, Fields({"hard": _whole, "soft": _whole}, required=("soft", "hard"))), keys=r"[a-z]+"
    ),
    "user": _text,
    "volumes": Items(Either(_text, _volume)),
    "working_dir": _text,
}  # fmt: skip

UNSUPPORTED: dict[str, Kind] = {
    "build": Either(_text, Fields(others=Anything())),
    "cgroupns_mode": _text,
    "cgroup_parent": _text,
    "devices": _texts,
    "domainname": _text,
    "external_links": _texts,
    "ipc": _text,
    "links": _texts,
    "mac_address": _text,
    "network_mode": _text,
    "pid": Either(_text, _null),
    "privileged": _switch,
    "security_opt": _texts,
    "shm_size": Either(Number(loose=True), _text),
    "userns_mode": _text,
}
"""Read, and left aside with a warning. (`restart` is warned about too, though it serves as a fallback.)"""

DEPRECATED = {
    "container_name": "Setting the container name is not supported.",
    "expose": (
        "Exposing ports is unnecessary - services on the same network can access each other's containers on any port."
    ),
}
"""Read, and left aside with a reason."""

FORBIDDEN = {
    "extends": "one service cannot extend another in a stack",
    "volume_driver": "name a volume below the top-level `volumes`, and its driver there",
    "volumes_from": "name a volume below the top-level `volumes`, and mount it in each service that shares it",
    **dict.fromkeys(
        ("cpu_quota", "cpu_shares", "cpuset", "mem_limit", "memswap_limit"), "set limits below `deploy.resources`"
    ),
}
"""Words of older versions that are refused, and what to do instead."""

_SERVICE = Fields({
    **_SERVICE_USED,
    **UNSUPPORTED,
    "container_name": _text,
    "depends_on": Either(_texts, Fields(others=Anything())),
    "expose": Items(Either(Integer(), Text(form="expose"))),
}, extensible=True)  # fmt: skip

_NETWORK = _optional(Fields({
    "name": _text,
    "driver": _text,
    "driver_opts": Fields(others=_value),
    "ipam": Fields({
        "driver": _text,
        "config": Items(Fields({
            "subnet": _text, "gateway": _text, "ip_range": _text, "aux_addresses": Fields(others=_text),
        })),
    }, extensible=True),
    "external": _external,
    "internal": _switch,
    "attachable": _switch,
    "labels": _pairs,
}, extensible=True))  # fmt: skip

_VOLUME = _optional(Fields({
    "name": _text, "driver": _text, "driver_opts": Fields(others=_value), "external": _external, "labels": _pairs,
}, extensible=True))  # fmt: skip

FILE = Fields({
    "version": _text,
    "services": Fields(others=_SERVICE, keys=_NAME),
    "networks": Fields(others=_NETWORK, keys=_NAME),
    "volumes": Fields(others=_VOLUME, keys=_NAME),
    "secrets": Anything(),
    "configs": Anything(),
}, extensible=True)  # fmt: skip
"""A whole file."""
