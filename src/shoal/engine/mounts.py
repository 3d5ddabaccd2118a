"""What is mounted into a container: `-v`, `--mount`, image volumes, volumes of other containers. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from shoal.model.base import Struct
from shoal.model.container import ContainerConfig, HostConfig, MountPoint
from shoal.model.errors import InvalidArgument
from shoal.model.names import check_volume_name
from shoal.model.swarm_spec import PROPAGATIONS, Mount

_MODES = {"ro", "rw", "z", "Z", "nocopy", "consistent", "cached", "delegated", *PROPAGATIONS}


class Planned(Struct, frozen=True):
    """A mount as it was asked; a volume has no name yet when it is anonymous."""

    kind: str
    source: str
    target: str
    read_only: bool = False
    mode: str = ""
    propagation: str = ""
    create_source: bool = False
    no_copy: bool = False
    non_recursive: bool = False
    labels: dict[str, str] = {}
    driver: str = ""
    driver_options: dict[str, str] = {}
    tmpfs_size: int = 0
    tmpfs_mode: int = 0
    subpath: str = ""


def plan(config: ContainerConfig, host: HostConfig, inherited: Iterable[MountPoint] = ()) -> list[Planned]:
    """Every mount of a new container, by target. Raises InvalidArgument in docker's words.

    `inherited` come from `--volumes-from`; binds and mounts win over them, and all win over the image's volumes.
    """
    mounts: dict[str, Planned] = {}
    for point in inherited:
        mounts[point.destination] = Planned(
            kind=point.type, source=point.name or point.source, target=point.destination, read_only=not point.rw,
            mode=point.mode, propagation=point.propagation,
        )  # fmt: skip
    own: dict[str, Planned] = {}
    for planned in [*map(parse_bind, host.binds), *map(from_mount, host.mounts)]:
        if planned.target in own or planned.target in host.tmpfs:
            raise InvalidArgument(f"Duplicate mount point: {planned.target}")
        own[planned.target] = planned
    mounts |= own
    for target in config.volumes:
        clean = _target(target, target)
        if clean not in host.tmpfs:
            mounts.setdefault(clean, Planned(kind="volume", source="", target=clean))
    return [mounts[target] for target in sorted(mounts)]


def parse_bind(text: str) -> Planned:
    """`source:target[:mode]`; a source that is not absolute names a volume."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    mode = parts[2] if len(parts) == 3 else ""
    if len(parts) == 1:
        return Planned(kind="volume", source="", target=_target(parts[0], text))
    source, target = parts[0], _target(parts[1], text)
    words = [word for word in mode.split(",") if word]
    if any(word not in _MODES for word in words):
        raise InvalidArgument(f"invalid mode: {mode}")
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    if source.startswith("/"):
        return Planned(
            kind="bind",
            source=posixpath.normpath(source),
            target=target,
            read_only="ro" in words,
            mode=mode,
            no_copy="nocopy" in words,
            create_source=True,
            propagation=propagation or "rprivate",
        )
    if propagation:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    check_volume_name(source)
    return Planned(
        kind="volume", source=source, target=target, read_only="ro" in words, mode=mode, no_copy="nocopy" in words
    )


def from_mount(mount: Mount) -> Planned:
    """One entry of HostConfig.Mounts."""
    if not mount.target:
        raise InvalidArgument(f'invalid mount config for type "{mount.type}": field Target must not be empty')
    target = _target(mount.target, mount.target)
    if mount.type == "bind":
        if not mount.source:
            raise InvalidArgument('invalid mount config for type "bind": field Source must not be empty')
        if not mount.source.startswith("/"):
            raise InvalidArgument(
                f"invalid mount config for type \"bind\": invalid mount path: '{mount.source}' mount path must be "
                "absolute"
            )
        options = mount.bind_options or Mount.BindOptions()
        return Planned(kind="bind", source=posixpath.normpath(mount.source), target=target, read_only=mount.read_only,
                       propagation=options.propagation or "rprivate", create_source=options.create_mountpoint,
                       non_recursive=options.non_recursive)  # fmt: skip
    if mount.type == "volume":
        volume = mount.volume_options or Mount.VolumeOptions()
        driver = volume.driver_config
        return Planned(kind="volume", source=mount.source, target=target, read_only=mount.read_only,
                       no_copy=volume.no_copy, labels=volume.labels, driver=driver.name if driver else "",
                       driver_options=driver.options if driver else {}, subpath=volume.subpath)  # fmt: skip
    if mount.type == "tmpfs":
        if mount.source:
            raise InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
        tmpfs = mount.tmpfs_options or Mount.TmpfsOptions()
        return Planned(kind="tmpfs", source="", target=target, read_only=mount.read_only,
                       tmpfs_size=tmpfs.size_bytes, tmpfs_mode=tmpfs.mode)  # fmt: skip
    raise InvalidArgument(f'invalid mount config for type "{mount.type}": mount type unknown')


def _target(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid mount path: '{path}' mount path must be absolute"
        )
    clean = posixpath.normpath(path)
    if clean in ("/", "//"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid specification: destination can't be '/'"
        )
    return clean
