"""A container as crun wants it: the OCI runtime specification's config.json. Pure.

Everything that has to be looked up (users, devices, mount sources) is in `Facts`.
"""

from __future__ import annotations

from typing import Any

from shoal.engine import defaults
from shoal.engine.merge import merge_environment
from shoal.engine.oci_mounts import mounts
from shoal.engine.users import Identity
from shoal.model.base import Struct
from shoal.model.container import Container
from shoal.model.errors import InvalidArgument

INIT_PATH = "/sbin/docker-init"
"""Where `--init` puts the init program inside the container, as docker does."""


class Device(Struct, frozen=True):
    """A device file to make in the container."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666


class Facts(Struct, frozen=True):
    """What this machine adds to what was asked."""

    rootfs: str
    folder: str
    """Holds the files hostname, hosts and resolv.conf that are mounted into the container; empty: none are."""
    identity: Identity
    cwd: str = "/"
    netns: str = ""
    """Path of the network namespace; empty: the host's."""
    seccomp: str = ""
    """The compiled filter, base64; empty: unconfined."""
    capabilities: list[str] = []
    devices: list[Device] = []
    init: str = ""
    """The init program on the host; empty: none."""
    namespaces: dict[str, str] = {}
    """Namespaces to join by path: `ipc`, `pid`, `uts` of another container."""
    cgroup_namespace: bool = False
    open_files: int = defaults.OPEN_FILES
    ipc_shm: str = ""
    """Another container's /dev/shm on the host, with a shared IPC namespace."""
    volume_flags: dict[str, list[str]] = {}
    """Volume -> `ro`, `noexec`, ...: what those that are mounts are mounted with."""


def spec(container: Container, facts: Facts) -> dict[str, Any]:
    """The runtime configuration of `container`. Raises InvalidArgument for what makes no sense."""
    host = container.host_config
    return {
        "ociVersion": "1.0.2",
        "process": process(container, facts),
        "root": {"path": facts.rootfs, "readonly": host.readonly_rootfs},
        "hostname": "" if host.uts_mode == "host" else container.config.hostname,
        **({"domainname": container.config.domainname} if container.config.domainname else {}),
        "mounts": mounts(container, facts.folder, facts.init, facts.ipc_shm, facts.volume_flags),
        "linux": _linux(container, facts),
        "annotations": host.annotations | ({"run.oci.seccomp_bpf_data": facts.seccomp} if facts.seccomp else {}),
    }


def process(container: Container, facts: Facts) -> dict[str, Any]:
    """The container's first process."""
    args = [container.path, *container.args]
    if facts.init:
        args = [INIT_PATH, "--", *args]
    host = container.host_config
    return {
        "terminal": container.config.tty,
        "user": _user(facts.identity),
        "args": args,
        "env": environment(container, facts.identity.home),
        "cwd": facts.cwd,
        "capabilities": _capabilities(facts.capabilities, facts.identity.uid),
        "rlimits": _rlimits(container, facts.open_files),
        "noNewPrivileges": no_new_privileges(host.security_opt),
        "oomScoreAdj": host.oom_score_adj,
    }


def exec_process(
    container: Container,
    *,
    args: list[str],
    env: list[str],
    tty: bool,
    cwd: str,
    identity: Identity,
    capabilities: list[str],
    open_files: int,
) -> dict[str, Any]:
    """A further process in a running container (`docker exec`)."""
    base = environment(container, identity.home)
    if tty:
        base = merge_environment(base, ["TERM=xterm"]) if not any(e.startswith("TERM=") for e in base) else base
    return {
        "terminal": tty,
        "user": _user(identity),
        "args": args,
        "env": merge_environment(base, env),
        "cwd": cwd,
        "capabilities": _capabilities(capabilities, identity.uid),
        "rlimits": _rlimits(container, open_files),
        "noNewPrivileges": no_new_privileges(container.host_config.security_opt),
    }


def environment(container: Container, home: str) -> list[str]:
    """The environment of every process in `container`."""
    config = container.config
    base = [defaults.PATH, f"HOSTNAME={config.hostname}"]
    if config.tty:
        base.append("TERM=xterm")
    env = merge_environment(base, config.env)
    return env if any(entry.startswith("HOME=") for entry in env) else [*env, f"HOME={home}"]


def no_new_privileges(options: list[str]) -> bool:
    """Whether `--security-opt no-new-privileges` is on."""
    return any(option in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")
               for option in options)  # fmt: skip


def _user(identity: Identity) -> dict[str, Any]:
    return {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups, "umask": 0o022}


def _capabilities(names: list[str], uid: int) -> dict[str, list[str]]:
    """Only root has them in effect; others may gain them through files, as execve does."""
    held = names if uid == 0 else []
    return {"bounding": names, "effective": held, "permitted": held, "inheritable": [], "ambient": []}


def _rlimits(container: Container, open_files: int) -> list[dict[str, Any]]:
    limits = {"RLIMIT_NOFILE": (open_files, open_files)}
    for limit in container.host_config.ulimits:
        limits[f"RLIMIT_{limit.name.upper()}"] = (limit.soft, limit.hard)
    return [{"type": name, "soft": soft % 2**64, "hard": hard % 2**64} for name, (soft, hard) in limits.items()]


def _linux(container: Container, facts: Facts) -> dict[str, Any]:
    host = container.host_config
    masked = defaults.MASKED_PATHS if host.masked_paths is None else host.masked_paths
    readonly = defaults.READONLY_PATHS if host.readonly_paths is None else host.readonly_paths
    if host.privileged or "systempaths=unconfined" in host.security_opt:
        masked, readonly = [], []
    return {
        "namespaces": _namespaces(container, facts),
        "devices": [
            {"path": d.path, "type": d.kind, "major": d.major, "minor": d.minor, "fileMode": d.mode, "uid": 0, "gid": 0}
            for d in facts.devices
        ],
        "sysctl": _sysctls(container, facts),
        "maskedPaths": masked,
        "readonlyPaths": readonly,
        "rootfsPropagation": "private",
    }


def _sysctls(container: Container, facts: Facts) -> dict[str, str]:
    """The user's, and docker's own two: in a network namespace of its own, ports below 1024 and ping are for all."""
    mode = container.host_config.network_mode
    own = bool(facts.netns) and not mode.startswith("container:")
    usual = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"} if own else {}
    return {**usual, **container.host_config.sysctls}


def _namespaces(container: Container, facts: Facts) -> list[dict[str, str]]:
    host = container.host_config
    own = [("mount", ""), ("pid", host.pid_mode), ("ipc", host.ipc_mode), ("uts", host.uts_mode)]
    spaces: list[dict[str, str]] = []
    for kind, mode in own:
        if path := facts.namespaces.get(kind):
            spaces.append({"type": kind, "path": path})
        elif mode != "host":
            if mode not in ("", "private", "shareable", "none"):
                raise InvalidArgument(f"invalid {kind.upper()} mode: {mode}")
            spaces.append({"type": kind})
    if facts.netns:
        spaces.append({"type": "network", "path": facts.netns})
    if facts.cgroup_namespace:
        spaces.append({"type": "cgroup"})
    return spaces
