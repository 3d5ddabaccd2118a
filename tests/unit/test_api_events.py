"""Events: which the filters let through, and what the swarm's changes become."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shoal.api.routes.events import wanted
from shoal.api.swarm_events import event_of
from shoal.model.engine import Actor, Event
from shoal.model.objects import Node, NodeDescription, NodeStatus, Service, Task
from shoal.model.swarm_spec import ContainerSpec, ReplicatedService, ServiceMode, ServiceSpec, TaskSpec
from shoal.store.view import Changed

START = Event(
    type="container", action="start", actor=Actor(id="abc", attributes={"name": "web", "image": "redis:7", "a": "b"})
)


@pytest.mark.parametrize(
    ("asked", "through"),
    [
        ({}, True),
        ({"type": ["container", "image"]}, True),
        ({"type": ["image"]}, False),
        ({"event": ["start"]}, True),
        ({"event": ["stop"]}, False),
        ({"container": ["web"]}, True),
        ({"container": ["ab"]}, True),
        ({"container": ["other"]}, False),
        ({"image": ["redis"]}, True),
        ({"image": ["nginx"]}, False),
        ({"label": ["a=b"]}, True),
        ({"label": ["a=c"]}, False),
        ({"scope": ["swarm"]}, False),
        ({"type": ["container"], "event": ["stop"]}, False),
    ],
)
def test_filters(asked: dict[str, list[str]], through: bool) -> None:
    """Values of a key are alternatives, keys must all hold."""
    assert wanted(START, asked) is through


def service(replicas: int, image: str = "redis") -> Service:
    template = TaskSpec(container_spec=ContainerSpec(image=image))
    mode = ServiceMode(replicated=ReplicatedService(replicas=replicas))
    return Service(id="s", spec=ServiceSpec(name="web", mode=mode, task_template=template))


def test_services() -> None:
    """An update tells what changed: replicas and image, old and new."""
    created = event_of(Changed(None, service(1)))
    assert created is not None
    assert (created.type, created.action, created.scope, created.actor.attributes) == (
        "service", "create", "swarm", {"name": "web"},
    )  # fmt: skip
    updated = event_of(Changed(service(1), service(5, "redis:2")))
    assert updated is not None
    assert updated.actor.attributes == {
        "name": "web", "replicas.old": "1", "replicas.new": "5", "image.old": "redis", "image.new": "redis:2",
    }  # fmt: skip
    removed = event_of(Changed(service(1), None))
    assert removed is not None
    assert removed.action == "remove"


def test_nodes_tell_what_people_see() -> None:
    """A node's state is told; its private notes are not, and neither are tasks."""
    node = Node(id="n", description=NodeDescription(hostname="m1"), status=NodeStatus(state="ready"))
    down = event_of(Changed(node, replace(node, status=NodeStatus(state="down"))))
    assert down is not None
    assert down.actor.attributes == {"name": "m1", "state.old": "ready", "state.new": "down"}
    assert event_of(Changed(node, replace(node, member_id=5))) is None
    assert event_of(Changed(None, Task(id="t"))) is None
