"""What must be done so that the swarm is what a stack's file says. Pure: state and wish in, operations out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from shoal.model.swarm_spec import NetworkSpec, ServiceSpec
from shoal.stack.convert import Desired
from shoal.stack.names import LABEL_IMAGE


class LiveService(NamedTuple):
    """A service that the stack has already."""

    id: str
    version: int
    spec: ServiceSpec


class RemoveService(NamedTuple):
    """A service that the file no longer has."""

    id: str
    name: str

    def __str__(self) -> str:
        return f"Removing service {self.name}"


class CreateNetwork(NamedTuple):
    """A network that is not there yet."""

    spec: NetworkSpec

    def __str__(self) -> str:
        return f"Creating network {self.spec.name}"


class CreateService(NamedTuple):
    """A new service; `resolve`: pin its image to what the registry has."""

    spec: ServiceSpec
    resolve: bool

    def __str__(self) -> str:
        return f"Creating service {self.spec.name}"


class UpdateService(NamedTuple):
    """A service that is there, with its new spec."""

    id: str
    version: int
    spec: ServiceSpec
    resolve: bool

    def __str__(self) -> str:
        return f"Updating service {self.spec.name} (id: {self.id})"


Operation = RemoveService | CreateNetwork | CreateService | UpdateService
"""One step; its text is what is printed before it is done."""

RESOLVE = ("always", "changed", "never")
"""When the registry is asked for an image's digest."""


def plan(
    desired: Desired, services: Mapping[str, LiveService], networks: set[str], *, prune: bool, resolve: str
) -> list[Operation]:
    """The operations, in order: what goes, networks, services by name.

    `services` (by name) and `networks` (names) are what the stack has now.
    """
    steps: list[Operation] = []
    if prune:
        gone = sorted(services.keys() - desired.services.keys())
        steps += [RemoveService(services[name].id, name) for name in gone]
    steps += [CreateNetwork(network) for network in desired.networks if network.name not in networks]
    for name in sorted(desired.services):
        spec, live = desired.services[name], services.get(name)
        if live is None:
            steps.append(CreateService(spec, resolve in ("always", "changed")))
        else:
            steps.append(_update(spec, live, resolve))
    return steps


def _update(spec: ServiceSpec, live: LiveService, resolve: str) -> UpdateService:
    """The image that was pinned stays unless the file's image changed or the registry is to be asked always; a forced
    update of before is carried over, so that nothing restarts without need."""
    same = spec.labels.get(LABEL_IMAGE) == live.spec.labels.get(LABEL_IMAGE)
    ask = resolve == "always" or (resolve == "changed" and not same)
    template, old = spec.task_template, live.spec.task_template
    container = template.container_spec
    if not ask and same and container and old.container_spec:
        container = msgspec.structs.replace(container, image=old.container_spec.image)
        placement = template.placement
        if placement and old.placement:
            placement = msgspec.structs.replace(placement, platforms=old.placement.platforms)
        template = msgspec.structs.replace(template, placement=placement)
    template = msgspec.structs.replace(template, container_spec=container, force_update=old.force_update)
    return UpdateService(live.id, live.version, msgspec.structs.replace(spec, task_template=template), ask)
