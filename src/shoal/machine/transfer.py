"""export and import: access to a machine for somebody else, or the machine itself for another computer, as one file.

Access is the certificate of the authority, a client identity and an ssh key of its own, and where the machine is; with
it a machine can be used, not started or removed, and nobody else be given access. The whole machine is its record, all
its keys, the authority with its key, and its disks.

An archive names no path of the computer it was made on: there its store lies at `ROOT`.
"""

from __future__ import annotations

import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from msgspec.structs import replace

from shoal.machine import archive, certs, keys, ssh
from shoal.machine.archive import Source
from shoal.machine.arrivals import named_anew, settled
from shoal.machine.driver import SshEndpoint, State, Travels
from shoal.machine.errors import MachineError
from shoal.machine.host import Host, Say, attach, open_host
from shoal.machine.record import AuthOptions, HostOptions, Record, parse_record, render_record, valid_name
from shoal.machine.store import Store, rebase

ROOT = PurePosixPath("/exported")
_RECORDS = ("config.json", "config.json.bak")
_BOUND = {"local": "its programs are those of this computer"}
_DISK = 4 << 20
"""A file as long as this is a disk, which must not change while it is copied."""
_STALE = 24 * 3600.0
_ADD_KEY = (
    "umask 077; mkdir -p ~/.ssh && touch ~/.ssh/authorized_keys && "
    '{ [ -z "$(tail -c 1 ~/.ssh/authorized_keys)" ] || echo; cat; } >>~/.ssh/authorized_keys'
)


def export_access(store: Store, name: str, sink: IO[bytes], say: Say, now: datetime) -> None:
    """Write what gives access to a running machine. Raises MachineError, OSError."""
    host = open_host(store, name)
    auth = _auth(host.record)
    endpoint, url = host.driver.ssh(), urlsplit(host.driver.url())
    with tempfile.TemporaryDirectory(prefix="shoal-export-") as folder, store.lock():
        client = certs.Pair(Path(folder) / "cert.pem", Path(folder) / "key.pem")
        say("Creating client certificate...")
        authority = certs.Pair(Path(auth.ca_cert_path), Path(auth.ca_private_key_path))
        if not authority.key.is_file():
            raise MachineError(f"the key of the certificate authority is not here, so that nobody can be given access: "
                               f"{authority.key}")  # fmt: skip
        certs.ensure_client(client, authority, now)
        files = [
            Source("ca.pem", authority.certificate.read_bytes()),
            Source("cert.pem", client.certificate.read_bytes()),
            Source("key.pem", client.key.read_bytes()),
        ]
    say("Creating SSH key...")
    key_path = ""
    pair = keys.generate()
    try:
        _admit(endpoint, f"{pair.public.strip()} shoal-access-to-{name}-{now:%Y-%m-%d}\n")
    except MachineError as fault:
        say(f"Warning: no access by ssh: {fault}")
    else:
        key_path = str(ROOT / "machines" / name / "id_ed25519")
        files += [Source("id_ed25519", pair.private.encode()), Source("id_ed25519.pub", pair.public.encode())]
    if endpoint.known_hosts and ssh.pinned(endpoint):
        files.append(Source("known_hosts", endpoint.known_hosts.read_bytes()))
    address = url.hostname or ""
    if _is_loopback(address):
        say(f"Warning: {address} is reached from this computer only")
    elif _is_loopback(endpoint.host):
        # ssh went through a forwarded port of this computer; the machine's own sshd listens where the engine does.
        endpoint = endpoint._replace(port=22)
    driver = {
        "IPAddress": address, "EnginePort": url.port or 2376, "MachineName": name,
        "SSHUser": endpoint.user, "SSHPort": endpoint.port, "SSHKey": "", "SSHKeyPath": key_path,
        "StorePath": str(ROOT),
    }  # fmt: skip
    options = HostOptions(engine_options=host.record.host_options.engine_options, auth_options=_auth_below(name))
    record = Record(name=name, driver_name="generic", driver=driver, host_options=options)
    archive.write(sink, "access", name, now.isoformat(), [Source("config.json", render_record(record)), *files])


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _admit(endpoint: SshEndpoint, line: str) -> None:
    result = ssh.run(endpoint, _ADD_KEY, input=line.encode())
    if result.status:
        raise MachineError(result.trouble)


def export_whole(store: Store, name: str, sink: IO[bytes], say: Say, now: datetime) -> None:
    """Write the machine itself. It must be stopped when it has disks here. Raises MachineError, OSError."""
    with store.lock(name):
        host = open_host(store, name)
        if host.record.driver_name in _BOUND:
            raise MachineError(
                f'A machine of the driver "{host.record.driver_name}" cannot be moved: '
                f"{_BOUND[host.record.driver_name]}. --access exports access to it"
            )
        sources = {source.path: source for source in _contents(host, say)}
        disks = [path for path, source in sources.items() if _length(source) >= _DISK]
        if disks and host.driver.state() is not State.STOPPED:
            raise MachineError(f'Machine "{name}" must be stopped: its disks ({", ".join(disks)}) change while it runs')
        record = rebase(host.record, ROOT, name)
        if isinstance(host.driver, Travels):
            record = replace(record, driver=host.driver.leaving(record.driver))
        record = replace(record, host_options=replace(record.host_options, auth_options=_auth_below(name)))
        sources["config.json"] = Source("config.json", render_record(record))
        archive.write(sink, "whole", name, now.isoformat(), sources.values())


def _contents(host: Host, say: Say) -> Iterator[Source]:
    """The machine's files, and the certificates that its record names elsewhere."""
    auth = _auth(host.record)
    outside = {"ca.pem": auth.ca_cert_path, "ca-key.pem": auth.ca_private_key_path, "cert.pem": auth.client_cert_path,
               "key.pem": auth.client_key_path}  # fmt: skip
    for path, place in outside.items():
        if place and Path(place).is_file():
            yield Source(path, Path(place).read_bytes())
    for file in sorted(host.directory.rglob("*")):
        path = file.relative_to(host.directory).as_posix()
        mode = file.lstat().st_mode
        if stat.S_ISLNK(mode):
            say(f"Warning: {path} is a link, and left out")
        elif stat.S_ISREG(mode) and path not in _RECORDS and path not in outside:
            yield Source(path, file)


def _length(source: Source) -> int:
    return len(source.content) if isinstance(source.content, bytes) else source.content.stat().st_size


def _auth(record: Record) -> AuthOptions:
    if record.host_options.auth_options is None:
        raise MachineError(f"{record.name} has no AuthOptions in its config.json")
    return record.host_options.auth_options


def _auth_below(name: str) -> AuthOptions:
    """Certificates that all lie in the machine's own directory: an import touches nobody else's."""
    place = ROOT / "machines" / name
    return AuthOptions(
        cert_dir=str(place), store_path=str(place), ca_cert_path=str(place / "ca.pem"),
        ca_private_key_path=str(place / "ca-key.pem"), client_cert_path=str(place / "cert.pem"),
        client_key_path=str(place / "key.pem"), server_cert_path=str(place / "server.pem"),
        server_key_path=str(place / "server-key.pem"),
    )  # fmt: skip


def import_machine(store: Store, source: IO[bytes], name: str, say: Say) -> str:
    """Take a machine from an archive, as `name` unless that is empty; its name. Raises MachineError, OSError.

    Until everything is there and was checked the store has nothing of it.
    """
    store.machines.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(store)
    waiting = store.machines / f".import-{secrets.token_hex(6)}"
    waiting.mkdir(mode=0o700)
    try:
        manifest = archive.unpack(source, waiting)
        name = name or manifest.name
        if not valid_name(name):
            raise MachineError(f'Invalid hostname specified: "{name}". Allowed hostname chars are: 0-9a-zA-Z . -')
        record = _record(waiting, manifest.name)
        if record.driver_name in _BOUND:
            raise MachineError(f'a machine of the driver "{record.driver_name}" cannot be moved')
        moved = rebase(record, store.root, name)
        if manifest.name != name:
            named_anew(waiting, manifest.name, name)
        with store.lock(name):
            if store.exists(name):
                raise MachineError(f'Docker machine "{name}" already exists. Use --name to give it another name')
            settled_record = settled(moved, store.directory(name), say)
            driver = attach(store, settled_record).driver
            if isinstance(driver, Travels):
                settled_record = replace(settled_record, driver=driver.arrived(settled_record.driver))
            (waiting / "config.json").write_bytes(render_record(settled_record))
            waiting.rename(store.directory(name))
    finally:
        shutil.rmtree(waiting, ignore_errors=True)
    return name


def _sweep(store: Store) -> None:
    """Remove what imports left that were killed, a day ago at least: nobody works on these any more."""
    for left in store.machines.glob(".import-*"):
        with suppress(FileNotFoundError):  # another import's, which is done now
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)


def _record(directory: Path, name: str) -> Record:
    try:
        record = parse_record((directory / "config.json").read_bytes())
    except (OSError, ValueError) as fault:
        raise MachineError(f"its config.json cannot be read: {fault}") from fault
    return replace(record, name=name)
