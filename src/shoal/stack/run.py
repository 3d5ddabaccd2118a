"""Stacks against a daemon: what is there, carrying out a plan, taking a stack away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from shoal.api.client import Client, DaemonError, filters, quote
from shoal.model.base import convert, to_builtins
from shoal.model.swarm_spec import ServiceSpec
from shoal.stack.names import StackFault, namespace_filter
from shoal.stack.plan import CreateNetwork, CreateService, LiveService, Operation, RemoveService, UpdateService

NOT_A_MANAGER = (
    'this node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again"
)

Json = dict[str, Any]
Say = Callable[[str], None]


class Started(NamedTuple):
    """A service that was created or updated, to wait for."""

    id: str
    name: str


class Images:
    """How images are pinned and whose credentials go along: supplied by the command line."""

    def __init__(self, pin: Callable[[Json], None], auth: Callable[[str], str] | None) -> None:
        """`pin` changes a service's spec in place; `auth` gives X-Registry-Auth for an image, None sends none."""
        self.pin, self.auth = pin, auth


def check_manager(client: Client) -> None:
    """Raises StackFault unless the daemon is a manager."""
    if not client.get("/info").get("Swarm", {}).get("ControlAvailable"):
        raise StackFault(NOT_A_MANAGER)


def check_external(client: Client, names: Iterable[str]) -> None:
    """Raises StackFault unless the networks are there for the whole swarm."""
    for name in names:
        try:
            scope = client.get(f"/networks/{quote(name)}").get("Scope")
        except DaemonError as fault:
            if fault.status != 404:
                raise
            raise StackFault(
                f'network "{name}" is declared as external, but could not be found. You need to create a swarm-scoped '
                "network before the stack is deployed"
            ) from fault
        if scope != "swarm":
            raise StackFault(
                f'network "{name}" is declared as external, but it is not in the right scope: "{scope}" instead of '
                '"swarm"'
            )


def live_services(client: Client, stack: str) -> dict[str, LiveService]:
    """The stack's services by name."""
    found = client.get("/services", {"filters": filters(namespace_filter(stack))})
    return {
        item["Spec"]["Name"]: LiveService(item["ID"], item["Version"]["Index"], convert(item["Spec"], ServiceSpec))
        for item in found
    }


def live_networks(client: Client, stack: str) -> dict[str, str]:
    """The stack's networks: ids by name."""
    found = client.get("/networks", {"filters": filters(namespace_filter(stack))})
    return {item["Name"]: item["Id"] for item in found}


def execute(client: Client, steps: Iterable[Operation], images: Images, say: Say) -> list[Started]:
    """Do every step, saying it first; the services to wait for. Raises StackFault naming the step that failed."""
    started: list[Started] = []
    for step in steps:
        say(str(step))
        try:
            started += _step(client, step, images, say)
        except DaemonError as fault:
            what = str(step).replace("ing ", "e ", 1).lower()
            raise StackFault(f"failed to {what.partition(' (')[0]}: Error response from daemon: {fault}") from fault
    return started


def _step(client: Client, step: Operation, images: Images, say: Say) -> list[Started]:
    match step:
        case RemoveService():
            client.delete(f"/services/{step.id}")
        case CreateNetwork():
            client.post("/networks/create", body=to_builtins(step.spec))
        case CreateService():
            answer = _send(client, "/services/create", {}, step.spec, images if step.resolve else _unpinned(images))
            _warn(answer, say)
            return [Started(answer["ID"], step.spec.name)]
        case UpdateService():
            query: Json = {"version": step.version}
            if not images.auth:
                query["registryAuthFrom"] = "spec"
            path = f"/services/{step.id}/update"
            _warn(_send(client, path, query, step.spec, images if step.resolve else _unpinned(images)), say)
            return [Started(step.id, step.spec.name)]
    return []


def _unpinned(images: Images) -> Images:
    return Images(lambda spec: None, images.auth)


def _send(client: Client, path: str, query: Json, spec: ServiceSpec, images: Images) -> Json:
    body = to_builtins(spec)
    headers = {"X-Registry-Auth": images.auth(spec.labels["com.docker.stack.image"])} if images.auth else {}
    for mount in body["TaskTemplate"]["ContainerSpec"].get("Mounts", []):
        mount.setdefault("Type", "volume")  # other daemons know no default
    images.pin(body)
    return client.post(path, query, body=body, headers=headers) or {}


def _warn(answer: Json, say: Say) -> None:
    for text in answer.get("Warnings") or []:
        say(f"WARNING: {text}")


class Removal:
    """Taking a stack away: services first, then networks, which are free once the last task has stopped."""

    def __init__(
        self, client: Client, stack: str, say: Say, *, wait: bool, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """`wait`: until everything is gone; else networks that are still in use are tried for two seconds."""
        self._client, self._stack, self._say, self._wait, self._sleep = client, stack, say, wait, sleep
        self.faults: list[str] = []

    def run(self) -> bool:
        """Do it; False when there was nothing. What failed is in `faults`."""
        services = self._client.get("/services", {"filters": filters(namespace_filter(self._stack))})
        networks = live_networks(self._client, self._stack)
        if not services and not networks:
            return False
        for service in sorted(services, key=lambda item: str(item["Spec"]["Name"])):
            self._say(f"Removing service {service['Spec']['Name']}")
            self._try("service", service["ID"], f"/services/{service['ID']}")
        if self._wait:
            self._until_stopped()
        for name, identifier in sorted(networks.items()):
            self._say(f"Removing network {name}")
            self._remove_network(identifier)
        return True

    def _try(self, kind: str, identifier: str, path: str) -> None:
        try:
            self._client.delete(path)
        except DaemonError as fault:
            if fault.status != 404:
                self.faults.append(f"Failed to remove {kind} {identifier}: Error response from daemon: {fault}")

    def _until_stopped(self) -> None:
        query = {"filters": filters(namespace_filter(self._stack))}
        while any(_alive(task) for task in self._client.get("/tasks", query)):
            self._sleep(0.2)

    def _remove_network(self, identifier: str) -> None:
        patience = 300 if self._wait else 10
        for attempt in range(patience):
            try:
                self._client.delete(f"/networks/{identifier}")
            except DaemonError as fault:
                in_use = fault.status in (400, 403, 409) and (
                    "in use" in fault.message or "active endpoints" in fault.message
                )
                if fault.status == 404:
                    return
                if not in_use or attempt == patience - 1:
                    self.faults.append(f"Failed to remove network {identifier}: Error response from daemon: {fault}")
                    return
                self._sleep(0.2)
            else:
                return


def _alive(task: Json) -> bool:
    ended = ("complete", "shutdown", "failed", "rejected", "remove", "orphaned")
    return task.get("Status", {}).get("State") not in ended
