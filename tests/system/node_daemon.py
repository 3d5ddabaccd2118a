"""A node as a process of its own, for tests in network namespaces: `python -m tests.system.node_daemon DIRECTORY NAME`.

It logs to DIRECTORY.log. Each line on stdin is a JSON list, a command and its arguments; each answer is a line of JSON on stdout.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from shoal.kit.clock import SystemClock
from shoal.kit.ids import RandomIds
from shoal.model.base import to_builtins
from shoal.model.errors import ShoalError
from shoal.model.swarm_spec import NetworkSpec
from shoal.node.local import NodeOptions
from shoal.node.node import Node
from shoal.node.requests import InitRequest, JoinRequest
from tests.system.nodes import FakeExecutor, FakeNetworks


async def _do(node: Node, command: str, arguments: list[Any]) -> Any:
    if command == "init":
        return await node.init(InitRequest(**arguments[0]))
    if command == "join":
        return await node.join(JoinRequest(**arguments[0]))
    if command == "leave":
        return await node.leave(*arguments)
    if command == "network":
        return (await node.control.create_network(NetworkSpec(name=arguments[0], driver="overlay"))).id
    if command == "networks":
        return [network.spec.name for network in node.control.list_networks()]
    if command == "info":
        return to_builtins(node.swarm_info())
    if command == "nodes":
        return to_builtins(node.control.list_nodes())
    assert command == "tokens"
    return to_builtins(node.control.cluster().join_tokens)


async def main(directory: str, name: str) -> None:
    logging.basicConfig(filename=f"{directory}.log", level=logging.DEBUG, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("hpack").setLevel(logging.INFO)
    executor = FakeExecutor(name)
    options = NodeOptions(hasty=True, address_period=0.3, executor=lambda: executor)
    async with Node(Path(directory), None, FakeNetworks(), SystemClock(), RandomIds(), options) as node:
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, *arguments = json.loads(line)
            try:
                answer = {"result": await _do(node, command, arguments)}
            except ShoalError as fault:
                answer = {"error": fault.message}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
