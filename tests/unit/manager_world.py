"""A store's view, the brain, and a clock that a test moves: decisions without an event loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from shoal.kit.ids import SeededIds
from shoal.manager.brain import Brain, Decision
from shoal.model.objects import Cluster, Network, Node, Service, StoreObject, Task, Version
from shoal.model.states import TaskState
from shoal.model.swarm_spec import NetworkSpec, ServiceSpec
from shoal.store.base import Put, Write
from shoal.store.view import Changed, View
from tests.cluster.fakeswarm import node, spec

START = datetime(2026, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)
"""No two commits happen at the same moment."""

__all__ = ["START", "World", "node", "spec"]


class World:
    """What the leader sees and does. `settle` decides until there is nothing to write."""

    def __init__(self, *things: StoreObject) -> None:
        self.view = View()
        self.now = START
        self.ids = SeededIds(3)
        self.decisions: list[Decision] = []
        ingress = Network(id="ingress", spec=NetworkSpec(name="ingress", ingress=True))
        self._write([Put(thing=thing) for thing in (Cluster(id="cluster"), ingress, *things)])
        self.brain = Brain(self.view, self.now)

    def _write(self, writes: list[Write]) -> list[Changed]:
        revision = self.view.revision + 1
        self.now += TICK
        changes = []
        for write in writes:
            thing = write.thing
            if isinstance(write, Put):
                created = thing.created_at if thing.version.index else self.now
                stored = replace(thing, version=Version(index=revision), created_at=created, updated_at=self.now)
                changes.append(self.view.put(stored))
            else:
                changes.append(self.view.remove(type(thing), thing.id))
        self.view.revision = revision
        return changes

    def commit(self, writes: list[Write]) -> None:
        """Write, and let the brain hear of it."""
        self.brain.hear(self._write(writes), self.view)

    def put(self, *things: StoreObject) -> None:
        """Write these objects."""
        self.commit([Put(thing=thing) for thing in things])

    def decide(self) -> Decision:
        """One decision, committed."""
        decision = self.brain.decide(self.view, self.now, self.ids)
        self.decisions.append(decision)
        if decision.writes:
            self.commit(decision.writes)
        return decision

    def settle(self) -> None:
        """Decide until nothing is left to do now. Fails when that never comes."""
        for _ in range(20):
            if not self.decide().writes:
                return
        raise AssertionError("the decisions never come to rest")

    def restart(self) -> None:
        """Another manager leads: it knows the store, and nothing else."""
        self.brain = Brain(self.view, self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, and decide."""
        self.now += timedelta(seconds=seconds)
        self.settle()

    def serve(self, service_spec: ServiceSpec) -> Service:
        """Create a service and let it be deployed."""
        id = self.ids.object_id()
        self.put(Service(id=id, spec=service_spec))
        self.settle()
        return self.service(service_spec.name)

    def respec(self, new: ServiceSpec) -> None:
        """Update a service, as `control` does."""
        old = self.service(new.name)
        changed = replace(
            old, spec=new, spec_version=old.version.index, previous_spec=old.spec,
            previous_spec_version=old.spec_version, update_status=None,
        )  # fmt: skip
        self.put(changed)
        self.settle()

    def service(self, name: str = "web") -> Service:
        found = self.view.named(Service, name)
        assert found is not None
        return found

    def tasks(self, name: str = "web") -> list[Task]:
        return sorted(
            self.view.tasks_of_service(self.service(name).id), key=lambda t: (t.slot, t.node_id, t.created_at)
        )

    def alive(self, name: str = "web") -> list[Task]:
        """The tasks that are meant to live."""
        return [task for task in self.tasks(name) if task.desired_state <= TaskState.RUNNING]

    def node(self, id: str) -> Node:
        found = self.view.get(Node, id)
        assert found is not None
        return found

    def report(self, task: Task, state: TaskState, err: str = "") -> None:
        """The agent of the task's node reports."""
        task = self.view.get(Task, task.id) or task
        status = replace(task.status, state=state, err=err, timestamp=self.now, applied_at=self.now)
        self.put(replace(task, status=status))

    def obey(self) -> None:
        """Every agent does at once what it should."""
        for task in self.view.all(Task):
            state = task.status.state
            if state < TaskState.ASSIGNED or state.terminal or self.node(task.node_id).status.state == "down":
                continue
            if task.desired_state >= TaskState.SHUTDOWN:
                self.report(task, TaskState.SHUTDOWN)
            elif task.desired_state == TaskState.READY and state < TaskState.READY:
                self.report(task, TaskState.READY)
            elif task.desired_state == TaskState.RUNNING and state < TaskState.RUNNING:
                self.report(task, TaskState.RUNNING)
        self.settle()

    def run(self, name: str = "web") -> Service:
        """Let agents obey until all is as it should be now."""
        for _ in range(5):
            self.obey()
        return self.service(name)
