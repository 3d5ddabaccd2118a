"""Nodes for tests: several in one process, on loopback addresses, real certificates, gRPC and etcd, no containers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shoal.kit.clock import SystemClock
from shoal.kit.ids import RandomIds
from shoal.model.errors import ShoalError
from shoal.model.netstate import NetworkUpdate
from shoal.model.objects import EngineDescription, NodeDescription, Plugin
from shoal.model.objects import Node as NodeObject
from shoal.model.swarm_spec import Platform, Resources
from shoal.node.addresses import InterfaceAddress
from shoal.node.local import NodeOptions
from shoal.node.node import Node
from shoal.node.requests import InitRequest, JoinRequest
from tests.system.etcd import free_port, loopback


class FakeExecutor:
    """A machine that cannot run anything."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname
        self.removed = 0

    def describe(self) -> NodeDescription:
        return NodeDescription(
            hostname=self.hostname,
            platform=Platform(architecture="x86_64", os="linux"),
            resources=Resources(nano_cpus=2 * 10**9, memory_bytes=2**32),
            engine=EngineDescription(engine_version="test", plugins=[Plugin(type="Network", name="overlay")]),
        )

    def controller(self, task: Any) -> Any:
        raise ShoalError("nothing runs here")

    async def logs(self, task: Any, request: Any) -> AsyncIterator[Any]:
        raise ShoalError("nothing runs here")
        yield

    async def remove_all(self) -> None:
        self.removed += 1


class FakeNetworks:
    """Networks that only remember."""

    def __init__(self) -> None:
        self.updates: list[NetworkUpdate] = []

    async def apply(self, update: NetworkUpdate, node_id: str) -> None:
        self.updates.append(update)

    def find(self, name_or_id: str) -> Any:
        raise ShoalError("none")


class Machine:
    """A place for a node: an address, ports, a directory. `async with machine.on() as node` runs it."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / name
        self.name = name
        self.address = loopback()
        self.port = free_port(self.address)
        self.peer_port = free_port(self.address)
        self.executor = FakeExecutor(name)
        self.node: Node | None = None

    @property
    def addr(self) -> str:
        return f"{self.address}:{self.port}"

    @asynccontextmanager
    async def on(self) -> AsyncIterator[Node]:
        options = NodeOptions(
            peer_port=self.peer_port,
            discovery_port=0,
            hasty=True,
            interfaces=lambda: [InterfaceAddress("eth0", self.address)],
            address_period=0.1,
            executor=lambda: self.executor,
        )
        async with Node(self.directory, None, FakeNetworks(), SystemClock(), RandomIds(), options) as node:
            self.node = node
            yield node

    async def init(self, **more: Any) -> str:
        assert self.node is not None
        return await self.node.init(InitRequest(listen_addr=self.addr, advertise_addr=self.addr, **more))

    async def join(self, manager: Machine, token: str, **more: Any) -> str:
        assert self.node is not None
        await self.node.join(
            JoinRequest(
                listen_addr=self.addr, advertise_addr=self.addr, remote_addrs=[manager.addr], join_token=token, **more
            )
        )
        return self.node.swarm_info().node_id


def record(manager: Node, node_id: str) -> NodeObject:
    """A node as a manager sees it."""
    return manager.control.get_node(node_id)
