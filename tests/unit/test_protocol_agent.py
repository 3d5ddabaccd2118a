"""The agent's pure parts: the step function, what a task becomes as a container, which manager to try, files."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.agent.disk import Kept, TaskFiles, TaskKeeper
from shoal.agent.executor import Exit
from shoal.agent.plan import generic_environment, plan, security_options
from shoal.agent.pulls import parse_auth
from shoal.agent.remotes import Remote, Remotes
from shoal.agent.runner import Action, exit_error, failed_state, step
from shoal.kit.tasks import background
from shoal.model.errors import InvalidArgument, ShoalError, Unavailable
from shoal.model.objects import (
    Endpoint,
    Network,
    NetworkAttachment,
    NodeDescription,
    Task,
    TaskStatus,
)
from shoal.model.privileges import AppArmor, CredentialSpec, Privileges, Seccomp, SELinuxContext
from shoal.model.states import TaskState
from shoal.model.swarm_spec import (
    ContainerSpec,
    Driver,
    GenericResource,
    Limit,
    Mount,
    NetworkSpec,
    Platform,
    PortConfig,
    ResourceRequirements,
    TaskSpec,
)
from tests.waiting import until

DESIRED = [
    TaskState.READY, TaskState.RUNNING, TaskState.COMPLETE, TaskState.SHUTDOWN, TaskState.REMOVE,
]  # fmt: skip
AFTER = {
    Action.ACCEPT: TaskState.ACCEPTED,
    Action.BEGIN_PREPARING: TaskState.PREPARING,
    Action.PREPARE: TaskState.READY,
    Action.BEGIN_STARTING: TaskState.STARTING,
    Action.START: TaskState.RUNNING,
    Action.WAIT: TaskState.COMPLETE,
    Action.SHUT_DOWN: TaskState.SHUTDOWN,
}


@given(st.sampled_from(DESIRED), st.sampled_from(TaskState))
def test_steps_only_rise_and_end(desired: TaskState, observed: TaskState) -> None:
    """From any state, steps raise the state each time and come to rest within seven of them."""
    for _ in range(8):
        action = step(desired, observed)
        if action is Action.NOTHING:
            return
        assert AFTER[action] > observed
        observed = AFTER[action]
    raise AssertionError("it never comes to rest")


@pytest.mark.parametrize(
    ("desired", "rest"),
    [
        (TaskState.READY, TaskState.READY),
        (TaskState.RUNNING, TaskState.COMPLETE),
        (TaskState.COMPLETE, TaskState.COMPLETE),
        (TaskState.SHUTDOWN, TaskState.SHUTDOWN),
        (TaskState.REMOVE, TaskState.SHUTDOWN),
    ],
)
def test_where_steps_come_to_rest(desired: TaskState, rest: TaskState) -> None:
    """A new task rests where it is desired; a running one waits for its end; stopping skips everything else."""
    observed = TaskState.ASSIGNED
    while (action := step(desired, observed)) is not Action.NOTHING:
        observed = AFTER[action]
    assert observed == rest


def test_step_details() -> None:
    """A task past its desired state is left alone, except that it is stopped when that is desired."""
    assert step(TaskState.READY, TaskState.STARTING) is Action.NOTHING
    assert step(TaskState.SHUTDOWN, TaskState.RUNNING) is Action.SHUT_DOWN
    assert step(TaskState.SHUTDOWN, TaskState.FAILED) is Action.NOTHING
    assert failed_state(TaskState.PREPARING) is TaskState.REJECTED
    assert failed_state(TaskState.STARTING) is TaskState.FAILED
    assert exit_error(Exit(3)) == "task: non-zero exit (3)"
    assert exit_error(Exit(0)) == ""


def service_task(**fields: object) -> Task:
    """A task of a service."""
    defaults: dict[str, object] = {
        "id": "t1",
        "service_id": "s1",
        "service_name": "web",
        "service_labels": {"tier": "front"},
        "slot": 2,
        "node_id": "n1",
        "spec": TaskSpec(container_spec=ContainerSpec(image="redis")),
    }
    return Task(**{**defaults, **fields})  # type: ignore[arg-type]


NODE = NodeDescription(hostname="alpha", platform=Platform(architecture="x86_64", os="linux"))


def test_container_of_a_task() -> None:
    """Name, labels, templates, limits, grace and ports of a task are its container's."""
    spec = ContainerSpec(
        image="redis",
        labels={"mine": "1", "com.docker.swarm.task.id": "forged"},
        command=["serve"],
        args=["--port", "1"],
        env=[
            "A={{.Node.Hostname}}-{{.Task.Name}}",
            'B={{index .Service.Labels "tier"}}',
            'C={{join "/" .Node.Platform.OS .Node.Platform.Architecture}}',
        ],
        mounts=[Mount(type="volume", source="data-{{.Task.Slot}}", target="/data")],
        stop_grace_period=1_500_000_000,
        hosts=["10.0.0.9 db other"],
    )
    task = service_task(
        spec=TaskSpec(
            container_spec=spec,
            resources=ResourceRequirements(limits=Limit(nano_cpus=5 * 10**8, memory_bytes=2**26, pids=9)),
        ),
        endpoint=Endpoint(
            ports=[
                PortConfig(target_port=80, published_port=8080, publish_mode="host"),
                PortConfig(target_port=81, published_port=8081),
            ]
        ),
        log_driver=Driver(name="local", options={"max-size": "1m"}),
    )
    made = plan(task, [], NODE)
    assert made.name == "web.2.t1"
    assert made.config.labels["mine"] == "1"
    assert made.config.labels["com.docker.swarm.task.id"] == "t1"
    assert made.config.labels["com.docker.swarm.task"] == ""
    assert made.config.env == ["A=alpha-web.2.t1", "B=front", "C=linux/x86_64"]
    assert (made.config.entrypoint, made.config.cmd) == (["serve"], ["--port", "1"])
    assert made.config.stop_timeout == 2
    assert made.host.mounts[0].source == "data-2"
    assert made.host.extra_hosts == ["db:10.0.0.9"]
    assert (made.host.memory, made.host.nano_cpus, made.host.pids_limit) == (2**26, 5 * 10**8, 9)
    assert list(made.host.port_bindings) == ["80/tcp"]
    assert set(made.config.exposed_ports) == {"80/tcp", "81/tcp"}
    assert made.host.log_config.type == "local"
    assert (made.networks, made.host.network_mode) == ([], "")


def test_networks_of_a_task() -> None:
    """Swarm networks are asked for by id with the allocator's address, ingress last; the host's network is a mode."""
    ingress = Network(id="i1", spec=NetworkSpec(name="ingress", ingress=True))
    front = Network(id="f1", spec=NetworkSpec(name="front"))
    task = service_task(
        networks_attachments=[
            NetworkAttachment(network_id="i1", addresses=["10.0.0.7/24"]),
            NetworkAttachment(network_id="f1", addresses=["10.0.1.7/24"], aliases=["w"]),
        ]
    )
    made = plan(task, [ingress, front], NODE)
    assert made.networks == ["f1", "i1"]
    assert made.host.network_mode == "f1"
    wanted = made.networking.endpoints_config["f1"]
    assert wanted.ipam_config is not None
    assert (wanted.ipam_config.ipv4_address, wanted.aliases) == ("10.0.1.7", ["w"])
    host = Network(id="h1", driver="host", spec=NetworkSpec(name="host"))
    made = plan(service_task(networks_attachments=[NetworkAttachment(network_id="h1")]), [host], NODE)
    assert (made.host.network_mode, made.networks) == ("host", [])


def test_what_cannot_be_run() -> None:
    """A template with an unknown key is refused, and so is a task that is no container."""
    bad = service_task(spec=TaskSpec(container_spec=ContainerSpec(image="x", env=["A={{.Nope}}"])))
    with pytest.raises(InvalidArgument, match="expanding template failed"):
        plan(bad, [], NODE)
    with pytest.raises(ShoalError):
        plan(service_task(spec=TaskSpec()), [], NODE)


def test_privileges_and_resources() -> None:
    """Privileges become security options, claimed resources become environment."""
    options = security_options(
        Privileges(
            no_new_privileges=True,
            selinux_context=SELinuxContext(level="s0"),
            seccomp=Seccomp(mode="unconfined"),
            apparmor=AppArmor(mode="disabled"),
        )
    )
    assert options == ["label=level:s0", "no-new-privileges=true", "seccomp=unconfined", "apparmor=unconfined"]
    credential, profile = CredentialSpec(file="spec.json"), Seccomp(mode="custom", profile=b"{}")
    assert security_options(Privileges(credential_spec=credential, seccomp=profile)) == [
        "credentialspec=file://spec.json",
        "seccomp={}",
    ]
    claimed = [
        GenericResource(named_resource_spec=GenericResource.Named(kind="gpu", value="a")),
        GenericResource(named_resource_spec=GenericResource.Named(kind="gpu", value="b")),
        GenericResource(discrete_resource_spec=GenericResource.Discrete(kind="ssd", value=3)),
    ]
    assert generic_environment(claimed) == ["DOCKER_RESOURCE_GPU=a,b", "DOCKER_RESOURCE_SSD=3"]


def test_registry_credentials() -> None:
    """X-Registry-Auth is base64url of JSON; nonsense and nothing are no credentials."""
    auth = parse_auth("eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ==")
    assert auth is not None
    assert (auth.username, auth.password) == ("a", "b")
    assert parse_auth("") is None
    assert parse_auth("e30=") is None
    assert parse_auth("%%%") is None


NAMES = st.sampled_from(["a", "b", "c"])


def test_the_leader_is_tried_first() -> None:
    """Managers are tried by weight; those that failed come last, until all have; an empty list is not believed."""
    kept: list[list[Remote]] = []
    remotes = Remotes([Remote(addr="a:1")], kept.append)
    known = [Remote(node_id="a", addr="a:1"), Remote(node_id="b", addr="b:1", weight=100), Remote(addr="c:1")]
    remotes.replace(known)
    remotes.replace([])
    assert kept == [known]
    rng = random.Random(1)
    counts = Counter(remotes.pick(rng).addr for _ in range(1000))
    assert counts["b:1"] > 700
    remotes.failed(known[1])
    assert {remotes.pick(rng).addr for _ in range(50)} == {"a:1", "c:1"}
    remotes.failed(known[0])
    remotes.failed(known[2])
    assert {remotes.pick(rng).addr for _ in range(50)} == {"a:1", "b:1"}
    remotes.worked(known[0])
    assert {remotes.pick(rng).addr for _ in range(500)} == {"a:1", "b:1", "c:1"}
    with pytest.raises(Unavailable):
        Remotes([]).pick(rng)


@given(st.lists(st.builds(Remote, node_id=NAMES, addr=NAMES, weight=st.integers(0, 100)), min_size=1), st.lists(NAMES))
def test_there_is_always_one_to_try(known: list[Remote], failed: list[str]) -> None:
    """However many failed, and if several were said to be at one address: as long as one is known it is tried."""
    remotes = Remotes([])
    remotes.replace(known)
    for addr in failed:
        remotes.failed(Remote(addr=addr))
        assert remotes.pick(random.Random(1)) in known


def test_who_said_something_new_last_is_believed() -> None:
    """A manager's own word counts more than what the leader goes on telling, until the leader tells something new."""
    remotes = Remotes([])
    told = [Remote(node_id="a", addr="10.0.0.1:1"), Remote(node_id="b", addr="10.0.0.2:1", weight=100)]
    remotes.replace(told)
    assert remotes.claim("a", "10.0.0.9:1")
    assert not remotes.claim("a", "10.0.0.9:1")
    remotes.replace(told)
    assert not remotes.hear("a", "10.0.0.1:1")
    assert {one.node_id: one.addr for one in remotes.all} == {"a": "10.0.0.9:1", "b": "10.0.0.2:1"}
    assert [one.weight for one in remotes.all] == [10, 100]
    assert remotes.hear("a", "10.0.0.3:1")
    assert {one.node_id: one.addr for one in remotes.all} == {"a": "10.0.0.3:1", "b": "10.0.0.2:1"}
    remotes.claim("b", "10.0.0.8:1")
    remotes.replace([Remote(node_id="a", addr="10.0.0.3:1"), Remote(node_id="b", addr="10.0.0.4:1")])
    assert {one.node_id: one.addr for one in remotes.all} == {"a": "10.0.0.3:1", "b": "10.0.0.4:1"}


def test_managers_that_swap_their_addresses() -> None:
    """What the leader goes on telling of them changes nothing, and none is forgotten because another says to be there;
    an address that was known without a name is that manager's."""
    remotes = Remotes([Remote(addr="10.0.0.1:1")])
    remotes.claim("a", "10.0.0.1:1")
    assert [one.node_id for one in remotes.all] == ["a"]
    told = [Remote(node_id="a", addr="10.0.0.1:1"), Remote(node_id="b", addr="10.0.0.2:1")]
    remotes.replace(told)
    remotes.claim("a", "10.0.0.2:1")
    assert {one.node_id for one in remotes.all} == {"a", "b"}
    remotes.claim("b", "10.0.0.1:1")
    remotes.replace(told)
    assert {one.node_id: one.addr for one in remotes.all} == {"a": "10.0.0.2:1", "b": "10.0.0.1:1"}


def test_a_manager_knows_best_where_it_is_itself() -> None:
    """No old news about this very node is believed, nor does another at its address displace it: when it leads, it is
    the only one that serves it. A leader that does not name it has taken it out."""
    remotes = Remotes([])
    remotes.be("a", "10.0.0.9:1")
    remotes.replace([Remote(node_id="a", addr="10.0.0.1:1"), Remote(node_id="b", addr="10.0.0.9:1")])
    remotes.hear("a", "10.0.0.2:1")
    remotes.claim("c", "10.0.0.9:1")
    assert [one.addr for one in remotes.all if one.node_id == "a"] == ["10.0.0.9:1"]
    remotes.replace([Remote(node_id="b", addr="10.0.0.9:1")])
    assert [one.node_id for one in remotes.all] == ["b"]


def test_tasks_on_disk(tmp_path: Path) -> None:
    """What was kept is found again, for the owner's eyes only; a broken file is dropped; ids are no paths."""
    files = TaskFiles(tmp_path / "tasks")
    assert files.load() == []
    kept = Kept(
        task=service_task(registry_auth="secret"),
        status=TaskStatus(state=TaskState.PREPARING, message="preparing"),
        networks=[Network(id="f1", vxlan_id=4097)],
    )
    files.save(kept)
    assert TaskFiles(tmp_path / "tasks").load() == [kept]
    (path,) = (tmp_path / "tasks").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tasks").stat().st_mode & 0o777 == 0o700
    path.write_bytes(path.read_bytes()[:20])
    assert files.load() == []
    files.remove("t1")
    with pytest.raises(ValueError, match="not a task id"):
        files.remove("../x")


def test_credentials_leave_the_disk_when_the_image_is_there(tmp_path: Path) -> None:
    """A task keeps its registry credentials on disk only while its image may still have to be pulled."""
    files = TaskFiles(tmp_path)
    task = service_task(registry_auth="secret")
    files.save(Kept(task=task, status=TaskStatus(state=TaskState.PREPARING)))
    assert b"secret" in (tmp_path / "t1.json").read_bytes()
    files.save(Kept(task=task, status=TaskStatus(state=TaskState.READY)))
    assert b"secret" not in (tmp_path / "t1.json").read_bytes()


async def test_the_keeper_outlives_a_disk_that_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be written now is written as soon as it can be."""
    blocked = tmp_path / "tasks"
    blocked.write_text("no directory")
    files = TaskFiles(blocked)
    keeper = TaskKeeper(files)
    kept = Kept(task=service_task(), status=TaskStatus(state=TaskState.READY))
    async with background(keeper.run()):
        keeper.put(kept)
        await until(lambda: "cannot be kept" in caplog.text)
        blocked.unlink()
        await until(lambda: files.load() == [kept])


async def test_the_keeper_writes_behind(tmp_path: Path) -> None:
    """Whatever was put is on disk when the keeper ends, the newest form of each task; what was dropped is gone."""
    files = TaskFiles(tmp_path / "tasks")
    keeper = TaskKeeper(files)
    kept = Kept(task=service_task(), status=TaskStatus(state=TaskState.READY))
    async with background(keeper.run()):
        keeper.put(kept)
        await until(lambda: files.load() == [kept])
        gone = Kept(task=service_task(id="t2"), status=TaskStatus())
        keeper.put(gone)
        keeper.drop("t2")
        newest = Kept(task=service_task(), status=TaskStatus(state=TaskState.RUNNING))
        keeper.put(kept)
        keeper.put(newest)
    assert files.load() == [newest]
