"""Go templates in environment, host name and mounts of a service's tasks: what they can see, and where they may be.

Semantics 20: a key that does not exist is an error; control tries the same templates when a service is made.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from shoal.kit.gotemplate import Template, TemplateError
from shoal.model.errors import InvalidArgument
from shoal.model.names import task_name
from shoal.model.objects import NodeDescription, Task
from shoal.model.swarm_spec import ContainerSpec, Driver, Mount

Facts = Mapping[str, object]


def facts_of(task: Task, description: NodeDescription) -> Facts:
    """What a template sees: `.Service`, `.Node` and `.Task`."""
    return {
        "Service": {"ID": task.service_id, "Name": task.service_name, "Labels": task.service_labels},
        "Node": {
            "ID": task.node_id,
            "Hostname": description.hostname,
            "Platform": {"Architecture": description.platform.architecture, "OS": description.platform.os},
        },
        "Task": {"ID": task.id, "Name": task.name or task_name(task), "Slot": str(task.slot or task.node_id)},
    }


def expand(text: str, facts: Facts) -> str:
    """`text` with its templates replaced. Raises InvalidArgument."""
    if "{{" not in text:
        return text
    try:
        return Template(text, {"join": _join}).render(facts)
    except TemplateError as fault:
        raise InvalidArgument(f"expanding template failed: {fault}") from fault


def _join(separator: str, *parts: object) -> str:
    return separator.join(str(part) for part in parts)


def expanded(spec: ContainerSpec, facts: Facts) -> ContainerSpec:
    """The spec with every template in it replaced. Raises InvalidArgument."""
    return replace(
        spec,
        env=[expand(entry, facts) for entry in spec.env],
        hostname=expand(spec.hostname, facts),
        mounts=[_mount(mount, facts) for mount in spec.mounts],
    )


def _mount(mount: Mount, facts: Facts) -> Mount:
    volume = mount.volume_options
    if volume is not None:
        driver = volume.driver_config
        volume = replace(
            volume,
            labels={key: expand(value, facts) for key, value in volume.labels.items()},
            driver_config=driver
            and Driver(name=driver.name, options={key: expand(value, facts) for key, value in driver.options.items()}),
        )
    return replace(mount, source=expand(mount.source, facts), target=expand(mount.target, facts), volume_options=volume)
