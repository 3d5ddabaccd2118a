"""What rules a node out for a task, in swarm mode's order, and how that is said (SwarmKit's scheduler)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from shoal.manager.scheduler.load import Load, host_ports
from shoal.model import constraint
from shoal.model.objects import Network, Node, Task, requirements
from shoal.model.swarm_spec import ContainerSpec, Placement, Platform, Resources

Check = Callable[[Node, Load], bool]

_SAYING = {
    "ready": ("1 node not available for new tasks", "{} nodes not available for new tasks"),
    "resources": ("insufficient resources on 1 node", "insufficient resources on {} nodes"),
    "plugin": ("missing plugin on 1 node", "missing plugin on {} nodes"),
    "constraints": (
        "scheduling constraints not satisfied on 1 node",
        "scheduling constraints not satisfied on {} nodes",
    ),
    "platform": ("unsupported platform on 1 node", "unsupported platform on {} nodes"),
    "host port": ("host-mode port already in use on 1 node", "host-mode port already in use on {} nodes"),
    "max replicas": ("max replicas per node limit exceed", "max replicas per node limit exceed"),
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class Filters:
    """The checks that matter for one task; those of features it does not use are left out.

    `fixed` ones do not change while tasks are being placed, `moving` ones do.
    """

    def __init__(self, task: Task, networks: Iterable[Network]) -> None:
        placement = task.spec.placement or Placement()
        reserved = requirements(task).reservations
        ports = host_ports(task)
        self.fixed: list[tuple[str, Check]] = [("ready", _ready)]
        self.moving: list[tuple[str, Check]] = []
        self._order = ["ready"]
        if reserved and reserved != Resources():
            self._add("resources", lambda node, load: fits(reserved, node, load), moving=True)
        plugins = _plugins(task, networks)
        if plugins:
            self._add("plugin", lambda node, _: all(_offers(node, kind, name) for kind, name in plugins))
        if placement.constraints:
            constraints = constraint.parse(placement.constraints)
            self._add("constraints", lambda node, _: all(one.holds(node) for one in constraints))
        if placement.platforms:
            self._add("platform", lambda node, _: any(_runs(node, platform) for platform in placement.platforms))
        if ports:
            self._add("host port", lambda _, load: not any(load.host_ports[port] for port in ports), moving=True)
        if placement.max_replicas:
            most, service_id = placement.max_replicas, task.service_id
            self._add("max replicas", lambda _, load: load.of_service[service_id] < most, moving=True)

    def _add(self, name: str, check: Check, *, moving: bool = False) -> None:
        (self.moving if moving else self.fixed).append((name, check))
        self._order.append(name)

    def rejects(self, node: Node, load: Load) -> str:
        """The first check, in swarm mode's order, that `node` fails; empty when it passes all."""
        checks = dict(self.fixed + self.moving)
        return next((name for name in self._order if not checks[name](node, load)), "")


def explain(reasons: Iterable[str]) -> str:
    """`no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)`."""
    counted = Counter(reasons)
    if not counted:
        return "no suitable node"
    order = list(_SAYING)
    sayings = []
    for name, count in sorted(counted.items(), key=lambda item: (-item[1], order.index(item[0]))):
        one, many = _SAYING[name]
        sayings.append(one if count == 1 else many.format(count))
    return f"no suitable node ({'; '.join(sayings)})"


def fits(reserved: Resources, node: Node, load: Load) -> bool:
    """Whether what is `reserved` is still free on `node`."""
    has = node.description.resources
    if reserved.nano_cpus and load.nano_cpus + reserved.nano_cpus > has.nano_cpus:
        return False
    if reserved.memory_bytes and load.memory_bytes + reserved.memory_bytes > has.memory_bytes:
        return False
    for wanted in reserved.generic_resources:
        spec = wanted.discrete_resource_spec
        if spec and free_generic(spec.kind, node, load) < spec.value:
            return False
    return True


def free_generic(kind: str, node: Node, load: Load) -> int:
    """How many generic resources of a kind are free on a node, counted and named ones together."""
    free = -load.counted[kind]
    for resource in node.description.resources.generic_resources:
        if resource.discrete_resource_spec and resource.discrete_resource_spec.kind == kind:
            free += resource.discrete_resource_spec.value
        named = resource.named_resource_spec
        if named and named.kind == kind and not load.named[kind, named.value]:
            free += 1
    return free


def _ready(node: Node, _: Load) -> bool:
    return node.status.state == "ready" and node.spec.availability == "active"


def _plugins(task: Task, networks: Iterable[Network]) -> list[tuple[str, str]]:
    """Kind and name of the drivers that a node must have."""
    container = task.spec.container_spec or ContainerSpec()
    wanted = []
    for mount in container.mounts:
        options = mount.volume_options
        driver = options.driver_config.name if options and options.driver_config else ""
        if mount.type == "volume" and driver not in ("", "local"):
            wanted.append(("Volume", driver))
    wanted += [("Network", network.driver) for network in networks]
    if task.log_driver and task.log_driver.name not in ("", "none"):
        wanted.append(("Log", task.log_driver.name))
    return wanted


def _offers(node: Node, kind: str, name: str) -> bool:
    """Whether a node has a driver. One that names none of a kind besides volumes is taken to have the usual ones."""
    offered = [plugin.name for plugin in node.description.engine.plugins if plugin.type == kind]
    if not offered and kind != "Volume":
        return True
    return any(name in (one, one.removesuffix(":latest")) for one in offered)


def _runs(node: Node, platform: Platform) -> bool:
    has = node.description.platform
    return (not platform.os or platform.os.lower() == has.os.lower()) and (
        not platform.architecture or _architecture(platform) == _architecture(has)
    )


def _architecture(platform: Platform) -> str:
    name = platform.architecture.lower()
    return _ARCHITECTURES.get(name, name)
