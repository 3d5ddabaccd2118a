"""What every store promises: one suite, run against each (tests/unit in memory, tests/system over etcd)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from shoal.kit.clock import ZERO_TIME
from shoal.kit.ids import RandomIds
from shoal.model.errors import Conflict, OutOfSequence
from shoal.model.objects import (
    Cluster,
    Network,
    Node,
    NodeStatus,
    Service,
    StoreObject,
    Task,
    UpdateStatus,
    Version,
)
from shoal.model.states import TaskState
from shoal.model.swarm_spec import NetworkSpec, NodeSpec, ServiceSpec
from shoal.store.base import Delete, Put, Store

IDS = RandomIds()


def service(name: str) -> Service:
    return Service(id=IDS.object_id(), spec=ServiceSpec(name=name))


def task(service_id: str, slot: int = 1, node_id: str = "") -> Task:
    return Task(id=IDS.object_id(), service_id=service_id, slot=slot, node_id=node_id)


def as_given(found: StoreObject) -> StoreObject:
    """What is stored, without what the store adds."""
    return replace(found, version=Version(), created_at=ZERO_TIME, updated_at=ZERO_TIME, spec_since=0)


class StoreSuite:
    """Subclass it with a fixture `store`."""

    async def test_what_is_put_is_there(self, store: Store) -> None:
        """A commit returns once the view has it, with version and times set."""
        thing = service("web")
        revision = await store.commit([Put(thing)])
        found = store.view.get(Service, thing.id)
        assert found is not None
        assert store.view.revision >= revision
        assert found.version.index == revision
        assert found.created_at == found.updated_at != ZERO_TIME
        assert as_given(found) == thing
        assert store.view.named(Service, "WEB") == found

    async def test_every_kind_survives_the_round_trip(self, store: Store) -> None:
        """Objects of every kind come back equal, private fields and times included."""
        now = datetime.now(UTC)
        things: list[StoreObject] = [
            Cluster(id="c", removed_nodes={"n": now}),
            Node(id="n", spec=NodeSpec(labels={"a": "b"}), status=NodeStatus(state="ready"), down_since=now),
            service("s"),
            replace(task("s", 3, "n"), desired_state=TaskState.SHUTDOWN),
            Network(id="w", spec=NetworkSpec(name="w"), vxlan_id=4097),
        ]
        await store.commit([Put(thing) for thing in things])
        for thing in things:
            found: StoreObject | None = store.view.get(type(thing), thing.id)
            assert found is not None
            assert as_given(found) == thing

    async def test_an_update_keeps_the_creation_time(self, store: Store) -> None:
        """An update replaces the object, keeps `created_at` and raises the version."""
        first = await _put(store, service("web"))
        second = await _put(store, replace(first, spec_version=7))
        assert second.spec_version == 7
        assert second.created_at == first.created_at
        assert second.version.index > first.version.index

    async def test_only_a_new_spec_counts_as_one(self, store: Store) -> None:
        """`spec_since` is below the version that brought the spec, and stays where it is when other things change."""
        first = await _put(store, service("web"))
        noted = await _put(store, replace(first, update_status=UpdateStatus(state="updating")))
        assert noted.spec_since == first.spec_since < first.version.index
        changed = await _put(store, replace(noted, spec=replace(noted.spec, labels={"a": "b"})))
        assert noted.version.index <= changed.spec_since < changed.version.index

    async def test_a_stale_write_is_out_of_sequence(self, store: Store) -> None:
        """Put and Delete of an object that changed since it was read raise OutOfSequence; nothing is written."""
        old = await _put(store, service("web"))
        new = await _put(store, replace(old, spec_version=1))
        other = service("other")
        for write in (Put(old), Delete(old)):
            with pytest.raises(OutOfSequence):
                await store.commit([Put(other), write])
        assert store.view.all(Service) == [new]

    async def test_creating_what_exists_is_out_of_sequence(self, store: Store) -> None:
        """A Put with version 0 of an id that exists raises OutOfSequence, and so does a Delete of what does not."""
        first = service("web")
        await _put(store, first)
        with pytest.raises(OutOfSequence):
            await store.commit([Put(replace(first, spec=ServiceSpec(name="b")))])
        with pytest.raises(OutOfSequence):
            await store.commit([Delete(replace(service("x"), version=store.view.all(Service)[0].version))])

    async def test_the_same_object_twice_is_refused(self, store: Store) -> None:
        """An object written twice in one commit raises OutOfSequence."""
        thing = service("web")
        with pytest.raises(OutOfSequence):
            await store.commit([Put(thing), Put(replace(thing, spec_version=1))])

    async def test_a_taken_name_conflicts(self, store: Store) -> None:
        """A second service or network of one name (case does not count) raises Conflict in docker's words."""
        await _put(store, service("web"))
        with pytest.raises(Conflict, match="name conflicts with an existing object: service WEB already exists"):
            await store.commit([Put(service("WEB"))])
        await _put(store, Network(id="a", spec=NetworkSpec(name="net")))
        with pytest.raises(Conflict, match="network with name net already exists"):
            await store.commit([Put(Network(id="b", spec=NetworkSpec(name="net")))])
        with pytest.raises(Conflict):
            await store.commit([Put(service("twice")), Put(service("twice"))])
        await _put(store, service("net"))

    async def test_names_are_released_renamed_and_handed_over(self, store: Store) -> None:
        """A deleted or renamed object frees its name, in the same commit too, in either order."""
        web = await _put(store, service("web"))
        web = await _put(store, replace(web, spec=ServiceSpec(name="shop")))
        other = await _put(store, service("web"))
        heir = service("shop")
        await store.commit([Put(heir), Delete(web)])
        found = store.view.named(Service, "shop")
        assert found is not None
        assert found.id == heir.id
        await store.commit([Delete(found), Delete(other)])
        await store.commit([Put(service("web")), Put(service("shop"))])

    async def test_indexes_follow(self, store: Store) -> None:
        """Tasks are found by service and node, also after they moved or went."""
        one = await _put(store, task("s", 1))
        one = await _put(store, replace(one, node_id="n"))
        assert store.view.tasks_of_node("n") == store.view.tasks_of_service("s") == [one]
        await store.commit([Delete(one)])
        assert store.view.tasks_of_node("n") == store.view.tasks_of_service("s") == []

    async def test_an_empty_commit_does_nothing(self, store: Store) -> None:
        """An empty commit returns the view's revision."""
        revision = await store.commit([Put(service("web"))])
        assert await store.commit([]) == store.view.revision >= revision

    async def test_subscribers_get_every_change_in_order(self, store: Store) -> None:
        """A subscription yields each commit whole and in order, with old and new, after the view has it."""
        with store.subscribe() as changes:
            web = service("web")
            tasks = [task(web.id, slot) for slot in range(5)]
            await store.commit([Put(web), *(Put(one) for one in tasks)])
            first = await asyncio.wait_for(anext(changes), 5)
            assert {change.thing.id for change in first} == {web.id, *(one.id for one in tasks)}
            assert all(change.old is None for change in first)
            current = store.view.get(Service, web.id)
            assert current is not None
            await store.commit([Put(replace(current, spec_version=2))])
            await store.commit([Delete(store.view.all(Service)[0])])
            (update,) = await asyncio.wait_for(anext(changes), 5)
            assert isinstance(update.new, Service)
            assert (update.old, update.new.spec_version) == (current, 2)
            (removal,) = await asyncio.wait_for(anext(changes), 5)
            assert (removal.new, removal.thing.id) == (None, web.id)

    async def test_writers_at_once_do_not_lose_updates(self, store: Store) -> None:
        """Of many concurrent read-modify-writes each counts exactly once."""
        first = await _put(store, service("counter"))

        async def increment() -> None:
            while True:
                current = store.view.get(Service, first.id)
                assert current is not None
                try:
                    await store.commit([Put(replace(current, spec_version=current.spec_version + 1))])
                    return
                except OutOfSequence:
                    continue

        await asyncio.gather(*(increment() for _ in range(10)))
        assert store.view.all(Service)[0].spec_version == 10


async def _put(store: Store, thing: StoreObject) -> Any:
    await store.commit([Put(thing)])
    return store.view.get(type(thing), thing.id)
