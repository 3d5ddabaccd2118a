"""Volumes, binds and tmpfs of a service to mounts. Pure."""

from __future__ import annotations

import re
from typing import Any

from shoal.kit.units import parse_bytes
from shoal.model.swarm_spec import Driver, Mount
from shoal.stack.names import LABEL_NAMESPACE, StackFault, scoped
from shoal.stack.shorthand import Tree


def mounts(stack: str, service: Tree, declared: Tree) -> list[Mount]:
    """The mounts of `service`; `declared` are the file's volumes. Raises StackFault."""
    found = [_mount(stack, volume, declared) for volume in service.get("volumes", [])]
    return [*found, *(_tmpfs(entry) for entry in service.get("tmpfs", []))]


def _mount(stack: str, volume: Tree, declared: Tree) -> Mount:
    kind = volume["type"]
    if not volume.get("target"):
        raise StackFault("invalid mount, target is required")
    _check_options(kind, volume)
    common: dict[str, Any] = {
        "type": kind,
        "source": volume.get("source", ""),
        "target": volume["target"],
        "read_only": volume.get("read_only", False),
        "consistency": volume.get("consistency", ""),
    }
    match kind:
        case "volume":
            return _volume(stack, volume, declared, common)
        case "bind":
            bind = volume.get("bind")
            return Mount(
                bind_options=Mount.BindOptions(propagation=bind.get("propagation", "")) if bind else None, **common
            )
        case "tmpfs":
            if common["source"]:
                raise StackFault("invalid tmpfs source, source must be empty")
            size = (volume.get("tmpfs") or {}).get("size")
            return Mount(tmpfs_options=Mount.TmpfsOptions(size_bytes=size) if size else None, **common)
    raise StackFault(f'volume type must be volume, bind or tmpfs, not "{kind}"')


def _check_options(kind: str, volume: Tree) -> None:
    for other in ("bind", "volume", "tmpfs"):
        if other != kind and volume.get(other):
            raise StackFault(f"{other} options are incompatible with type {kind}")


def _volume(stack: str, volume: Tree, declared: Tree, common: dict[str, Any]) -> Mount:
    """A named volume takes the stack's name before its own, unless it is external or has a name; none is anonymous."""
    options = volume.get("volume") or {}
    nocopy, subpath = options.get("nocopy", False), options.get("subpath", "")
    source = volume.get("source")
    if not source:
        plain = Mount.VolumeOptions(no_copy=nocopy, subpath=subpath)
        return Mount(volume_options=plain if options else None, **common)
    if source not in declared:
        raise StackFault(f'undefined volume "{source}"')
    settings = declared[source]
    common["source"] = settings.get("name") or scoped(stack, source)
    if settings.get("external"):
        plain = Mount.VolumeOptions(no_copy=nocopy, subpath=subpath)
        return Mount(volume_options=plain if options else None, **common)
    driver = Driver(name=settings.get("driver", ""), options=settings.get("driver_opts", {}))
    made = Mount.VolumeOptions(
        no_copy=nocopy,
        subpath=subpath,
        labels={**settings.get("labels", {}), LABEL_NAMESPACE: stack},
        driver_config=driver if driver != Driver() else None,
    )
    return Mount(volume_options=made, **common)


def _tmpfs(entry: str) -> Mount:
    """`target[:size=64m,mode=1777,...]`; what is neither size nor mode is passed on as it is."""
    target, _, given = entry.partition(":")
    size, mode, rest = 0, 0, []
    for word in filter(None, given.split(",")):
        key, _, value = word.partition("=")
        match key:
            case "size":
                size = parse_bytes(value)
            case "mode":
                if not re.fullmatch("[0-7]+", value):
                    raise StackFault(f"tmpfs {entry}: invalid mode: {value}")
                mode = int(value, 8)
            case _:
                rest.append(word.split("=", 1))
    options = Mount.TmpfsOptions(size_bytes=size, mode=mode, options=rest)
    return Mount(type="tmpfs", target=target, tmpfs_options=options if given else None)
