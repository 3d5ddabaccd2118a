"""The filters of `docker ps`: pure, over the list of containers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shoal.api.context import Context
from shoal.model import reference
from shoal.model.container import Container
from shoal.model.errors import InvalidArgument, NotFound
from shoal.model.filters import Filters, match_any, match_labels, match_prefix, truth

ALLOWED = (
    "ancestor", "before", "exited", "expose", "health", "id", "isolation", "is-task", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip

_STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("none", "starting", "healthy", "unhealthy")
_TASK_LABEL = "com.docker.swarm.task.id"


def chosen(containers: Sequence[Container], asked: Filters, context: Context, *, running_only: bool) -> list[Container]:
    """Those of `containers` (newest first) that `asked` wants; with `running_only`, running ones unless a state is
    asked for. Raises InvalidArgument for a value that cannot be, NotFound for a `before` or `since` that is not."""
    _check(asked)
    if {"status", "exited", "before", "since", "health"} & set(asked):
        running_only = running_only and not {"status", "exited", "before", "since"} & set(asked)
    after, before = (_index(containers, asked.get(key, []), context) for key in ("since", "before"))
    ancestors = {image for name in asked.get("ancestor", []) for image in _image_ids(name, context)}
    return [
        container
        for index, container in enumerate(containers)
        if (container.state.running or not running_only)
        and (after is None or index < after)
        and (before is None or index > before)
        and ("ancestor" not in asked or container.image_id in ancestors)
        and _matches(container, asked)
    ]


def _check(asked: Filters) -> None:
    for status in asked.get("status", []):
        if status not in _STATES:
            raise InvalidArgument(f"invalid filter 'status={status}'")
    for health in asked.get("health", []):
        if health not in _HEALTHS:
            raise InvalidArgument(f"invalid filter 'health={health}'")
    for code in asked.get("exited", []):
        if not re.fullmatch(r"-?\d+", code):
            raise InvalidArgument(f"invalid filter 'exited={code}'")
    for name in asked.get("name", []):
        try:
            re.compile(name)
        except re.error:
            raise InvalidArgument(f"invalid filter 'name={name}'") from None


def _matches(container: Container, asked: Filters) -> bool:
    health = container.state.health.status if container.state.health else "none"
    return (
        match_labels(asked, container.config.labels)
        and match_prefix(asked, "id", container.id)
        and match_any(asked, "status", container.state.status)
        and match_any(asked, "health", health)
        and _exited(container, asked)
        and _named(container, asked)
        and _on_network(container, asked)
        and _with_volume(container, asked)
        and _with_port(container, asked)
        and _is_task(container, asked)
    )


def _exited(container: Container, asked: Filters) -> bool:
    if "exited" not in asked:
        return True
    ended = container.state.status in ("exited", "dead")
    return ended and str(container.state.exit_code) in asked["exited"]


def _named(container: Container, asked: Filters) -> bool:
    names = (container.name, f"/{container.name}")
    return "name" not in asked or any(re.search(wanted, name) for wanted in asked["name"] for name in names)


def _on_network(container: Container, asked: Filters) -> bool:
    if "network" not in asked:
        return True
    return any(
        wanted == name or (endpoint.network_id and endpoint.network_id.startswith(wanted))
        for wanted in asked["network"]
        for name, endpoint in container.networks.items()
    )


def _with_volume(container: Container, asked: Filters) -> bool:
    if "volume" not in asked:
        return True
    known = {place for mount in container.mounts for place in (mount.name, mount.source, mount.destination)}
    return any(wanted in known for wanted in asked["volume"])


def _with_port(container: Container, asked: Filters) -> bool:
    published = {binding.host_port for bindings in container.ports.values() for binding in bindings}
    if "publish" in asked and not any(_port_in(wanted, published, container.ports) for wanted in asked["publish"]):
        return False
    exposed = {*container.config.exposed_ports, *container.ports}
    return "expose" not in asked or any(_port_in(wanted, set(), exposed) for wanted in asked["expose"])


def _port_in(wanted: str, numbers: set[str], ports: object) -> bool:
    number, _, protocol = wanted.partition("/")
    first, _, last = number.partition("-")
    try:
        wide = range(int(first), int(last or first) + 1)
    except ValueError:
        raise InvalidArgument(f"invalid filter '{wanted}': not a port") from None
    if any(int(number) in wide for number in numbers if number):
        return True
    assert isinstance(ports, dict | set)
    return any(f"{number}/{protocol or 'tcp'}" in ports for number in wide)


def _is_task(container: Container, asked: Filters) -> bool:
    return "is-task" not in asked or any(
        truth(wanted) == (_TASK_LABEL in container.config.labels) for wanted in asked["is-task"]
    )


def _index(containers: Sequence[Container], wanted: Sequence[str], context: Context) -> int | None:
    if not wanted:
        return None
    target = context.engine.containers.find(wanted[0])
    return next(index for index, container in enumerate(containers) if container.id == target.id)


def _image_ids(name: str, context: Context) -> list[str]:
    try:
        return [context.engine.images.find(name).id]
    except NotFound:
        pass
    try:
        repository = reference.parse(name).repository
    except InvalidArgument:
        return []
    return [
        image.id
        for image in context.engine.images.list()
        if any(reference.parse(tag).repository == repository for tag in image.repo_tags)
    ]
