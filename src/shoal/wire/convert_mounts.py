"""Mounts, wire <-> model."""

from __future__ import annotations

import json

from shoal.model import swarm_spec as s
from shoal.wire.basics import driver_from_wire, driver_to_wire, from_enum, to_enum
from shoal.wire.pb import swarmkit_pb2 as pb


def mount_to_wire(mount: s.Mount) -> pb.Mount:
    """One mount of a task."""
    bind, volume, tmpfs = mount.bind_options, mount.volume_options, mount.tmpfs_options
    return pb.Mount(
        type=to_enum(mount.type, "volume"),
        source=mount.source,
        target=mount.target,
        readonly=mount.read_only,
        consistency=to_enum(mount.consistency, "default"),
        bind_options=_bind_to_wire(bind) if bind else None,
        volume_options=_volume_to_wire(volume) if volume else None,
        tmpfs_options=_tmpfs_to_wire(tmpfs) if tmpfs else None,
    )


def mount_from_wire(mount: pb.Mount) -> s.Mount:
    """The counterpart of `mount_to_wire`."""
    consistency = from_enum(pb.Mount.Consistency, mount.consistency)
    return s.Mount(
        type=from_enum(pb.Mount.Type, mount.type),
        source=mount.source,
        target=mount.target,
        read_only=mount.readonly,
        consistency="" if consistency == "default" else consistency,
        bind_options=_bind_from_wire(mount.bind_options) if mount.HasField("bind_options") else None,
        volume_options=_volume_from_wire(mount.volume_options) if mount.HasField("volume_options") else None,
        tmpfs_options=_tmpfs_from_wire(mount.tmpfs_options) if mount.HasField("tmpfs_options") else None,
    )


def _bind_to_wire(options: s.Mount.BindOptions) -> pb.Mount.BindOptions:
    return pb.Mount.BindOptions(
        propagation=to_enum(options.propagation, "rprivate"),
        nonrecursive=options.non_recursive,
        createmountpoint=options.create_mountpoint,
        readonlynonrecursive=options.read_only_non_recursive,
        readonlyforcerecursive=options.read_only_force_recursive,
    )


def _bind_from_wire(options: pb.Mount.BindOptions) -> s.Mount.BindOptions:
    return s.Mount.BindOptions(
        propagation=from_enum(pb.Mount.BindOptions.Propagation, options.propagation),
        non_recursive=options.nonrecursive,
        create_mountpoint=options.createmountpoint,
        read_only_non_recursive=options.readonlynonrecursive,
        read_only_force_recursive=options.readonlyforcerecursive,
    )


def _volume_to_wire(options: s.Mount.VolumeOptions) -> pb.Mount.VolumeOptions:
    return pb.Mount.VolumeOptions(
        nocopy=options.no_copy,
        labels=options.labels,
        driver_config=driver_to_wire(options.driver_config),
        subpath=options.subpath,
    )


def _volume_from_wire(options: pb.Mount.VolumeOptions) -> s.Mount.VolumeOptions:
    return s.Mount.VolumeOptions(
        no_copy=options.nocopy,
        labels=dict(options.labels),
        driver_config=driver_from_wire(options, "driver_config"),
        subpath=options.subpath,
    )


def _tmpfs_to_wire(options: s.Mount.TmpfsOptions) -> pb.Mount.TmpfsOptions:
    return pb.Mount.TmpfsOptions(
        size_bytes=options.size_bytes,
        mode=options.mode,
        options=json.dumps(options.options) if options.options else "",
    )


def _tmpfs_from_wire(options: pb.Mount.TmpfsOptions) -> s.Mount.TmpfsOptions:
    return s.Mount.TmpfsOptions(
        size_bytes=options.size_bytes,
        mode=options.mode,
        options=[[str(part) for part in option] for option in json.loads(options.options or "[]")],
    )
