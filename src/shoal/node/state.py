"""What a node keeps on disk about its swarm, in one 0700 directory.

docker-state.json      addresses it was given, and whether a join is under way (so that it can be resumed)
leaving.json           what docker-state.json becomes when the node begins to leave
certificates/          the root it trusts, its certificate and key; on managers the store's data keys
etcd/                  on managers: the replicated store and the certificate for its peers
worker/                the agent's copy of its assignments
managers.json          the managers it last heard of
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shoal.agent.remotes import Remote
from shoal.ca.files import CertificateFiles, write_file
from shoal.kit.files import sync_directory
from shoal.model.base import Struct, decode, encode
from shoal.node.addresses import Addresses, join_host
from shoal.store.codec import StoreKeys


class DockerState(Struct, frozen=True):
    """`docker-state.json`. The names are docker's; `interface` is where the advertised address was found."""

    local_addr: str = ""
    remote_addr: str = ""
    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    join_in_progress: bool = False
    join_token: str = ""
    """Only while `join_in_progress`."""
    availability: str = ""
    interface: str = ""


def docker_state(addresses: Addresses) -> DockerState:
    """The state of a node with these addresses."""
    return DockerState(
        local_addr=addresses.advertise,
        listen_addr=join_host(addresses.listen, addresses.port),
        advertise_addr=join_host(addresses.advertise, addresses.advertise_port),
        data_path_addr=addresses.data_path,
        interface=addresses.interface,
    )


def addresses_in(state: DockerState) -> Addresses:
    """The addresses that `docker_state` was given."""
    listen, _, port = state.listen_addr.rpartition(":")
    advertise, _, advertise_port = state.advertise_addr.rpartition(":")
    return Addresses(
        listen=listen.strip("[]"),
        advertise=advertise.strip("[]"),
        port=int(port),
        advertise_port=int(advertise_port),
        data_path=state.data_path_addr,
        interface=state.interface,
    )


class StateDirectory:
    """The files under `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.certificates = CertificateFiles(path / "certificates")
        self.etcd = path / "etcd"
        self.peer_certificates = CertificateFiles(path / "etcd" / "certificates", "etcd-peer")
        self.worker = path / "worker"
        self._state = path / "docker-state.json"
        self._leaving = path / "leaving.json"
        self._managers = path / "managers.json"
        self._keys = path / "certificates" / "swarm-store.key"

    def load(self) -> DockerState | None:
        """The state, None when this machine is in no swarm."""
        try:
            return decode(self._state.read_bytes(), DockerState)
        except FileNotFoundError:
            return None

    def save(self, state: DockerState) -> None:
        """Keep `state`; there is a token in it, so it is for this user only."""
        write_file(self._state, encode(state), 0o600)

    @property
    def leaving(self) -> bool:
        """Whether the node has begun to leave its swarm, and is not through."""
        return self._leaving.exists()

    @property
    def present(self) -> bool:
        """Whether this machine is in a swarm, on its way into one or out of one."""
        return self._state.exists() or self.leaving

    def mark_leaving(self) -> None:
        """From here on the node can only leave, whatever happens to the daemon. Needs no space on the disk."""
        with suppress(FileNotFoundError):  # an earlier try to leave
            self._state.replace(self._leaving)
        sync_directory(self.path)

    def load_managers(self) -> list[Remote]:
        """The managers last heard of."""
        try:
            return decode(self._managers.read_bytes(), list[Remote])
        except FileNotFoundError:
            return []

    def save_managers(self, managers: Sequence[Remote]) -> None:
        """Keep the managers' addresses for the next start."""
        write_file(self._managers, encode(list(managers)), 0o600)

    def load_keys(self) -> StoreKeys | None:
        """The store's data keys, None on a node that is no manager."""
        try:
            return decode(self._keys.read_bytes(), StoreKeys)
        except FileNotFoundError:
            return None

    def save_keys(self, keys: StoreKeys) -> None:
        """Keep the store's data keys, beside the node's own key."""
        write_file(self._keys, encode(keys), 0o600)

    def forget_store(self) -> None:
        """Remove what only a manager has."""
        shutil.rmtree(self.etcd, ignore_errors=True)
        self._keys.unlink(missing_ok=True)

    def wipe(self) -> None:
        """Remove everything: this machine is in no swarm any more.

        The state goes first: without it the rest means nothing, and is wiped at the next start.
        """
        self._state.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
