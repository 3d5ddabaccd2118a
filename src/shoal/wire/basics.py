"""The small pieces that every conversion needs: times, durations, words for enums, drivers, resources."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from shoal.kit.clock import ZERO_TIME, from_nanoseconds, nanoseconds
from shoal.model import objects as m
from shoal.model import swarm_spec as s
from shoal.wire.pb import swarmkit_pb2 as pb

SECOND = 1_000_000_000


def to_timestamp(moment: datetime | None) -> Timestamp | None:
    """`moment` for the wire; never (`ZERO_TIME`, None) is left out."""
    if moment is None or moment == ZERO_TIME:
        return None
    seconds, nanos = divmod(nanoseconds(moment), SECOND)
    return Timestamp(seconds=seconds, nanos=nanos)


def from_timestamp(owner: Any, name: str) -> datetime | None:
    """The time in field `name` of the message `owner`, None when it is absent."""
    if not owner.HasField(name):
        return None
    value = getattr(owner, name)
    return from_nanoseconds(value.seconds * SECOND + value.nanos)


def to_duration(value: int | None) -> Duration | None:
    """Nanoseconds for the wire; None is left out."""
    if value is None:
        return None
    seconds, nanos = divmod(abs(value), SECOND)
    sign = -1 if value < 0 else 1
    return Duration(seconds=sign * seconds, nanos=sign * nanos)


def from_duration(owner: Any, name: str) -> int | None:
    """The duration in field `name` of the message `owner` in nanoseconds, None when it is absent."""
    if not owner.HasField(name):
        return None
    value = getattr(owner, name)
    return int(value.seconds) * SECOND + int(value.nanos)


def to_enum(word: str, default: str = "") -> str:
    """The wire's name of an enum value that the model calls `word`: `on-failure` is ON_FAILURE."""
    return (word or default).upper().replace("-", "_")


def from_enum(enum: Any, number: int) -> str:
    """The model's word for an enum value; empty for one that only newer peers know."""
    try:
        return str(enum.Name(number)).lower().replace("_", "-")
    except ValueError:
        return ""


def driver_to_wire(driver: s.Driver | None) -> pb.Driver | None:
    """A named driver with its options."""
    return None if driver is None else pb.Driver(name=driver.name, options=driver.options)


def driver_from_wire(owner: Any, name: str) -> s.Driver | None:
    """The driver in field `name` of the message `owner`, None when it is absent."""
    if not owner.HasField(name):
        return None
    value: pb.Driver = getattr(owner, name)
    return s.Driver(name=value.name, options=dict(value.options))


def annotations_to_wire(name: str, labels: dict[str, str]) -> pb.Annotations:
    """A name and labels."""
    return pb.Annotations(name=name, labels=labels)


def meta_to_wire(thing: m.Object) -> pb.Meta:
    """The version and the times of a stored object."""
    return pb.Meta(
        version=pb.Version(index=thing.version.index),
        created_at=to_timestamp(thing.created_at),
        updated_at=to_timestamp(thing.updated_at),
    )


def meta_from_wire(meta: pb.Meta) -> dict[str, Any]:
    """The same as keyword arguments of a model object."""
    return {
        "version": m.Version(index=meta.version.index),
        "created_at": from_timestamp(meta, "created_at") or ZERO_TIME,
        "updated_at": from_timestamp(meta, "updated_at") or ZERO_TIME,
    }


def generic_to_wire(resource: s.GenericResource) -> pb.GenericResource:
    """A countable or a named resource."""
    named, discrete = resource.named_resource_spec, resource.discrete_resource_spec
    return pb.GenericResource(
        named_resource_spec=pb.NamedGenericResource(kind=named.kind, value=named.value) if named else None,
        discrete_resource_spec=(
            pb.DiscreteGenericResource(kind=discrete.kind, value=discrete.value) if discrete else None
        ),
    )


def generic_from_wire(resource: pb.GenericResource) -> s.GenericResource:
    """The counterpart of `generic_to_wire`."""
    named, discrete = resource.named_resource_spec, resource.discrete_resource_spec
    if resource.WhichOneof("resource") == "named_resource_spec":
        return s.GenericResource(named_resource_spec=s.GenericResource.Named(kind=named.kind, value=named.value))
    return s.GenericResource(
        discrete_resource_spec=s.GenericResource.Discrete(kind=discrete.kind, value=discrete.value)
    )


def resources_to_wire(resources: s.Resources | None) -> pb.Resources | None:
    """What a node has, or what a task reserves."""
    if resources is None:
        return None
    return pb.Resources(
        nano_cpus=resources.nano_cpus,
        memory_bytes=resources.memory_bytes,
        generic=[generic_to_wire(resource) for resource in resources.generic_resources],
    )


def resources_from_wire(resources: pb.Resources) -> s.Resources:
    """The counterpart of `resources_to_wire`."""
    return s.Resources(
        nano_cpus=resources.nano_cpus,
        memory_bytes=resources.memory_bytes,
        generic_resources=[generic_from_wire(resource) for resource in resources.generic],
    )


def platform_to_wire(platform: s.Platform) -> pb.Platform:
    """An architecture and an operating system."""
    return pb.Platform(architecture=platform.architecture, os=platform.os)


def platform_from_wire(platform: pb.Platform) -> s.Platform:
    """The counterpart of `platform_to_wire`."""
    return s.Platform(architecture=platform.architecture, os=platform.os)
