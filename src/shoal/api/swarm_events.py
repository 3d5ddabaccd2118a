"""Events of the swarm, from the changes of its store: services, nodes and networks. Pure, but for the listening."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shoal.kit.clock import Clock
from shoal.model.engine import Actor, Event
from shoal.model.objects import Network, Node, Service
from shoal.store.view import Changed

if TYPE_CHECKING:
    from shoal.manager.control import Control


async def listen(control: Control, clock: Clock) -> AsyncIterator[Event]:
    """What happens in the swarm from now on."""
    with control.subscribe() as changes:
        async for batch in changes:
            for changed in batch:
                event = event_of(changed)
                if event is not None:
                    yield event if changed.new is not None else replace(event, moment=clock.now())


def event_of(changed: Changed) -> Event | None:
    """The event that tells of a change; None for kinds that have none (tasks, the cluster).

    Its moment is when the object was written; of a removal, when it was last written before.
    """
    thing = changed.thing
    if isinstance(thing, Service):
        return _event(changed, "service", thing.spec.name, _service(changed.old, changed.new))
    if isinstance(thing, Node):
        return _event(changed, "node", thing.description.hostname, _node(changed.old, changed.new))
    if isinstance(thing, Network):
        return _event(changed, "network", thing.spec.name, {"type": thing.driver})
    return None


def _event(changed: Changed, kind: str, name: str, more: dict[str, str]) -> Event | None:
    thing = changed.thing
    action = "create" if changed.old is None else "remove" if changed.new is None else "update"
    if kind == "node" and action == "update" and not more:
        return None  # a node's own notes, which nobody asked for
    moment = thing.created_at if action == "create" else thing.updated_at
    return Event(
        type=kind,
        action=action,
        actor=Actor(id=thing.id, attributes={"name": name, **more}),
        scope="swarm",
        moment=moment,
    )


def _service(old: object, new: object) -> dict[str, str]:
    if not (isinstance(old, Service) and isinstance(new, Service)):
        return {}
    return {
        **_pair("replicas", _replicas(old), _replicas(new)),
        **_pair("image", _image(old), _image(new)),
        **_pair("updatestate", _update_state(old), _update_state(new)),
    }


def _node(old: object, new: object) -> dict[str, str]:
    if not (isinstance(old, Node) and isinstance(new, Node)):
        return {}
    return {
        **_pair("state", old.status.state, new.status.state),
        **_pair("availability", old.spec.availability, new.spec.availability),
        **_pair("role", old.spec.role, new.spec.role),
        **_pair("leader", _leader(old), _leader(new)),
        **_pair("reachability", _reachability(old), _reachability(new)),
    }


def _pair(name: str, old: str, new: str) -> dict[str, str]:
    return {f"{name}.old": old, f"{name}.new": new} if old != new else {}


def _replicas(service: Service) -> str:
    mode = service.spec.mode.replicated
    return "" if mode is None else str(mode.replicas)


def _image(service: Service) -> str:
    container = service.spec.task_template.container_spec
    return container.image if container else ""


def _update_state(service: Service) -> str:
    return service.update_status.state if service.update_status else ""


def _leader(node: Node) -> str:
    return str(bool(node.manager_status and node.manager_status.leader)).lower()


def _reachability(node: Node) -> str:
    return node.manager_status.reachability if node.manager_status else ""
