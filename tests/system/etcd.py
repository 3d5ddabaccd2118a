"""Real etcd members for tests: on loopback addresses, in temporary directories, without fsync."""

from __future__ import annotations

import random
import socket
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shoal.ca.files import CertificateFiles, KeyPair
from shoal.ca.issue import issue_peer, new_csr, peer_name
from shoal.ca.root import new_root
from shoal.model.objects import RootCA
from shoal.store.etcd_client import EtcdClient
from shoal.store.etcd_names import write_names
from shoal.store.etcd_process import EtcdOptions, EtcdProcess, run_etcd

ROOT = new_root(datetime.now(UTC))


def loopback() -> str:
    """A random loopback address, so that tests that run at the same time do not meet."""
    return "127.{}.{}.{}".format(*random.choices(range(2, 250), k=3))


def free_port(address: str) -> int:
    """A TCP port that nobody listens on at `address`."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def options(
    directory: Path, name: str, *, root: RootCA = ROOT, initial: str = "", force_new_cluster: bool = False
) -> EtcdOptions:
    """A fast member in `directory`, with an address of its own (the same one each time)."""
    files = CertificateFiles(directory / "certificates", "etcd-peer")
    saved = directory / "url"
    if not saved.exists():
        address = loopback()
        key, csr = new_csr()
        pem = issue_peer(
            root,
            csr,
            node_id=name,
            cluster_id="c",
            now=datetime.now(UTC),
            expiry=timedelta(days=1),
        )
        files.save(KeyPair(pem, key))
        files.save_root(root.certificate)
        saved.write_text(f"{address}:{free_port(address)}")
    address, _, port = saved.read_text().partition(":")
    write_all_names(directory.parent)
    url = f"https://{peer_name(name)}:{port}"
    return EtcdOptions(
        name=name, directory=directory, certificates=files, listen_url=f"https://{address}:{port}", peer_url=url,
        cluster_token="c",
        initial_cluster=f"{initial},{name}={url}" if initial else "", force_new_cluster=force_new_cluster, hasty=True,
    )  # fmt: skip


def write_all_names(parent: Path) -> None:
    """Each of the members side by side knows where all of them are."""
    saved = {url.parent: url.read_text().partition(":")[0] for url in parent.glob("*/url")}
    for directory in saved:
        write_names(directory, {peer_name(one.name): address for one, address in saved.items()})


def addresses_known(directory: Path) -> set[str]:
    """Where the etcd in `directory` looks for all members; nothing when it knows no names."""
    try:
        lines = (directory / "etc/hosts").read_text().splitlines()
    except FileNotFoundError:
        return set()
    return {line.split()[0] for line in lines}


def member(
    directory: Path, name: str = "m1", *, initial: str = "", force_new_cluster: bool = False
) -> AbstractAsyncContextManager[tuple[EtcdProcess, EtcdClient]]:
    """A running member."""
    directory.mkdir(exist_ok=True)
    return run_etcd(options(directory, name, initial=initial, force_new_cluster=force_new_cluster))
