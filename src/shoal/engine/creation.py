"""Making a container: everything is checked, everything it needs is named, and then it is there at once."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from shoal.engine import defaults, health, limits, log_rotation, mounts, refusals, restart, rootfs, seccomp, signals
from shoal.engine.context import Context
from shoal.engine.merge import merge, words
from shoal.engine.mounts import Planned
from shoal.engine.records import Record
from shoal.engine.wishes import endpoints
from shoal.model import names
from shoal.model.container import (
    Container,
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    LogConfig,
    MountPoint,
    NetworkingConfig,
)
from shoal.model.engine import Image, Volume
from shoal.model.errors import InvalidArgument, Unimplemented


class ImageSource(Protocol):
    """The part of `images` that containers need."""

    def find(self, wanted: str) -> Image: ...


class VolumeSource(Protocol):
    """The part of `volumes` that containers need."""

    def create(
        self, name: str = "", driver: str = "local", options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None, *, container: str = "",
    ) -> Volume: ...  # fmt: skip

    def bind(self, names: Iterable[str], container: str) -> None: ...

    def keep(self, container: str) -> None: ...

    def drop(self, container: str) -> None: ...


class LayerSource(Protocol):
    """The part of `layers` that containers need."""

    def chain(self, image: Image) -> list[Path]: ...


class Creator:
    """Makes containers."""

    def __init__(self, context: Context, images: ImageSource, layers: LayerSource, volumes: VolumeSource) -> None:
        self._context, self._images, self._layers, self._volumes = context, images, layers, volumes
        self._rng = random.Random()

    async def create(
        self, name: str, asked: ContainerConfig, host: HostConfig, networking: NetworkingConfig, *, managed: bool
    ) -> Container:
        """See `Containers.create`."""
        image = self._images.find(asked.image)
        config = merge(asked, image.config)
        command = [*words(config.entrypoint), *words(config.cmd)]
        if not command or command == [""]:
            raise InvalidArgument("no command specified")
        host = self._normal(host)
        self._check(config, host)
        wanted = endpoints(config, host, networking)
        planned = mounts.plan(config, host, self._inherited(host))
        context = self._context
        id = context.ids.hex_id()
        name = name.removeprefix("/") or self._free_name()
        container = Container(
            id=id, name=name, created=context.clock.now(), image_id=image.id,
            config=replace(config, hostname=self._hostname(config, host, id)), host_config=host,
            path=command[0], args=command[1:],
            networks=self._networks(host, wanted),
            log_path=str(context.records.folder(id) / f"{id}.log"),
            layers=[str(path) for path in self._layers.chain(image)],
        )  # fmt: skip
        record = Record(
            container=container,
            asked=wanted,
            managed=managed,
            cgroup=context.cgroups.path(id, host.cgroup_parent),
        )
        context.records.reserve(name, id)
        return await context.finish(self._make, record, planned)

    async def _make(self, record: Record, planned: Sequence[Planned]) -> Container:
        """The volumes, then the record; where one fails, the volumes that nobody named go again."""
        context, id = self._context, record.container.id
        try:
            container = replace(record.container, mounts=[self._point(item, id) for item in planned])
            record = replace(record, container=container)
            await context.workers.run(context.records.write_new, record)
        except Exception:  # cancelled, when the engine leaves, it may be written yet: the next start looks
            context.records.release(record.container.name)
            await context.workers.run(self._volumes.drop, id)
            raise
        context.records.add(record)
        self._volumes.keep(id)
        context.tell(container, "create")
        return container

    def _normal(self, host: HostConfig) -> HostConfig:
        """The defaults that `inspect` shows filled in."""
        options = self._context.options
        log = host.log_config
        if not log.type:
            log = LogConfig(type=options.log_driver, config=log.config or options.log_options)
        mode = host.network_mode
        return replace(
            host, log_config=log, network_mode="bridge" if mode in ("", "default") else mode,
            shm_size=host.shm_size or defaults.SHM_SIZE, ipc_mode=host.ipc_mode or "private",
            cgroupns_mode=host.cgroupns_mode or ("private" if self._context.cgroups.version == 2 else "host"),
            restart_policy=replace(host.restart_policy, name=host.restart_policy.name or "no"),
            runtime=host.runtime or "crun",
        )  # fmt: skip

    def _check(self, config: ContainerConfig, host: HostConfig) -> None:
        refusals.check(config, host)
        limits.check(host, os.cpu_count() or 1)
        restart.check(host.restart_policy, host.auto_remove)
        health.validate(config.healthcheck)
        defaults.capabilities(host.cap_add, host.cap_drop)
        if config.stop_signal:
            signals.parse(config.stop_signal)
        if config.working_dir and not config.working_dir.startswith("/"):
            raise InvalidArgument(
                f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
            )
        if host.log_config.type not in ("json-file", "local", "none"):
            raise InvalidArgument(f'logger: no log driver named "{host.log_config.type}" is registered')
        log_rotation.limits(host.log_config)
        if host.runtime not in ("crun", "runc", "io.containerd.runc.v2"):
            raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime}")
        for target in host.tmpfs:
            if not target.startswith("/"):
                raise InvalidArgument(f"invalid tmpfs mount: {target}: mount path must be absolute")
        for option in host.security_opt:
            key, separator, value = option.replace(":", "=", 1).partition("=")
            if key not in ("seccomp", "no-new-privileges", "apparmor", "label", "systempaths", "writable-cgroups"):
                raise InvalidArgument(f'invalid --security-opt {2 if separator else 1}: "{option}"')
            if key == "seccomp" and value not in ("unconfined", "builtin", ""):
                seccomp.custom_filter(value, frozenset(defaults.CAPABILITIES))

    def _inherited(self, host: HostConfig) -> Sequence[MountPoint]:
        points: list[MountPoint] = []
        for source in host.volumes_from:
            wanted, _, mode = source.partition(":")
            for point in self._context.records.find(wanted).container.mounts:
                points.append(replace(point, rw=False) if mode == "ro" else point)
        return points

    def _point(self, planned: Planned, id: str) -> MountPoint:
        source, name, driver = planned.source, "", ""
        if planned.kind == "volume":
            volume = self._volumes.create(
                planned.source, planned.driver or "local", planned.driver_options, planned.labels, container=id
            )
            source, name, driver = volume.mountpoint, volume.name, volume.driver
            if planned.subpath and volume.options:
                raise Unimplemented("a subpath of a volume with mount options is not supported: it is not mounted yet")
            if planned.subpath:
                source = rootfs.resolve(source, planned.subpath)  # never leads out of the volume
        mode = planned.mode or ("z" if planned.kind == "volume" and not planned.read_only else "")
        return MountPoint(
            type=planned.kind, name=name, source=source, destination=planned.target, driver=driver, mode=mode,
            rw=not planned.read_only, propagation=planned.propagation,
        )  # fmt: skip

    def _hostname(self, config: ContainerConfig, host: HostConfig, id: str) -> str:
        if host.network_mode == "host" or host.uts_mode == "host":
            return config.hostname or socket.gethostname()
        if host.network_mode.startswith("container:"):
            return self._context.records.find(host.network_mode.removeprefix("container:")).container.config.hostname
        return config.hostname or id[:12]

    def _networks(self, host: HostConfig, asked: dict[str, EndpointSettings]) -> dict[str, EndpointSettings]:
        if host.network_mode.startswith("container:"):
            return {}
        return asked or {host.network_mode: EndpointSettings()}

    def _free_name(self) -> str:
        for attempt in range(100):
            name = names.random_name(self._rng)
            if attempt > 10:
                name += str(self._rng.randrange(10**attempt))
            if not self._context.records.taken(name):
                return name
        return self._context.ids.hex_id()[:12]
