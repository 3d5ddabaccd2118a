"""From a record to a created process, and back to nothing: the blocking half of start and exit.

Everything here runs in a worker thread and touches only one container's own files.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
from contextlib import ExitStack
from pathlib import Path

import msgspec

from shoal.engine import cgroup, defaults, oci, overlay, rootfs, seccomp, users
from shoal.engine.cgroup import Cgroups
from shoal.engine.conmon import Conmon, Started
from shoal.engine.oci import Device, Facts
from shoal.engine.options import EngineOptions
from shoal.engine.records import Record
from shoal.engine.volumes import Volumes
from shoal.model.container import Container
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.network.sandbox import Sandbox


def _log(container: Container) -> str:
    """conmon's word for where the output goes."""
    return "none" if container.host_config.log_config.type == "none" else f"k8s-file:{container.log_path}"


def open_files() -> int:
    """The limit of open files that containers get: docker's, or less where this daemon itself may not have as many."""
    return min(defaults.OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


class Launcher:
    """Prepares, creates and cleans up containers."""

    def __init__(
        self, options: EngineOptions, cgroups: Cgroups, conmon: Conmon, volumes: Volumes, folder: Path
    ) -> None:
        self._options, self._cgroups, self._conmon, self._volumes = options, cgroups, conmon, volumes
        self._folder = folder

    def folder(self, id: str) -> Path:
        """The container's directory."""
        return self._folder / id

    def prepare(self, record: Record) -> None:
        """Mount the root file system and volumes that are mounts, and make the cgroup. Raises ShoalError."""
        container = record.container
        self._conmon.forget(container.id)
        overlay.mount(container.layers, self.folder(container.id), self._options.exec_root / "l")
        self._volumes.use(container)
        self._cgroups.make(record.cgroup, container.host_config)

    def create(self, record: Record, sandbox: Sandbox, namespaces: dict[str, str], shm: str) -> Started:
        """Write the bundle and have conmon and crun create the container's process, which then waits.

        Raises RuntimeFailure when the runtime refuses, InvalidArgument for a user or device that does not exist.
        """
        container = record.container
        config, folder = container.config, self.folder(container.id)
        root = str(folder / "merged")
        self._write_files(container, sandbox)
        identity = users.resolve(
            config.user, rootfs.read(root, "/etc/passwd"), rootfs.read(root, "/etc/group"),
            container.host_config.group_add,
        )  # fmt: skip
        self._make_workdir(root, config.working_dir, identity)
        self._make_sources(container)
        self._fill_volumes(container, root)
        facts = Facts(
            rootfs=root, folder=str(folder), identity=identity, cwd=config.working_dir or "/", netns=sandbox.netns,
            seccomp=self.filter(container), capabilities=self.capabilities(container), devices=_devices(container),
            init=self._options.init if container.host_config.init else "", namespaces=namespaces, ipc_shm=shm,
            cgroup_namespace=self._private_cgroup(container), open_files=open_files(),
            volume_flags=self._volumes.flags(container),
        )  # fmt: skip
        bundle = self._conmon.bundle(container.id)
        bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
        (bundle / "config.json").write_bytes(msgspec.json.encode(oci.spec(container, facts)))
        return self._conmon.create(
            container.id, record.cgroup, _log(container), tty=config.tty, stdin=config.open_stdin or config.tty,
            keep_stdin=config.tty or (config.open_stdin and not config.stdin_once),
        )  # fmt: skip

    def clean(self, record: Record) -> None:
        """Undo `prepare` and `create`, wherever they stopped; where one step fails, the others are done still."""
        with ExitStack() as steps:  # the last is the first
            steps.callback(self._cgroups.remove, record.cgroup)
            steps.callback(self._volumes.release, record.container)
            steps.callback(overlay.unmount, self.folder(record.container.id))
            steps.callback(self._conmon.forget, record.container.id)

    def capabilities(self, container: Container) -> list[str]:
        """The capabilities of the container's processes."""
        host = container.host_config
        wanted = defaults.capabilities(host.cap_add, host.cap_drop, host.privileged)
        return [name for name in wanted if name in _own_capabilities() or name in defaults.CAPABILITIES]

    def filter(self, container: Container) -> str:
        """The compiled seccomp filter; empty: unconfined. Raises InvalidArgument for a bad profile."""
        host = container.host_config
        if host.privileged:
            return ""
        capabilities = frozenset(self.capabilities(container))
        for option in host.security_opt:
            key, separator, value = option.replace(":", "=", 1).partition("=")
            if key == "seccomp" and separator:
                if value == "unconfined":
                    return ""
                if value != "builtin":
                    return seccomp.custom_filter(value, capabilities)
        return seccomp.default_filter(capabilities)

    def _private_cgroup(self, container: Container) -> bool:
        mode = container.host_config.cgroupns_mode
        return mode == "private" or (not mode and self._cgroups.version == 2 and not container.host_config.privileged)

    def _write_files(self, container: Container, sandbox: Sandbox) -> None:
        folder = self.folder(container.id)
        hostname = container.config.hostname
        domain = container.config.domainname
        for name, text in (
            ("hostname", f"{hostname}.{domain}\n" if domain else f"{hostname}\n"),
            ("hosts", sandbox.hosts),
            ("resolv.conf", sandbox.resolv_conf),
        ):
            path = folder / name
            path.write_text(text)
            path.chmod(0o644)

    def _make_workdir(self, root: str, path: str, identity: users.Identity) -> None:
        """Docker makes a missing working directory, as root."""
        if not path or path == "/":
            return
        real = rootfs.resolve(root, path)
        if os.path.exists(real) and not os.path.isdir(real):
            raise InvalidArgument(f"Cannot mkdir: {path} is not a directory")
        os.makedirs(real, exist_ok=True)

    def _make_sources(self, container: Container) -> None:
        """Sources of `-v` binds are made when they are missing, those of --mount are an error."""
        asked = {mount.target: mount for mount in container.host_config.mounts}
        for point in container.mounts:
            if point.type != "bind" or os.path.lexists(point.source):
                continue
            mount = asked.get(point.destination)
            if mount and not (mount.bind_options and mount.bind_options.create_mountpoint):
                raise InvalidArgument(
                    f'invalid mount config for type "bind": bind source path does not exist: {point.source}'
                )
            os.makedirs(point.source, exist_ok=True)

    def _fill_volumes(self, container: Container, root: str) -> None:
        """A volume that is still empty gets what the image has at its place (18.11)."""
        without = {m.target for m in container.host_config.mounts if m.volume_options and m.volume_options.no_copy}
        for point in container.mounts:
            if point.type != "volume" or point.destination in without or "nocopy" in point.mode.split(","):
                continue
            source = rootfs.resolve(root, point.destination)
            if os.path.isdir(source) and os.path.isdir(point.source) and not os.listdir(point.source):
                _copy_tree(source, point.source)


@functools.cache
def _own_capabilities() -> frozenset[str]:
    """What this daemon may pass on at all: in a container itself, it has not everything that ALL means."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bits = int(line.split()[1], 16)
            return frozenset(f"CAP_{name}" for number, name in enumerate(_NUMBERS) if bits >> number & 1)
    return frozenset(defaults.ALL_CAPABILITIES)


_NUMBERS = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
    NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
    SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
    SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
    CHECKPOINT_RESTORE""".split()  # noqa: SIM905
"""Capabilities in the order of their numbers (linux/capability.h)."""


def _copy_tree(source: str, target: str) -> None:
    """Copy a directory's content with owners, modes, times and links; special files are left out."""
    for entry in os.scandir(source):
        to = os.path.join(target, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), to)
        elif entry.is_dir():
            os.mkdir(to)
            _copy_tree(entry.path, to)
        elif entry.is_file():
            shutil.copyfile(entry.path, to)
        else:
            continue
        _copy_facts(entry.path, to)
    _copy_facts(source, target)


def _copy_facts(source: str, target: str) -> None:
    facts = os.lstat(source)
    os.chown(target, facts.st_uid, facts.st_gid, follow_symlinks=False)
    shutil.copystat(source, target, follow_symlinks=False)


def _devices(container: Container) -> list[Device]:
    """The device files of `--device`; every one of this machine for a privileged container."""
    host = container.host_config
    pairs = [(d.path_on_host, d.path_in_container or d.path_on_host) for d in host.devices]
    if host.privileged:
        pairs += [(node, node) for entry in os.scandir("/dev") if not entry.is_symlink()
                  and entry.name not in _NOT_PRIVILEGED for node in _nodes(entry)]  # fmt: skip
    devices: dict[str, Device] = {}
    for source, target in pairs:
        for node in cgroup.device_nodes(source):
            facts = os.stat(node)
            path = target + node.removeprefix(source)
            kind = "b" if (facts.st_mode & 0o170000) == 0o060000 else "c"
            devices[path] = Device(path=path, kind=kind, major=os.major(facts.st_rdev), minor=os.minor(facts.st_rdev),
                                   mode=facts.st_mode & 0o777)  # fmt: skip
    return list(devices.values())


_NOT_PRIVILEGED = {"pts", "shm", "fd", "mqueue", "console", "stdin", "stdout", "stderr", "core", "ptmx", "null",
                   "zero", "full", "random", "urandom", "tty"}  # fmt: skip
"""Made by the runtime in every container, or not devices."""


def _nodes(entry: os.DirEntry[str]) -> list[str]:
    try:
        return list(cgroup.device_nodes(entry.path))
    except (ShoalError, OSError):
        return []
