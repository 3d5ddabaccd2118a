"""Keys for the gossip and the IPsec of real Docker Engines: 16 bytes per subsystem, a ring of three, new every 12 h.

They are derived from the root's key, which only managers know, and the time: every manager finds the same ones and
nothing has to be stored.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shoal.kit.clock import nanoseconds
from shoal.model.objects import Cluster
from shoal.wire.pb import swarmkit_pb2 as pb

SUBSYSTEMS = ("networking:gossip", "networking:ipsec")
PERIOD = 12 * 3600
"""Seconds that a key is the newest."""


def epoch(now: datetime) -> int:
    """The number of the current period; the keys change when it does."""
    return nanoseconds(now) // 10**9 // PERIOD


def network_keys(cluster: Cluster, now: datetime) -> list[pb.EncryptionKey]:
    """The ring at `now`: the keys of this period and of its neighbours, so that clocks need not agree."""
    if not cluster.root_ca.key:
        return []
    return [
        pb.EncryptionKey(subsystem=subsystem, key=_key(cluster, subsystem, number), lamport_time=number)
        for subsystem in SUBSYSTEMS
        for number in range(epoch(now) - 1, epoch(now) + 2)
    ]


def _key(cluster: Cluster, subsystem: str, number: int) -> bytes:
    info = f"shoal {cluster.id} {subsystem} {number}".encode()
    return HKDF(hashes.SHA256(), 16, salt=None, info=info).derive(cluster.root_ca.key)
