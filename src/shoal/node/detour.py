"""Managers that all moved at once reach each other's etcd at the old addresses, until a quorum can note the new ones.

etcd dials its peers where its own replicated member list says, and that list changes only by a quorum: if most
managers have other addresses, none is reached any more. But the managers themselves find each other (`seeking`). So
while a manager's store is not up, or has no leader, its packets to another's old etcd address are sent to where that
manager is now: a rule in the kernel for each, gone a while after the store is up and the addresses are noted. The same
is done by managers that have a quorum for one that comes later and says itself where it is. etcd's certificates are
checked as ever: they go on naming a manager's former addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from shoal.ca.files import write_file
from shoal.model.base import decode, encode
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.network.kernel.namespaces import Namespace
from shoal.network.kernel.nft import Nft
from shoal.node.addresses import host_of
from shoal.node.local import Local
from shoal.store.etcd_client import EtcdClient, EtcdError

logger = logging.getLogger(__name__)

TABLE = "shoal_detour"
PATIENCE = 2.0
"""Seconds without a leader after which a manager takes detours: as a rule there is one sooner."""
SETTLING = 10.0
"""Seconds for which detours stay when there is a leader, so that etcd can note the addresses."""
PERIOD = 0.5
REMEMBERING = 5.0
"""Seconds between two looks at etcd's members."""


def detours(peers: Mapping[str, str], present: Mapping[str, str], own: str) -> dict[str, str]:
    """Old address -> present one, for every manager but `own` that is not where etcd believes it (`peers`); by id."""
    moved = {id: host for id, host in present.items() if id != own and id in peers and peers[id] != host}
    return {peers[id]: host for id, host in moved.items() if _version(peers[id]) == _version(host) != 0}


def rules(detours: Mapping[str, str], port: int) -> str:
    """nft's commands that make exactly these detours."""
    lines = [f"table inet {TABLE}", f"delete table inet {TABLE}"]
    if detours:
        lines += [f"table inet {TABLE} {{", "chain out {", "type nat hook output priority -110; policy accept;"]
        for old, new in sorted(detours.items()):
            family, target = ("ip", new) if _version(old) == 4 else ("ip6", f"[{new}]")
            lines.append(f"{family} daddr {old} tcp dport {port} dnat {family} to {target}:{port}")
        lines += ["}", "}"]
    return "\n".join(lines) + "\n"


async def remember(client: EtcdClient, path: Path) -> None:
    """Keep on disk where etcd believes its members to be, for ever: without a quorum etcd does not tell."""
    known: dict[str, str] = {}
    while True:
        try:
            members = await client.members()
        except (ShoalError, EtcdError):
            members = []
        peers = {one.name: urlsplit(one.peer_urls[0]).hostname or "" for one in members if one.name and one.peer_urls}
        if peers and peers != known:
            try:
                await asyncio.to_thread(write_file, path, encode(peers), 0o600)
                known = peers
            except OSError as fault:  # a full disk: a manager without this hint is better than none
                logger.warning("the other managers' addresses are not on disk: %s", fault)
        await asyncio.sleep(REMEMBERING)


async def take_detours(local: Local, claims: dict[str, str], is_lost: Callable[[], bool]) -> None:
    """Keep the kernel's rules as they should be, until cancelled.

    `claims`: where managers say that they are; those that etcd knows by now are taken out. `is_lost`: this manager's
    store has not come up, or its etcd or its agent has no leader.
    """
    now = asyncio.get_running_loop().time
    missing, settled = now() + PATIENCE, 0.0
    made: dict[str, str] | None = None if local.identity.is_manager else {}  # None: a killed daemon may have left some
    try:
        while True:
            peers = await asyncio.to_thread(_load, local) if is_lost() or claims else {}
            for id in [id for id, host in claims.items() if peers.get(id, host) == host]:
                del claims[id]
            wanted = detours(peers, claims, local.node_id)
            if is_lost():
                settled = now() + SETTLING
                wanted = detours(peers, _present(local) | claims, local.node_id) if now() > missing else {}
            else:
                missing = now() + PATIENCE
                wanted = {**(made or {}), **wanted} if now() < settled else wanted
            if wanted != made:
                await asyncio.to_thread(_apply, rules(wanted, local.options.peer_port))
                made = wanted
            await asyncio.sleep(PERIOD)
    finally:
        if made:
            _apply(rules({}, local.options.peer_port))


def _present(local: Local) -> dict[str, str]:
    return {one.node_id: host_of(one.addr) for one in local.remotes.all}


def _load(local: Local) -> dict[str, str]:
    """Where etcd believed its members to be; nothing on a node that is no manager."""
    try:
        return decode(local.state.peers.read_bytes(), dict[str, str])
    except (OSError, InvalidArgument):
        return {}


def _apply(commands: str) -> None:
    try:
        with Namespace.own().held() as here:
            context = Nft(here)
            try:
                context.run(commands)
            finally:
                context.close()
    except (ShoalError, OSError) as fault:
        logger.warning("managers that moved may not be reached: %s", fault)


def _version(host: str) -> int:
    """4 or 6; 0 for what is no address."""
    try:
        return ipaddress.ip_address(host).version
    except ValueError:
        return 0
