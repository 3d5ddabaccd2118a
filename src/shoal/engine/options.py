"""What an engine is told at its start."""

from __future__ import annotations

from pathlib import Path

from shoal.model.base import Struct


class EngineOptions(Struct, frozen=True):
    """Where things lie and how the daemon was called."""

    data_root: Path
    """Containers, images and volumes: survives a reboot. Not on an overlay file system."""
    exec_root: Path
    """Sockets, pids, exit codes: of this boot only."""
    insecure_registries: list[str] = []
    registry_mirrors: list[str] = []
    """URLs of registries that are asked before Docker Hub."""
    labels: list[str] = []
    """`key=value`, shown by `docker info` and matched by `engine.labels.key`."""
    log_driver: str = "json-file"
    log_options: dict[str, str] = {}
    crun: str = "/usr/bin/crun"
    conmon: str = "/usr/bin/conmon"
    init: str = "/usr/bin/catatonit"
    """What `docker run --init` puts before the container's command."""
    cgroup_parent: str = "shoal"
    """The directory in every hierarchy below which containers get theirs."""
