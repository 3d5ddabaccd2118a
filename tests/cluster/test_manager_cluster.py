"""The deciding half at work: whole stories in virtual time."""

from __future__ import annotations

from itertools import pairwise

from msgspec.structs import replace

from shoal.kit.virtual import run_virtual
from shoal.model.objects import NodeStatus
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    Empty,
    EndpointSpec,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
    ReplicatedService,
    RestartPolicy,
    ServiceMode,
    ServiceSpec,
    UpdateConfig,
)
from shoal.store.base import Put
from tests.cluster.fakeswarm import FakeSwarm, fake_swarm, in_seconds, node, spec


def scaled(replicas: int):  # type: ignore[no-untyped-def]
    return lambda old: replace(old, mode=ServiceMode(replicated=ReplicatedService(replicas=replicas)))


def imaged(image: str):  # type: ignore[no-untyped-def]
    def change(old: ServiceSpec) -> ServiceSpec:
        container = replace(old.task_template.container_spec, image=image)
        return replace(old, task_template=replace(old.task_template, container_spec=container))

    return change


def images(swarm: FakeSwarm) -> list[str]:
    return [task.spec.container_spec.image for task in swarm.running()]  # type: ignore[union-attr]


def test_a_service_is_deployed_spread_evenly() -> None:
    """Five replicas on two nodes run as three and two."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            await swarm.create(spec(replicas=5))
            await swarm.until(lambda: len(swarm.running()) == 5)
            assert sorted(swarm.spread().values()) == [2, 3]
            assert sorted(task.slot for task in swarm.running()) == [1, 2, 3, 4, 5]

    run_virtual(story())


def test_a_new_service_of_a_hundred_is_placed_in_one_commit() -> None:
    """Creating, allocating and scheduling a hundred tasks takes one commit of the leader."""

    async def story() -> None:
        async with fake_swarm(node("a"), pace=30) as swarm:
            await swarm.rest(1)
            before = swarm.commits
            await swarm.create(spec(replicas=100, endpoint_spec=EndpointSpec(ports=[PortConfig(target_port=80)])))
            await swarm.rest(1)
            assert swarm.commits == before + 2
            assert {task.status.state for task in swarm.tasks()} == {TaskState.ASSIGNED}
            assert len({task.networks_attachments[0].addresses[0] for task in swarm.tasks()}) == 100

    run_virtual(story())


def test_scaling_up_and_down() -> None:
    """A scaled service has as many tasks as asked, and those taken away are forgotten."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            await swarm.create(spec(replicas=2))
            await swarm.until(lambda: len(swarm.running()) == 2)
            await swarm.update(scaled(7))
            await swarm.until(lambda: len(swarm.running()) == 7)
            await swarm.update(scaled(3))
            await swarm.until(lambda: len(swarm.tasks()) == 3)
            assert sorted(swarm.spread().values()) == [1, 2]
            assert swarm.service().update_status is None

    run_virtual(story())


def test_a_rolling_update_replaces_one_after_the_other() -> None:
    """With parallelism 1 and a delay, one slot at a time is replaced and the next waits."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            config = UpdateConfig(parallelism=1, delay=in_seconds(10))
            await swarm.create(spec(replicas=3, update_config=config))
            await swarm.until(lambda: len(swarm.running()) == 3)
            await swarm.update(imaged("app:2"))
            await swarm.until(lambda: images(swarm).count("app:2") == 1)
            await swarm.rest(9)
            assert images(swarm).count("app:1") == 2
            await swarm.until(lambda: images(swarm) == ["app:2"] * 3)
            status = swarm.service().update_status
            assert status is not None and status.state == "updating"
            await swarm.until(lambda: swarm.service().update_status.state == "completed")  # type: ignore[union-attr]
            assert len(swarm.tasks()) == 6

    run_virtual(story())


def test_stop_first_starts_the_new_task_after_the_old_one_stopped() -> None:
    """Never do two tasks of one slot run at once."""

    async def story() -> None:
        async with fake_swarm(node("a")) as swarm:
            await swarm.create(spec(replicas=4))
            await swarm.until(lambda: len(swarm.running()) == 4)
            await swarm.update(imaged("app:2"))
            await swarm.until(lambda: images(swarm) == ["app:2"] * 4)
            alive: dict[str, TaskState] = {}
            for _, task in swarm.history:
                alive[task.id] = task.status.state
                if task.status.state in (TaskState.STARTING, TaskState.RUNNING):
                    slot = {t.id for _, t in swarm.history if t.slot == task.slot} - {task.id}
                    busy = [
                        id for id in slot if TaskState.STARTING <= alive.get(id, TaskState.NEW) <= TaskState.RUNNING
                    ]
                    assert not busy

    run_virtual(story())


def test_start_first_keeps_the_old_task_until_the_new_one_runs() -> None:
    """The number of running tasks never falls during a start-first update."""

    async def story() -> None:
        async with fake_swarm(node("a")) as swarm:
            await swarm.create(spec(replicas=3, update_config=UpdateConfig(parallelism=1, order="start-first")))
            await swarm.until(lambda: len(swarm.running()) == 3)
            await swarm.update(imaged("app:2"))
            while images(swarm) != ["app:2"] * 3:
                assert len([t for t in swarm.tasks() if t.status.state == TaskState.RUNNING]) >= 3
                await swarm.rest(0.01)

    run_virtual(story())


def test_a_failing_update_pauses() -> None:
    """The first failed task pauses an update, with the task's id in the message; the other slots stay as they were."""

    async def story() -> None:
        async with fake_swarm(node("a")) as swarm:
            swarm.fails = lambda t: TaskState.READY if t.spec.container_spec.image == "nope" else None
            await swarm.create(spec(replicas=3))
            await swarm.until(lambda: len(swarm.running()) == 3)
            await swarm.update(imaged("nope"))
            await swarm.until(lambda: (s := swarm.service().update_status) and s.state == "paused")
            message = swarm.service().update_status.message  # type: ignore[union-attr]
            assert message.startswith("update paused due to failure or early termination of task ")
            assert images(swarm) == ["app:1"] * 2
            await swarm.update(imaged("app:3"))
            await swarm.until(lambda: images(swarm) == ["app:3"] * 3)

    run_virtual(story())


def test_a_failing_update_rolls_back() -> None:
    """With failure action rollback, all slots return to the spec before, and the status says so."""

    async def story() -> None:
        async with fake_swarm(node("a")) as swarm:
            swarm.fails = lambda t: TaskState.RUNNING if t.spec.container_spec.image == "app:bad" else None
            config = UpdateConfig(parallelism=2, failure_action="rollback")
            await swarm.create(spec(replicas=4, update_config=config))
            await swarm.until(lambda: len(swarm.running()) == 4)
            await swarm.update(imaged("app:bad"))
            await swarm.until(lambda: (s := swarm.service().update_status) and s.state == "rollback_completed")
            assert images(swarm) == ["app:1"] * 4
            assert swarm.service().previous_spec is None

    run_virtual(story())


def test_draining_a_node_moves_its_tasks_without_delay() -> None:
    """Tasks of a drained node run elsewhere at once, and do not come back when it is active again."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            await swarm.create(spec(replicas=4))
            await swarm.until(lambda: len(swarm.running()) == 4)
            start = await swarm.until(lambda: True)
            await swarm.drain("a")
            end = await swarm.until(lambda: swarm.spread() == {"b": 4})
            assert end - start < 2
            await swarm.drain("a", "active")
            await swarm.rest(20)
            assert swarm.spread() == {"b": 4}

    run_virtual(story())


def test_a_dead_node_s_tasks_run_elsewhere_at_once() -> None:
    """When a node is found down, its tasks are replaced without a restart delay."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            await swarm.create(spec(replicas=4))
            await swarm.until(lambda: len(swarm.running()) == 4)
            start = await swarm.until(lambda: True)
            await swarm.kill("b")
            end = await swarm.until(lambda: swarm.spread().get("a") == 4)
            assert end - start < 1.5

    run_virtual(story())


def test_a_task_that_fails_is_restarted_after_the_delay() -> None:
    """Failures are five seconds apart by default, and history is kept to five tasks per slot."""

    async def story() -> None:
        async with fake_swarm(node("a")) as swarm:
            swarm.fails = lambda t: TaskState.READY
            await swarm.create(spec(replicas=1))
            await swarm.rest(61)
            born = sorted({task.id: moment for moment, task in reversed(swarm.history)}.values())
            gaps = [b - a for a, b in pairwise(born)]
            assert len(born) == 14 and all(4.9 < gap < 5.6 for gap in gaps[1:])
            assert len(swarm.tasks()) == 5

    run_virtual(story())


def test_a_restart_policy_limits_the_attempts() -> None:
    """With two attempts, three tasks are tried, and the slot stays as it is."""

    async def story() -> None:
        async with fake_swarm(node("a")) as swarm:
            swarm.fails = lambda t: TaskState.RUNNING
            policy = RestartPolicy(condition="on-failure", max_attempts=2, delay=in_seconds(1))
            await swarm.create(spec(replicas=1, template={"restart_policy": policy}))
            await swarm.rest(60)
            assert len(swarm.tasks()) == 3
            assert not swarm.running()

    run_virtual(story())


def test_a_global_service_runs_once_on_every_node() -> None:
    """Also on those that join later; a drained node loses its task and gets it again."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            await swarm.create(spec(replicas=None, mode=ServiceMode(global_=Empty())))
            await swarm.until(lambda: swarm.spread() == {"a": 1, "b": 1})
            await swarm.store.commit([Put(thing=node("c"))])
            await swarm.until(lambda: swarm.spread() == {"a": 1, "b": 1, "c": 1})
            await swarm.drain("a")
            await swarm.until(lambda: swarm.spread() == {"b": 1, "c": 1})
            await swarm.drain("a", "active")
            await swarm.until(lambda: swarm.spread() == {"a": 1, "b": 1, "c": 1})
            await swarm.update(imaged("app:2"))
            await swarm.until(lambda: images(swarm) == ["app:2"] * 3)

    run_virtual(story())


def test_a_new_leader_goes_on_with_an_update() -> None:
    """Leaders that come and go every second change nothing in the course of an update."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            config = UpdateConfig(parallelism=1, delay=in_seconds(2))
            await swarm.create(spec(replicas=4, update_config=config))
            await swarm.until(lambda: len(swarm.running()) == 4)
            start = await swarm.until(lambda: True)
            await swarm.update(imaged("app:2"))
            while images(swarm) != ["app:2"] * 4:
                swarm.abdicate.ring()
                await swarm.rest(1)
                assert len(swarm.running()) >= 3
            end = await swarm.until(lambda: True)
            assert 7.5 < end - start < 12
            await swarm.until(lambda: swarm.service().update_status.state == "completed")  # type: ignore[union-attr]
            assert len(swarm.tasks()) == 8

    run_virtual(story())


def test_a_stack_s_life_through_control() -> None:
    """Network, service, update, manual rollback, removal of both: nothing is left, and addresses are free again."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            control = swarm.control
            net = await control.create_network(NetworkSpec(name="webnet"))
            networks = [NetworkAttachmentConfig(target="webnet")]
            ports = EndpointSpec(ports=[PortConfig(target_port=80, published_port=80)])
            await control.create_service(spec(replicas=5, template={"networks": networks}, endpoint_spec=ports))
            await swarm.until(lambda: len(swarm.running()) == 5)
            endpoint = control.get_service("web").endpoint
            assert {vip.network_id for vip in endpoint.virtual_ips} == {"ingress", net.id}
            service = control.get_service("web")
            new = imaged("app:2")(service.spec)
            await control.update_service("web", service.version.index, new)
            await swarm.until(lambda: images(swarm) == ["app:2"] * 5)
            await swarm.until(lambda: swarm.service().update_status.state == "completed")  # type: ignore[union-attr]
            await control.update_service("web", control.get_service("web").version.index, new, rollback=True)
            await swarm.until(lambda: images(swarm) == ["app:1"] * 5)
            await swarm.until(
                lambda: swarm.service().update_status.state == "rollback_completed"  # type: ignore[union-attr]
            )
            assert control.get_service("web").endpoint == endpoint
            await control.remove_service("web")
            await control.remove_network("webnet")
            await swarm.until(lambda: not control.list_tasks())
            await swarm.rest(1)
            assert {a.network_id for one in control.list_nodes() for a in one.attachments} == {"ingress"}

    run_virtual(story())


def test_a_swarm_that_is_busy_reporting_is_still_decided_for() -> None:
    """Agents that report all the time make commits of the leader fail; it decides again until one passes."""

    async def story() -> None:
        async with fake_swarm(*(node(f"n{i}") for i in range(5)), pace=0.003) as swarm:
            await swarm.create(spec(replicas=60, update_config=UpdateConfig(parallelism=0)))
            await swarm.until(lambda: len(swarm.running()) == 60)
            await swarm.update(imaged("app:2"))
            await swarm.drain("n0")
            await swarm.until(lambda: images(swarm) == ["app:2"] * 60)
            assert sorted(swarm.spread().values()) == [15] * 4

    run_virtual(story())


def test_a_node_that_comes_back_stops_what_runs_elsewhere_by_now() -> None:
    """Its old tasks are told to stop, and are forgotten beyond the history limit."""

    async def story() -> None:
        async with fake_swarm(node("a"), node("b")) as swarm:
            await swarm.create(spec(replicas=4))
            await swarm.until(lambda: len(swarm.running()) == 4)
            await swarm.kill("b")
            await swarm.until(lambda: swarm.spread() == {"a": 4})
            swarm.silent.clear()
            await swarm.change_node("b", status=NodeStatus(state="ready"), down_since=None)
            await swarm.rest(5)
            assert swarm.spread() == {"a": 4}
            on_b = swarm.store.view.tasks_of_node("b")
            assert {task.status.state for task in on_b} == {TaskState.SHUTDOWN}

    run_virtual(story())
