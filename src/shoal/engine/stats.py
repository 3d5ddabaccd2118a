"""What a container uses: samples of its cgroup and its network, as `GET /containers/x/stats` has them."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from shoal.engine.cgroup import Cgroups
from shoal.kit.clock import ZERO_TIME
from shoal.model.container import Container

Sample = dict[str, Any]
_TICK = 10**9 // os.sysconf("SC_CLK_TCK")


def empty(container: Container) -> Sample:
    """The sample of a container that does not run."""
    none = {"cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0}}  # fmt: skip
    return {
        "name": f"/{container.name}", "id": container.id, "read": _time(ZERO_TIME), "preread": _time(ZERO_TIME),
        "num_procs": 0, "pids_stats": {}, "blkio_stats": {}, "storage_stats": {}, "memory_stats": {},
        "cpu_stats": none, "precpu_stats": none,
    }  # fmt: skip


def sample(
    cgroups: Cgroups, container: Container, *, path: str, pid: int, now: datetime, before: Sample | None = None
) -> Sample:
    """One sample; `before` is the previous one, from which the CLI computes shares. Blocking, under 1 ms."""
    result = empty(container)
    result["read"] = _time(now)
    cpu = _cpu_v2(cgroups, path) if cgroups.version == 2 else _cpu_v1(cgroups, path)
    result["cpu_stats"] = {**cpu, "system_cpu_usage": _system(), "online_cpus": os.cpu_count() or 1}
    if before is not None:
        result["preread"], result["precpu_stats"] = before["read"], before["cpu_stats"]
    result["memory_stats"] = _memory_v2(cgroups, path) if cgroups.version == 2 else _memory_v1(cgroups, path)
    result["pids_stats"] = _pids(cgroups, path)
    result["blkio_stats"] = {"io_service_bytes_recursive": _blkio(cgroups, path)}
    if container.host_config.network_mode not in ("host", "none"):
        result["networks"] = _networks(pid)
    return result


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z") if moment != ZERO_TIME else "0001-01-01T00:00:00Z"


def _read(cgroups: Cgroups, controller: str, path: str, name: str) -> str:
    folder = cgroups.folder(controller, path)
    try:
        return (folder / name).read_text() if folder else ""
    except OSError:
        return ""


def _number(text: str, default: int = 0) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else default


def _pairs(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split() for line in text.splitlines() if len(line.split()) == 2)}


def _cpu_v1(cgroups: Cgroups, path: str) -> Sample:
    used = _pairs(_read(cgroups, "cpuacct", path, "cpuacct.stat"))
    throttled = _pairs(_read(cgroups, "cpu", path, "cpu.stat"))
    return {
        "cpu_usage": {
            "total_usage": _number(_read(cgroups, "cpuacct", path, "cpuacct.usage")),
            "percpu_usage": [int(n) for n in _read(cgroups, "cpuacct", path, "cpuacct.usage_percpu").split()],
            "usage_in_kernelmode": used.get("system", 0) * _TICK,
            "usage_in_usermode": used.get("user", 0) * _TICK,
        },
        "throttling_data": {
            "periods": throttled.get("nr_periods", 0),
            "throttled_periods": throttled.get("nr_throttled", 0),
            "throttled_time": throttled.get("throttled_time", 0),
        },
    }


def _cpu_v2(cgroups: Cgroups, path: str) -> Sample:
    used = _pairs(_read(cgroups, "cpu", path, "cpu.stat"))
    return {
        "cpu_usage": {
            "total_usage": used.get("usage_usec", 0) * 1000,
            "usage_in_kernelmode": used.get("system_usec", 0) * 1000,
            "usage_in_usermode": used.get("user_usec", 0) * 1000,
        },
        "throttling_data": {
            "periods": used.get("nr_periods", 0),
            "throttled_periods": used.get("nr_throttled", 0),
            "throttled_time": used.get("throttled_usec", 0) * 1000,
        },
    }


def _system() -> int:
    """Nanoseconds of CPU time that the whole machine has spent, idle included."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    return sum(map(int, fields)) * _TICK


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _memory_v1(cgroups: Cgroups, path: str) -> Sample:
    facts = _pairs(_read(cgroups, "memory", path, "memory.stat"))
    limit = _number(_read(cgroups, "memory", path, "memory.limit_in_bytes"), _physical())
    return {
        "usage": _number(_read(cgroups, "memory", path, "memory.usage_in_bytes")),
        "max_usage": _number(_read(cgroups, "memory", path, "memory.max_usage_in_bytes")),
        "limit": min(limit, _physical()),
        "failcnt": _number(_read(cgroups, "memory", path, "memory.failcnt")),
        "stats": facts,
    }


def _memory_v2(cgroups: Cgroups, path: str) -> Sample:
    return {
        "usage": _number(_read(cgroups, "memory", path, "memory.current")),
        "limit": min(_number(_read(cgroups, "memory", path, "memory.max"), _physical()), _physical()),
        "stats": _pairs(_read(cgroups, "memory", path, "memory.stat")),
    }


def _pids(cgroups: Cgroups, path: str) -> Sample:
    limit = _read(cgroups, "pids", path, "pids.max").strip()
    return {
        "current": _number(_read(cgroups, "pids", path, "pids.current")),
        "limit": int(limit) if limit.isdigit() else 2**64 - 1,
    }


def _blkio(cgroups: Cgroups, path: str) -> list[Sample]:
    rows: list[Sample] = []
    if cgroups.version == 2:
        for line in _read(cgroups, "io", path, "io.stat").splitlines():
            device, *values = line.split()
            facts = dict(value.split("=") for value in values if "=" in value)
            major, _, minor = device.partition(":")
            rows += [{"major": int(major), "minor": int(minor), "op": op, "value": int(facts.get(key, 0))}
                     for op, key in (("read", "rbytes"), ("write", "wbytes"))]  # fmt: skip
        return rows
    for line in _read(cgroups, "blkio", path, "blkio.throttle.io_service_bytes").splitlines():
        fields = line.split()
        if len(fields) == 3:
            major, _, minor = fields[0].partition(":")
            rows.append({"major": int(major), "minor": int(minor), "op": fields[1].lower(), "value": int(fields[2])})
    return rows


def _networks(pid: int) -> Sample:
    """Counters of every interface in the container's network namespace but lo."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    result: Sample = {}
    for line in lines:
        name, _, numbers = line.partition(":")
        values = [int(n) for n in numbers.split()]
        if name.strip() != "lo":
            result[name.strip()] = {
                "rx_bytes": values[0], "rx_packets": values[1], "rx_errors": values[2], "rx_dropped": values[3],
                "tx_bytes": values[8], "tx_packets": values[9], "tx_errors": values[10], "tx_dropped": values[11],
            }  # fmt: skip
    return result
