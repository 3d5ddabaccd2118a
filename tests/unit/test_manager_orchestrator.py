"""Which tasks there are: slots, restarts, rolling updates, history, enforcement."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.manager.orchestrator.restart import should_restart
from shoal.model.objects import Cluster, NodeStatus, Service, Task, TaskStatus
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    ClusterSpec,
    Driver,
    Empty,
    NodeSpec,
    OrchestrationConfig,
    Placement,
    ResourceRequirements,
    Resources,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    TaskDefaults,
    UpdateConfig,
)
from shoal.store.base import Delete
from tests.cluster.fakeswarm import in_seconds
from tests.unit.manager_world import START, World, node, spec

GLOBAL = {"replicas": None, "mode": ServiceMode(global_=Empty())}


def image(task: Task) -> str:
    assert task.spec.container_spec is not None
    return task.spec.container_spec.image


def policy(**fields: object) -> dict[str, object]:
    return {"template": {"restart_policy": RestartPolicy(**fields)}}  # type: ignore[arg-type]


# --- slots ------------------------------------------------------------------------------------------------------------


def test_slots_are_filled_from_the_lowest_free_number() -> None:
    """New tasks take the lowest free slots, with the service's name, labels and log driver as they are then."""
    world = World(node("a"), node("b"))
    cluster = world.view.cluster
    assert cluster is not None
    defaults = TaskDefaults(log_driver=Driver(name="json-file"))
    world.put(replace(cluster, spec=ClusterSpec(task_defaults=defaults)))
    world.serve(spec(replicas=3, labels={"tier": "front"}))
    assert [task.slot for task in world.alive()] == [1, 2, 3]
    assert world.alive()[0].service_name == "web" and world.alive()[0].service_labels == {"tier": "front"}
    assert world.alive()[0].log_driver == Driver(name="json-file")


def test_scaling_down_empties_the_fullest_node_from_the_highest_slot() -> None:
    """Of five on one node and one on another, those on the full one go; never the only one of a node."""
    world = World(node("a"))
    world.serve(spec(replicas=4))
    world.put(node("b"))
    world.respec(spec(replicas=5))
    world.run()
    assert Counter(task.node_id for task in world.alive()) == {"a": 4, "b": 1}
    world.respec(spec(replicas=2))
    assert {(task.node_id, task.slot) for task in world.alive()} == {("a", 1), ("b", 5)}


def test_scaling_down_prefers_to_keep_what_runs() -> None:
    """A task that waits for a place goes before one that runs."""
    world = World(node("a"))
    asked = ResourceRequirements(reservations=Resources(nano_cpus=2 * 10**9))
    world.serve(spec(replicas=3, template={"resources": asked}))
    world.run()
    running = {task.id for task in world.alive() if task.status.state == TaskState.RUNNING}
    world.respec(spec(replicas=2, template={"resources": asked}))
    assert {task.id for task in world.alive()} == running


def test_a_removed_service_takes_its_tasks_along() -> None:
    """Tasks of a service that is gone stop, and are forgotten when they have."""
    world = World(node("a"))
    service = world.serve(spec(replicas=3))
    world.run()
    world.commit([Delete(thing=service)])
    world.settle()
    tasks = world.view.all(Task)
    assert len(tasks) == 3 and {task.desired_state for task in tasks} == {TaskState.REMOVE}
    world.obey()
    assert world.view.all(Task) == []


# --- restarts ---------------------------------------------------------------------------------------------------------


def past(*ages: float, state: TaskState = TaskState.FAILED, **asked: object) -> list[Task]:
    """Tasks of one slot, created so many seconds ago, the last of which ended just now."""
    rules = RestartPolicy(**asked)  # type: ignore[arg-type]
    return [
        Task(
            id=f"t{i}",
            slot=1,
            created_at=START - timedelta(seconds=age),
            status=TaskStatus(state=state, timestamp=START),
            spec=replace(spec().task_template, restart_policy=rules),
        )
        for i, age in enumerate(ages)
    ]


@pytest.mark.parametrize(
    ("slot", "restarted"),
    [
        (past(10), True),
        (past(10, condition="none"), False),
        (past(10, condition="on-failure"), True),
        (past(10, condition="on-failure", state=TaskState.COMPLETE), False),
        (past(10, condition="any", state=TaskState.COMPLETE), True),
        (past(10, max_attempts=1), True),
        (past(20, 10, max_attempts=1), False),
        (past(30, 20, 10, max_attempts=3), True),
        (past(30, 20, 10, max_attempts=2, window=in_seconds(15)), True),
        (past(30, 14, 10, max_attempts=2, window=in_seconds(15)), False),
    ],
)
def test_who_is_restarted(slot: list[Task], restarted: bool) -> None:
    """Condition, attempts and window decide; attempts count the tasks after the first."""
    assert should_restart(slot[-1], slot, START) is restarted


def test_a_replacement_waits_out_the_delay_also_under_a_new_leader() -> None:
    """The delay is measured from the stored task, so a change of leaders neither shortens nor lengthens it."""
    world = World(node("a"))
    world.serve(spec(replicas=1, **policy(delay=in_seconds(7))))
    world.run()
    world.report(world.alive()[0], TaskState.FAILED, err="task: non-zero exit (1)")
    world.settle()
    assert world.alive()[0].desired_state == TaskState.READY
    world.wait(4)
    world.restart()
    world.settle()
    wake = world.decide().wake
    assert wake is not None and abs(wake - world.now - timedelta(seconds=3)) < timedelta(milliseconds=1)
    world.wait(2.9)
    assert world.alive()[0].desired_state == TaskState.READY
    world.wait(0.2)
    assert world.alive()[0].desired_state == TaskState.RUNNING


def test_the_slot_of_a_task_that_is_not_restarted_stays_taken() -> None:
    """A finished task with policy none is not replaced by scaling; an update replaces it."""
    world = World(node("a"))
    world.serve(spec(replicas=2, **policy(condition="none")))
    world.run()
    world.report(world.alive()[0], TaskState.COMPLETE)
    world.wait(60)
    assert len(world.tasks()) == 2 and len(world.alive()) == 1
    world.respec(spec(replicas=3, **policy(condition="none")))
    assert sorted(task.slot for task in world.alive()) == [2, 3]
    world.respec(spec(replicas=3, image="app:2", **policy(condition="none")))
    assert [image(task) for task in world.alive() if task.slot == 1] == ["app:2"]


def test_a_lost_node_s_tasks_are_replaced_at_once_unless_their_policy_forbids() -> None:
    """Down, drained or gone: the replacement is meant to run at once; with policy none there is none."""
    for change in ("down", "drain", "removed"):
        world = World(node("a"), node("b"))
        world.serve(spec(replicas=2))
        world.serve(spec("once", 2, **policy(condition="none")))
        world.run()
        world.run("once")
        if change == "down":
            world.put(replace(world.node("b"), status=NodeStatus(state="down")))
        elif change == "drain":
            world.put(replace(world.node("b"), spec=NodeSpec(availability="drain")))
        else:
            orphans = [
                replace(task, status=replace(task.status, state=TaskState.ORPHANED))
                for task in world.view.tasks_of_node("b")
            ]
            world.put(*orphans)
            world.commit([Delete(thing=world.node("b"))])
        world.settle()
        if change == "drain":
            world.obey()
        moved = [task for task in world.alive() if task.node_id == "a"]
        assert [task.desired_state for task in moved] == [TaskState.RUNNING] * 2
        assert len(world.alive("once")) == 1


def test_a_paused_node_keeps_its_tasks_and_gets_no_new_ones() -> None:
    """Pause stops nothing; what fails there runs elsewhere."""
    world = World(node("a"), node("b"))
    world.serve(spec(replicas=2))
    world.run()
    world.put(replace(world.node("b"), spec=NodeSpec(availability="pause")))
    world.settle()
    assert Counter(task.node_id for task in world.alive()) == {"a": 1, "b": 1}
    world.respec(spec(replicas=4))
    assert Counter(task.node_id for task in world.alive()) == {"a": 3, "b": 1}


# --- global services --------------------------------------------------------------------------------------------------


def test_a_global_service_follows_nodes_and_constraints() -> None:
    """A task per node that satisfies the constraints; preassigned, slot 0; explained when the node has no room."""
    world = World(node("a"), node("b"))
    placement = Placement(constraints=["node.labels.disk==ssd"])
    world.serve(spec(template={"placement": placement}, **GLOBAL))  # type: ignore[arg-type]
    assert world.alive() == []
    world.put(replace(world.node("a"), spec=NodeSpec(labels={"disk": "ssd"})))
    world.settle()
    (task,) = world.alive()
    assert (task.node_id, task.slot, task.status.message) == (
        "a", 0, "scheduler confirmed task can run on preassigned node",
    )  # fmt: skip
    world.put(replace(world.node("a"), spec=NodeSpec()))
    world.settle()
    assert world.alive() == []
    big = ResourceRequirements(reservations=Resources(nano_cpus=10**12))
    world.serve(spec("big", template={"resources": big}, **GLOBAL))  # type: ignore[arg-type]
    assert {task.status.err for task in world.alive("big")} == {"no suitable node (insufficient resources on 1 node)"}


def test_a_global_service_restarts_on_the_same_node_but_not_on_a_paused_one() -> None:
    """A failed task is replaced on its node after the delay; on a paused node it is only stopped."""
    world = World(node("a"), node("b"))
    world.serve(spec(**GLOBAL))  # type: ignore[arg-type]
    world.run()
    world.put(replace(world.node("b"), spec=NodeSpec(availability="pause")))
    for task in world.alive():
        world.report(task, TaskState.FAILED)
    world.wait(6)
    assert [task.node_id for task in world.alive()] == ["a"]


# --- history and enforcement ------------------------------------------------------------------------------------------


@given(limit=st.integers(0, 6), failures=st.integers(0, 9), attempts=st.integers(0, 3))
@settings(max_examples=60)
def test_history_is_kept_up_to_the_limit(limit: int, failures: int, attempts: int) -> None:
    """Of a slot as many tasks are kept as the limit says, never none; with a limit of attempts one more than that."""
    world = World(node("a"))
    cluster = world.view.get(Cluster, "cluster")
    assert cluster is not None
    orchestration = OrchestrationConfig(task_history_retention_limit=limit)
    world.put(replace(cluster, spec=ClusterSpec(orchestration=orchestration)))
    world.serve(spec(replicas=1, **policy(max_attempts=attempts)))
    created = {world.tasks()[0].id}
    for _ in range(failures):
        world.obey()
        if world.alive():
            world.report(world.alive()[-1], TaskState.FAILED)
        world.wait(6)
        created |= {task.id for task in world.tasks()}
    world.wait(6)
    expected = min(failures, attempts) + 1 if attempts else failures + 1
    assert len(created) == expected
    assert len(world.tasks()) == min(expected, max(limit, 1) if not attempts else attempts + 1)


def test_a_task_that_its_node_may_not_run_any_more_is_rejected_and_runs_elsewhere() -> None:
    """When a label goes, the tasks that needed it are rejected with swarm mode's words, and replaced."""
    ssd = NodeSpec(labels={"disk": "ssd"})
    world = World(node("a", spec=ssd), node("b", spec=ssd))
    world.serve(spec(replicas=2, template={"placement": Placement(constraints=["node.labels.disk==ssd"])}))
    world.run()
    world.put(replace(world.node("a"), spec=NodeSpec()))
    world.settle()
    (rejected,) = (task for task in world.tasks() if task.status.state == TaskState.REJECTED)
    assert rejected.status.message == "task rejected by constraint enforcer"
    assert rejected.status.err == "assigned node no longer meets constraints"
    assert [task.node_id for task in world.alive()] == ["b", "b"]


# --- rolling updates --------------------------------------------------------------------------------------------------


def test_an_update_that_changes_no_task_touches_none() -> None:
    """Labels and replicas replace nothing and leave no update status; constraints do only where they fail."""
    world = World(node("a"))
    world.serve(spec(replicas=2))
    world.run()
    before = {task.id for task in world.alive()}
    world.respec(spec(replicas=3, labels={"x": "y"}))
    world.respec(spec(replicas=3, template={"placement": Placement(constraints=["node.hostname==a"])}))
    assert before < {task.id for task in world.alive()}
    assert world.service().update_status is None


def test_forcing_an_update_replaces_everything() -> None:
    """A raised ForceUpdate makes every task out of date."""
    world = World(node("a"))
    world.serve(spec(replicas=2))
    world.run()
    before = {task.id for task in world.alive()}
    world.respec(spec(replicas=2, template={"force_update": 1}))
    for _ in range(4):
        world.run()
    assert not before & {task.id for task in world.alive()}


def test_continue_goes_on_whatever_fails() -> None:
    """With failure action continue every slot is updated, although each new task fails."""
    world = World(node("a"))
    config = UpdateConfig(parallelism=1, failure_action="continue")
    world.serve(spec(replicas=3, update_config=config))
    world.run()
    world.respec(spec(replicas=3, image="app:2", update_config=config))
    for _ in range(10):
        world.obey()
        for task in world.alive():
            if image(task) == "app:2" and not task.status.state.terminal:
                world.report(task, TaskState.FAILED)
        world.wait(1)
    assert {image(task) for task in world.alive()} == {"app:2"}


def test_the_failure_ratio_is_exceeded_not_reached() -> None:
    """With a ratio of one half, two failures of four pass and three pause."""
    for failing, state in ((2, "completed"), (3, "paused")):
        world = World(node("a"))
        config = UpdateConfig(parallelism=0, max_failure_ratio=0.5)
        world.serve(spec(replicas=4, update_config=config, **policy(condition="none")))
        world.run()
        world.respec(spec(replicas=4, image="app:2", update_config=config, **policy(condition="none")))
        world.run()
        for task in world.alive()[:failing]:
            world.report(task, TaskState.FAILED)
        world.wait(10)
        status = world.service().update_status
        assert status is not None and status.state == state


def test_a_failure_after_the_monitoring_time_does_not_count() -> None:
    """A task that fails six seconds after it began to run does not pause the update."""
    world = World(node("a"))
    config = UpdateConfig(parallelism=1, delay=in_seconds(20))
    world.serve(spec(replicas=2, update_config=config))
    world.run()
    world.respec(spec(replicas=2, image="app:2", update_config=config))
    world.run()
    world.wait(6)
    world.report(next(task for task in world.alive() if image(task) == "app:2"), TaskState.FAILED)
    world.settle()
    status = world.service().update_status
    assert status is not None and status.state == "updating"


def test_a_failing_rollback_pauses() -> None:
    """When what is rolled back to fails as well, the rollback is paused."""
    world = World(node("a"))
    config = UpdateConfig(parallelism=1, failure_action="rollback")
    world.serve(spec(replicas=2, update_config=config))
    world.run()
    world.respec(spec(replicas=2, image="app:2", update_config=config))
    world.run()
    world.report(next(task for task in world.alive() if image(task) == "app:2"), TaskState.FAILED)
    world.settle()
    world.obey()
    status = world.service().update_status
    assert status is not None and status.state == "rollback_started"
    back = next(task for task in world.alive() if task.created_at > status.started_at and image(task) == "app:1")
    world.run()
    world.report(back, TaskState.FAILED)
    world.settle()
    status = world.service().update_status
    assert status is not None and status.state == "rollback_paused"
    assert status.message == f"rollback paused due to failure or early termination of task {back.id}"


class Agent:
    """Walks tasks on, one random step at a time, and checks what must hold in every state of the store."""

    def __init__(self, world: World, service: ServiceSpec, most: int, stop_first: bool) -> None:
        self.world, self.spec, self.most, self.stop_first = world, service, most, stop_first

    def step(self, task: Task) -> None:
        state = task.status.state
        if not TaskState.ASSIGNED <= state <= TaskState.RUNNING:
            return
        if task.desired_state >= TaskState.SHUTDOWN:
            self.world.report(task, TaskState.SHUTDOWN)
        elif state < TaskState.READY:
            self.world.report(task, TaskState.READY)
        elif state < TaskState.RUNNING and task.desired_state == TaskState.RUNNING:
            self.world.report(task, TaskState.RUNNING)

    def check(self) -> None:
        new = self.world.service().spec_version
        on_the_way = [
            task for task in self.world.alive() if task.spec_version == new and task.status.state < TaskState.RUNNING
        ]
        if self.most:
            assert len(on_the_way) <= self.most
        slots = Counter(task.slot for task in self.world.alive())
        started = Counter(
            task.slot for task in self.world.tasks() if TaskState.STARTING <= task.status.state <= TaskState.RUNNING
        )
        assert max(slots.values()) <= (1 if self.stop_first else 2)
        if self.stop_first:
            assert max(started.values(), default=0) <= 1
        else:
            assert all(started[slot] >= 1 for slot in slots)


@given(
    replicas=st.integers(1, 6),
    parallelism=st.integers(0, 4),
    order=st.sampled_from(["stop-first", "start-first"]),
    delay=st.integers(0, 3),
    moves=st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.integers(0, 2)), max_size=60),
)
@settings(max_examples=120)
def test_updates_never_do_too_much_at_once(
    replicas: int, parallelism: int, order: str, delay: int, moves: list[tuple[int, bool, int]]
) -> None:
    """Never more new tasks on the way than the parallelism; stop-first never has two tasks in a slot, start-first
    never none that runs; a change of leaders changes nothing; and in the end everything is up to date."""
    world = World(node("a"), node("b"))
    config = UpdateConfig(parallelism=parallelism, order=order, delay=in_seconds(delay))
    world.serve(spec(replicas=replicas, update_config=config))
    world.run()
    new = spec(replicas=replicas, image="app:2", update_config=config)
    world.respec(new)
    agent = Agent(world, new, parallelism, order == "stop-first")
    agent.check()
    for number, new_leader, seconds in moves:
        tasks = world.tasks()
        agent.step(tasks[number % len(tasks)])
        if new_leader:
            world.restart()
        world.wait(seconds)
        agent.check()
    for _ in range(30 + 4 * replicas):
        for task in world.tasks():
            agent.step(task)
        world.wait(2)
        agent.check()
    assert {image(task) for task in world.alive()} == {"app:2"}
    assert len(world.alive()) == replicas
    status = world.service().update_status
    assert status is not None and (status.state, status.message) == ("completed", "update completed")


@given(
    seed=st.lists(
        st.tuples(
            st.sampled_from(["fail", "obey", "scale", "image", "down", "up", "drain", "active", "leader", "label"]),
            st.integers(0, 7),
        ),
        max_size=25,
    )
)
@settings(max_examples=100)
def test_states_only_rise_and_the_swarm_always_comes_to_rest(seed: list[tuple[str, int]]) -> None:
    """Whatever happens, no decision lowers a state, and when all is well again everything runs as asked."""
    world = World(node("a"), node("b"), node("c"))
    world.serve(spec(replicas=3))
    replicas, version = 3, 1
    highest: dict[str, tuple[TaskState, TaskState]] = {}
    for what, number in seed:
        id = "abc"[number % 3]
        if what == "fail" and world.alive():
            task = world.alive()[number % len(world.alive())]
            if TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
                world.report(task, TaskState.FAILED)
        elif what == "obey":
            world.obey()
        elif what == "leader":
            world.restart()
        elif what in ("scale", "image"):
            replicas, version = (number, version) if what == "scale" else (replicas, number)
            world.respec(spec(replicas=replicas, image=f"app:{version}"))
        elif what in ("down", "up"):
            world.put(replace(world.node(id), status=NodeStatus(state="down" if what == "down" else "ready")))
        elif what in ("drain", "active"):
            world.put(replace(world.node(id), spec=NodeSpec(availability=what)))
        world.wait(number)
        for task in world.view.all(Task):
            state, desired = highest.get(task.id, (TaskState.NEW, TaskState.NEW))
            assert task.status.state >= state and task.desired_state >= desired
            highest[task.id] = task.status.state, task.desired_state
    for id in "abc":
        world.put(replace(world.node(id), status=NodeStatus(state="ready"), spec=NodeSpec()))
    world.respec(spec(replicas=replicas, image="app:last"))
    for _ in range(20 + 3 * replicas):
        world.obey()
        world.wait(10)
    assert [(task.status.state, image(task)) for task in world.alive()] == [(TaskState.RUNNING, "app:last")] * replicas
    assert sorted(task.slot for task in world.alive()) == list(range(1, replicas + 1)) or replicas < 7
    assert isinstance(world.service(), Service)
