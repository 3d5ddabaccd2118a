"""A Compose file with an odd value anywhere is refused with a message, or it goes all the way to the API."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import yaml

from shoal.api.body import decode_body
from shoal.api.convert import service_spec
from shoal.api.versions import MAXIMUM
from shoal.model.base import encode
from shoal.model.errors import ShoalError
from shoal.model.swarm_spec import ServiceSpec
from shoal.stack.convert import convert
from shoal.stack.load import File, load
from shoal.stack.names import StackFault
from shoal.stack.render import render
from tests.unit.places import changed, places

ODD: list[Any] = [
    None, -1, 0, 2**31, 2**63, 1.5, 1e300, float("inf"), "", "x", "a:b", "a:b:c:d:e", "$", "${A:-", "%", "é" * 300, "-1s",
    "9" * 400, "9" * 400 + "s", "9" * 400 + "g", "-", "/", "..", "~nouser/x", "[::1]:80:80", "1-0:80", "80-81:80-82",
    "99999:80", "=", True, [], {}, [None], ["x", "x"], [1], [[]], [{}], {"": ""}, {"a": None}, {1: 2}, {"type": "bind"},
]  # fmt: skip

_UPDATE = "{parallelism: 1, delay: 1s, failure_action: pause, monitor: 1s, max_failure_ratio: 0.1, order: stop-first}"
SERVICE: dict[str, Any] = yaml.safe_load(f"""
    build: .
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    command: [a, b]
    credential_spec: {{file: x}}
    depends_on: [db]
    deploy:
      mode: replicated
      replicas: 2
      labels: {{a: b}}
      endpoint_mode: vip
      update_config: {_UPDATE}
      rollback_config: {_UPDATE}
      resources:
        limits: {{cpus: "0.5", memory: 50M, pids: 10}}
        reservations:
          cpus: "0.1"
          memory: 20M
          generic_resources: [{{discrete_resource_spec: {{kind: gpu, value: 2}}}}]
      restart_policy: {{condition: on-failure, delay: 1s, max_attempts: 3, window: 10s}}
      placement: {{constraints: [node.role == worker], preferences: [{{spread: node.labels.a}}], max_replicas_per_node: 1}}
    devices: ["/dev/null:/dev/n"]
    dns: [1.1.1.1]
    dns_search: x
    domainname: d
    entrypoint: /e
    env_file: [e.env]
    environment: {{A: b, N: null, I: 3}}
    expose: ["80"]
    extra_hosts: {{a: 1.2.3.4}}
    healthcheck: {{test: [CMD, a], interval: 1s, timeout: 1s, retries: 3, start_period: 1s, disable: false}}
    hostname: h
    init: true
    isolation: default
    labels: [a=b]
    logging: {{driver: json-file, options: {{max-size: 10m}}}}
    networks: {{n: {{aliases: [x]}}}}
    ports: ["8080:80", {{target: 90, published: 9090, protocol: udp, mode: host}}, "127.0.0.1:5000-5010:5000-5010"]
    read_only: true
    restart: always
    shm_size: 1M
    stdin_open: true
    stop_grace_period: 1s
    stop_signal: TERM
    sysctls: {{a: 1}}
    tmpfs: [/t]
    tty: true
    ulimits: {{nofile: {{soft: 1, hard: 2}}, nproc: 3}}
    user: u
    volumes:
      - v:/v:ro
      - {{type: tmpfs, target: /x, tmpfs: {{size: 1000}}}}
      - {{type: bind, source: /a, target: /b, bind: {{propagation: rslave}}}}
      - {{type: volume, source: v, target: /c, volume: {{nocopy: true}}}}
    working_dir: /w
    x-a: 1
""")
"""Every key of a service, with whatever can stand in it."""

NETWORK = {
    "driver": "overlay", "driver_opts": {"a": "b"}, "ipam": {"driver": "default", "config": [{"subnet": "10.7.0.0/24"}]},
    "internal": False, "attachable": True, "labels": {"a": "b"}, "name": "nn", "external": {"name": "x"},
}  # fmt: skip
VOLUME = {"driver": "local", "driver_opts": {"a": "b"}, "labels": {"a": "b"}, "name": "vv", "external": True}


def read(path: str) -> str:
    if path.endswith("e.env"):
        return "A=1\n"
    raise FileNotFoundError(2, "No such file or directory", path)


def goes_or_is_refused(services: Any = None, networks: Any = None, volumes: Any = None) -> None:
    """Through everything that a client does, and what the API then says."""
    tree = {
        "version": "3.8",
        "services": services or {"web": {"image": "a"}},
        "networks": networks or {"n": {}},
        "volumes": volumes or {"v": {}},
    }
    try:
        loaded = load([File("f.yml", yaml.safe_dump(tree))], "/project", {}, read)
        render(loaded.tree, escape=True)
        desired = convert("stack", loaded.tree)
    except (StackFault, FileNotFoundError) as fault:
        assert str(fault)
        return
    for service in desired.services.values():
        try:
            service_spec(decode_body(encode(service), ServiceSpec), MAXIMUM, Random(1), lambda name: name)
        except ShoalError as fault:
            assert str(fault)


@pytest.mark.parametrize("key", SERVICE)
def test_in_a_service(key: str) -> None:
    """At every place below each of its keys."""
    for place in places({key: SERVICE[key]}):
        for value in ODD:
            goes_or_is_refused(services={"web": {"image": "a", **changed({key: SERVICE[key]}, place, value)}})


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_in_networks_and_volumes(value: Any) -> None:
    """The same for the other sections, and for sections and services as a whole."""
    for one in ({key: part} for key, part in NETWORK.items()):
        for place in places(one):
            goes_or_is_refused(networks={"n": changed(one, place, value)})
    for one in ({key: part} for key, part in VOLUME.items()):
        for place in places(one):
            goes_or_is_refused(volumes={"v": changed(one, place, value)})
    goes_or_is_refused(services=value)
    goes_or_is_refused(services={"web": value}, networks={"n": value}, volumes={"v": value})
