"""Which containers `prune` takes, and what `update` changes. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import asdict, replace

from shoal.engine import limits, restart
from shoal.kit.units import parse_duration
from shoal.model.container import Container, HostConfig
from shoal.model.errors import Conflict, InvalidArgument
from shoal.model.filters import Filters, match_labels

_CHANGEABLE = (
    "memory", "memory_swap", "memory_reservation", "nano_cpus", "cpu_shares", "cpu_period", "cpu_quota", "cpuset_cpus",
    "cpuset_mems", "pids_limit", "blkio_weight",
)  # fmt: skip


def updated(host: HostConfig, asked: HostConfig) -> HostConfig:
    """`host` with the limits and the restart policy that `asked` sets. Raises InvalidArgument, Conflict."""
    plain, wanted = HostConfig(), asdict(asked)
    changes = {name: wanted[name] for name in _CHANGEABLE if wanted[name] != getattr(plain, name)}
    if asked.nano_cpus and (host.cpu_period or host.cpu_quota):
        raise InvalidArgument("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set.")
    if asked.restart_policy.name:
        restart.check(asked.restart_policy, auto_remove=False)
        if host.auto_remove and asked.restart_policy.name != "no":
            raise InvalidArgument("Restart policy cannot be updated because AutoRemove is enabled for the container")
        changes["restart_policy"] = asked.restart_policy
    result = replace(host, **changes)
    if "memory" in changes and 0 < host.memory_swap < result.memory and "memory_swap" not in changes:
        raise Conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at "
                       "the same time")  # fmt: skip
    limits.check(result, 10**6)
    return result


def prunable(container: Container, filters: Filters, now: datetime) -> bool:
    """Whether `prune` with these filters (label, label!, until) takes a container that does not run."""
    labels = container.config.labels
    if not match_labels(filters, labels):
        return False
    if any(match_labels({"label": [unwanted]}, labels) for unwanted in filters.get("label!", [])):
        return False
    return all(container.created <= moment(text, now) for text in filters.get("until", []))


def moment(text: str, now: datetime) -> datetime:
    """A point in time as people give it: `10m` (ago), RFC 3339, or seconds since 1970. Raises InvalidArgument."""
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except ValueError:
        pass
    try:
        return now - timedelta(microseconds=parse_duration(text) / 1000)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as fault:
        raise InvalidArgument(f'failed to parse value as time or duration: "{text}"') from fault
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
