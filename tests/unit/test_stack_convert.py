"""Compose files to specs, and specs to plans."""

from __future__ import annotations

import msgspec
import pytest

from shoal.model.base import decode
from shoal.model.swarm_spec import Mount, NetworkSpec, RestartPolicy, ServiceMode, ServiceSpec
from shoal.stack.convert import Desired, convert
from shoal.stack.load import File, load
from shoal.stack.names import StackFault, check_stack_name
from shoal.stack.plan import CreateNetwork, CreateService, LiveService, RemoveService, UpdateService, plan

TUTORIAL = """
version: "3"
services:
  web:
    image: username/repo:tag
    deploy:
      replicas: 5
      resources:
        limits:
          cpus: "0.1"
          memory: 50M
      restart_policy:
        condition: on-failure
    ports:
      - "80:80"
    networks:
      - webnet
networks:
  webnet:
"""


def desired(text: str, stack: str = "lab") -> Desired:
    tree = load([File("f.yml", text)], "/project", {}, lambda path: "").tree
    return convert(stack, tree)


def service(text: str) -> ServiceSpec:
    """The spec of one service given as flow YAML."""
    return desired(
        f"services: {{web: {text}}}\nvolumes: {{v: {{driver: x, labels: {{a: b}}}}, e: {{external: true}}}}"
    ).services["lab_web"]


def test_stack_tutorial_file() -> None:
    """The tutorial's file becomes one service and one network, with the tutorial's limits."""
    found = desired(TUTORIAL)
    assert found.networks == [
        NetworkSpec(name="lab_webnet", driver="overlay", labels={"com.docker.stack.namespace": "lab"})
    ]
    expected = (
        b'{"Name":"lab_web","Labels":{"com.docker.stack.namespace":"lab","com.docker.stack.image":"username/repo:tag"},'
        b'"TaskTemplate":{"ContainerSpec":{"Image":"username/repo:tag","Labels":{"com.docker.stack.namespace":"lab"}},'
        b'"Resources":{"Limits":{"NanoCPUs":100000000,"MemoryBytes":52428800}},'
        b'"RestartPolicy":{"Condition":"on-failure"},"Placement":{},'
        b'"Networks":[{"Target":"lab_webnet","Aliases":["web"]}]},"Mode":{"Replicated":{"Replicas":5}},'
        b'"EndpointSpec":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":80,"PublishMode":"ingress"}]}}'
    )
    assert found.services["lab_web"] == decode(expected, ServiceSpec)


def test_stack_default_network() -> None:
    """A service that names no network is on the stack's own `default`."""
    found = desired("services: {web: {image: a}}\nnetworks: {unused: }")
    assert [network.name for network in found.networks] == ["lab_default"]
    assert found.services["lab_web"].task_template.networks[0].target == "lab_default"


def test_stack_external_and_named_networks() -> None:
    """External networks are used under their own name and not made; `name` replaces the stack's prefix."""
    text = """
services: {web: {image: a, networks: [out, mine, host]}}
networks: {out: {external: true, name: shared}, mine: {name: other, driver_opts: {some.option: ""}}, host: {external: true}}
"""
    found = desired(text)
    assert found.external_networks == ["shared"]
    assert [(network.name, network.options) for network in found.networks] == [("other", {"some.option": ""})]
    networks = found.services["lab_web"].task_template.networks
    assert [(network.target, network.aliases) for network in networks] == [
        ("host", []), ("other", ["web"]), ("shared", ["web"]),
    ]  # fmt: skip


def test_stack_mounts() -> None:
    """Named volumes carry the stack's name, labels and driver; external ones their own name only."""
    spec = service("{image: a, volumes: ['v:/v', 'e:/e', './d:/d:ro', /anon], tmpfs: /t}").task_template.container_spec
    assert spec is not None
    volume, external, bind, anonymous, tmpfs = spec.mounts
    assert volume.source == "lab_v"
    assert volume.volume_options is not None
    assert volume.volume_options.labels == {"a": "b", "com.docker.stack.namespace": "lab"}
    assert volume.volume_options.driver_config is not None
    assert external == Mount(source="e", target="/e")
    assert bind == Mount(type="bind", source="/project/d", target="/d", read_only=True)
    assert anonymous == Mount(target="/anon")
    assert tmpfs == Mount(type="tmpfs", target="/t")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("/run", None),
        ("/run:size=64m", Mount.TmpfsOptions(size_bytes=64 << 20)),
        ("/run:mode=1770,noexec,uid=5,size=1k",
         Mount.TmpfsOptions(size_bytes=1024, mode=0o1770, options=[["noexec"], ["uid", "5"]])),
    ],
)  # fmt: skip
def test_stack_tmpfs_options(text: str, options: Mount.TmpfsOptions | None) -> None:
    """What is given after the path of `tmpfs` counts."""
    container = service(f"{{image: a, tmpfs: '{text}'}}").task_template.container_spec
    assert container is not None
    assert container.mounts == [Mount(type="tmpfs", target="/run", tmpfs_options=options)]


def test_stack_modes() -> None:
    """Replicated without a number leaves the number to the engine; global has none."""
    assert service("{image: a}").mode == ServiceMode(replicated=service("{image: a}").mode.replicated)
    assert service("{image: a, deploy: {mode: global}}").mode.global_ is not None
    with pytest.raises(StackFault, match="service web: replicas can only be used with replicated"):
        service("{image: a, deploy: {mode: global, replicas: 2}}")
    with pytest.raises(StackFault, match="service web: Unknown mode: foo"):
        service("{image: a, deploy: {mode: foo}}")


@pytest.mark.parametrize(
    ("restart", "policy"),
    [
        ("always", RestartPolicy(condition="any")),
        ("unless-stopped", RestartPolicy(condition="any")),
        ("on-failure:3", RestartPolicy(condition="on-failure", max_attempts=3)),
        ("'no'", None),
    ],
)
def test_stack_old_restart(restart: str, policy: RestartPolicy | None) -> None:
    """Without deploy.restart_policy the old word counts."""
    assert service(f"{{image: a, restart: {restart}}}").task_template.restart_policy == policy


def test_stack_update_config() -> None:
    """Parallelism is one unless given; zero, all at once, is kept apart from absent."""
    config = service("{image: a, deploy: {update_config: {delay: 10s, order: start-first}}}").update_config
    assert config is not None
    assert (config.parallelism, config.delay, config.order) == (1, 10**10, "start-first")
    at_once = service("{image: a, deploy: {update_config: {parallelism: 0}}}").update_config
    assert at_once is not None
    assert at_once.parallelism == 0
    assert service("{image: a}").update_config is None


def test_stack_capabilities_and_hosts() -> None:
    """Capabilities get their prefix and adding wins; hosts turn around."""
    spec = service("{image: a, cap_add: [net_admin], cap_drop: [NET_ADMIN, chown], extra_hosts: ['h:1.2.3.4']}")
    container = spec.task_template.container_spec
    assert container is not None
    assert (container.capability_add, container.capability_drop) == (["CAP_NET_ADMIN"], ["CAP_CHOWN"])
    assert container.hosts == ["1.2.3.4 h"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{command: x}", "invalid image reference for service web: no image specified"),
        ("{image: a, networks: [x]}", 'service web: undefined network "x"'),
        ("{image: a, volumes: ['x:/x']}", 'service web: undefined volume "x"'),
        ("{image: a, tmpfs: '/run:mode=rw'}", "service web: tmpfs /run:mode=rw: invalid mode: rw"),
        ("{image: a, tmpfs: '/run:size=big'}", "service web: invalid size: 'big'"),
        ("{image: a, restart: foo}", "service web: unknown restart policy: foo"),
        ("{image: a, healthcheck: {test: x, disable: true}}", "service web: test and disable can't be set at the same time"),
        ("{image: a, deploy: {resources: {limits: {cpus: x}}}}", "service web: failed to parse x as a rational number"),
        ("{image: a, volumes: [{type: bind, target: /x, source: /a, volume: {nocopy: true}}]}",
         "service web: volume options are incompatible with type bind"),
    ],
)  # fmt: skip
def test_stack_conversion_faults(text: str, message: str) -> None:
    """What cannot become a service names the service and the reason."""
    with pytest.raises(StackFault) as caught:
        service(text)
    assert str(caught.value) == message


def test_stack_names() -> None:
    """A stack needs a name that is more than blanks."""
    with pytest.raises(StackFault, match='invalid stack name: " "'):
        check_stack_name(" ")


def live(spec: ServiceSpec, image: str, identifier: str = "id1", force: int = 0) -> LiveService:
    """`spec` as it runs, its image pinned."""
    container = spec.task_template.container_spec
    assert container is not None
    pinned = msgspec.structs.replace(container, image=image)
    template = msgspec.structs.replace(spec.task_template, container_spec=pinned, force_update=force)
    return LiveService(identifier, 7, msgspec.structs.replace(spec, task_template=template))


def test_stack_first_plan() -> None:
    """On an empty swarm: networks, then services by name, each asking the registry."""
    found = desired(TUTORIAL + "  other:\n")
    steps = plan(found, {}, set(), prune=False, resolve="always")
    assert [str(step) for step in steps] == ["Creating network lab_webnet", "Creating service lab_web"]
    assert isinstance(steps[0], CreateNetwork)
    assert isinstance(steps[1], CreateService)
    assert steps[1].resolve


def test_stack_plan_again() -> None:
    """Deployed again: the network stays, the service is updated at the version that was read."""
    found = desired(TUTORIAL)
    running = {"lab_web": live(found.services["lab_web"], "username/repo:tag@sha256:1", force=4)}
    [step] = plan(found, running, {"lab_webnet"}, prune=True, resolve="always")
    assert str(step) == "Updating service lab_web (id: id1)"
    assert isinstance(step, UpdateService)
    assert (step.version, step.resolve, step.spec.task_template.force_update) == (7, True, 4)


@pytest.mark.parametrize("resolve", ["changed", "never"])
def test_stack_plan_keeps_the_pinned_image(resolve: str) -> None:
    """With the file's image unchanged, the image that was pinned stays, so that nothing restarts."""
    found = desired(TUTORIAL)
    running = {"lab_web": live(found.services["lab_web"], "username/repo:tag@sha256:1")}
    [step] = plan(found, running, {"lab_webnet"}, prune=False, resolve=resolve)
    assert isinstance(step, UpdateService)
    assert step.spec == running["lab_web"].spec
    assert not step.resolve


def test_stack_plan_changed_image() -> None:
    """With another image in the file, `changed` asks the registry and `never` takes it as it is."""
    running = {"lab_web": live(desired(TUTORIAL).services["lab_web"], "username/repo:tag@sha256:1")}
    found = desired(TUTORIAL.replace("repo:tag", "repo:part2"))
    for resolve, asks in (("changed", True), ("never", False)):
        [step] = plan(found, running, {"lab_webnet"}, prune=False, resolve=resolve)
        assert isinstance(step, UpdateService)
        assert step.resolve is asks
        assert step.spec.task_template.container_spec is not None
        assert step.spec.task_template.container_spec.image == "username/repo:part2"


def test_stack_plan_prune() -> None:
    """Only --prune removes services that the file no longer has, and first of all."""
    found = desired(TUTORIAL)
    running = {"lab_old": live(found.services["lab_web"], "x", "old")}
    without = plan(found, running, {"lab_webnet"}, prune=False, resolve="never")
    assert [str(step) for step in without] == ["Creating service lab_web"]
    first, *_ = plan(found, running, {"lab_webnet"}, prune=True, resolve="never")
    assert first == RemoveService("old", "lab_old")
