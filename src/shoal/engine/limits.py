"""Resource limits as cgroup files: what HostConfig asks for, for both generations of cgroups. Pure."""

from __future__ import annotations

from collections.abc import Callable

from shoal.model.container import HostConfig
from shoal.model.errors import InvalidArgument

PERIOD = 100_000
"""Microseconds over which a CPU quota counts."""
MINIMUM_MEMORY = 6 * 1024 * 1024


def check(host: HostConfig, cpus: int) -> None:
    """Raise InvalidArgument, in docker's words, for limits that make no sense on a machine with `cpus` cores."""
    if 0 < host.memory < MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if host.memory_swap > 0 and not host.memory:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory and 0 < host.memory_swap < host.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")
    if host.memory and host.memory < host.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.nano_cpus and (host.cpu_period or host.cpu_quota):
        other = "CPU Period" if host.cpu_period else "CPU Quota"
        raise InvalidArgument(f"Conflicting options: Nano CPUs and {other} cannot both be set.")
    if host.nano_cpus and not 10_000_000 <= host.nano_cpus <= cpus * 10**9:
        raise InvalidArgument(
            f"range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )  # fmt: skip
    if host.cpu_period and not 1_000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1_000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")


def _quota(host: HostConfig) -> tuple[int, int]:
    """(quota, period) in microseconds; a quota of 0 is no limit."""
    if host.nano_cpus:
        return host.nano_cpus * PERIOD // 10**9, PERIOD
    return host.cpu_quota, host.cpu_period or PERIOD


def _swap(host: HostConfig) -> int:
    """Memory and swap together in bytes: -1 is no limit, 0 is not asked; docker's default is twice the memory."""
    if host.memory and not host.memory_swap:
        return host.memory * 2
    return host.memory_swap


def files_v1(host: HostConfig) -> list[tuple[str, str, str]]:
    """(controller, file, value), in the order in which to write them."""
    files: list[tuple[str, str, str]] = []
    if host.memory:
        files.append(("memory", "memory.limit_in_bytes", str(host.memory)))
    if _swap(host):
        files.append(("memory", "memory.memsw.limit_in_bytes", str(_swap(host))))
    if host.memory_reservation:
        files.append(("memory", "memory.soft_limit_in_bytes", str(host.memory_reservation)))
    if host.memory_swappiness is not None and host.memory_swappiness >= 0:
        files.append(("memory", "memory.swappiness", str(host.memory_swappiness)))
    if host.oom_kill_disable:
        files.append(("memory", "memory.oom_control", "1"))
    if host.cpu_shares:
        files.append(("cpu", "cpu.shares", str(max(2, host.cpu_shares))))
    quota, period = _quota(host)
    if quota:
        files += [("cpu", "cpu.cfs_period_us", str(period)), ("cpu", "cpu.cfs_quota_us", str(quota))]
    files += _files_of_both(host)
    if host.blkio_weight:
        files.append(("blkio", "blkio.bfq.weight", str(host.blkio_weight)))
    return files


def _files_of_both(host: HostConfig) -> list[tuple[str, str, str]]:
    """What has one name in both generations."""
    files: list[tuple[str, str, str]] = []
    if host.cpuset_cpus:
        files.append(("cpuset", "cpuset.cpus", host.cpuset_cpus))
    if host.cpuset_mems:
        files.append(("cpuset", "cpuset.mems", host.cpuset_mems))
    if host.pids_limit:
        files.append(("pids", "pids.max", str(host.pids_limit) if host.pids_limit > 0 else "max"))
    return files


def files_v2(host: HostConfig) -> list[tuple[str, str, str]]:
    """The same for the unified hierarchy."""
    files: list[tuple[str, str, str]] = []
    if host.memory:
        files.append(("memory", "memory.max", str(host.memory)))
        swap = _swap(host)
        files.append(("memory", "memory.swap.max", "max" if swap < 0 else str(max(0, swap - host.memory))))
    if host.memory_reservation:
        files.append(("memory", "memory.low", str(host.memory_reservation)))
    if host.cpu_shares:
        weight = 1 + (max(2, min(host.cpu_shares, 262144)) - 2) * 9999 // 262142
        files.append(("cpu", "cpu.weight", str(weight)))
    quota, period = _quota(host)
    if quota:
        files.append(("cpu", "cpu.max", f"{quota if quota > 0 else 'max'} {period}"))
    files += _files_of_both(host)
    if host.blkio_weight:
        files.append(("io", "io.bfq.weight", str(host.blkio_weight)))
    return files


_RATES = (
    ("blkio_device_read_bps", "read_bps", "rbps"),
    ("blkio_device_write_bps", "write_bps", "wbps"),
    ("blkio_device_read_iops", "read_iops", "riops"),
    ("blkio_device_write_iops", "write_iops", "wiops"),
)
"""Limits of HostConfig for single disks, and what v1 and v2 call them."""


def files_of_disks(host: HostConfig, version: int, number: Callable[[str], str]) -> list[tuple[str, str, str]]:
    """What holds for single disks, in cgroups of `version`; `number` gives a device file's `major:minor`."""
    files: list[tuple[str, str, str]] = []
    for field, old, new in _RATES:
        for disk in getattr(host, field):
            where = number(disk.path)
            if version == 1:
                files.append(("blkio", f"blkio.throttle.{old}_device", f"{where} {disk.rate}"))
            else:
                files.append(("io", "io.max", f"{where} {new}={disk.rate}"))
    for share in host.blkio_weight_device:
        name = "blkio.bfq.weight_device" if version == 1 else "io.bfq.weight"
        files.append(("io", name, f"{number(share.path)} {share.weight}"))
    return files
