"""What an engine is installed with: certificates, flags, environment. Pure but for the certificates it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from shoal.machine import certs
from shoal.machine.driver import EngineSetup, Prepare
from shoal.machine.errors import MachineError
from shoal.machine.files import write_atomic
from shoal.machine.record import AuthOptions, EngineOptions, Record
from shoal.machine.store import Store

REMOTE = "/etc/shoal/tls"
"""Where certificates lie on a machine: not in /etc/docker, which may be another engine's."""

_DROPPED = ("aufs", "overlay")
"""Storage drivers of old that no engine has any more: accepted, without effect."""

_OWN_FILES = frozenset(
    ("ca.pem", "ca-key.pem", "cert.pem", "key.pem", "server.pem", "server-key.pem", "config.json", "config.json.bak",
     "known_hosts", "host_key")
)  # fmt: skip
"""What the files are called that Shoal itself writes into a machine's directory."""


def engine_arguments(options: EngineOptions, driver: str, port: int = 2376) -> list[str]:
    """The engine's flags. A flag of `--engine-opt` is `name=value` or `name`; its `--` is put before it."""
    arguments = ["-H", "unix:///var/run/docker.sock", "-H", f"tcp://0.0.0.0:{port}", "--tlsverify",
                 "--tlscacert", f"{REMOTE}/ca.pem", "--tlscert", f"{REMOTE}/server.pem",
                 "--tlskey", f"{REMOTE}/server-key.pem"]  # fmt: skip
    for label in (*options.labels, f"provider={driver}"):
        arguments += ["--label", label]
    for registry in options.insecure_registry:
        arguments += ["--insecure-registry", registry]
    for mirror in options.registry_mirror:
        arguments += ["--registry-mirror", mirror]
    if options.storage_driver and options.storage_driver not in _DROPPED:
        arguments += ["--storage-driver", options.storage_driver]
    arguments += [flag if flag.startswith("-") else f"--{flag}" for flag in options.arbitrary_flags]
    return arguments


def for_shoald(options: EngineOptions) -> EngineOptions:
    """Without what shoald does not know and would not start with: it has one storage driver.

    Another engine (`--local-engine`) gets it.
    """
    return replace(options, storage_driver="")


def engine_port(record: Record) -> int:
    """Where the machine's engine is to listen: 2376, unless its driver has an EnginePort."""
    port = record.driver.get("EnginePort")
    return port if isinstance(port, int) and port else 2376


def engine_environment(options: EngineOptions) -> dict[str, str]:
    """The engine's own environment (`--engine-env NAME=VALUE`). Raises MachineError."""
    environment = {}
    for entry in options.env:
        name, equals, value = entry.partition("=")
        if not name or not equals:
            raise MachineError(f'invalid --engine-env "{entry}": want NAME=VALUE')
        environment[name] = value
    return environment


def server_pair(auth: AuthOptions) -> certs.Pair:
    """Where the machine's own identity lies."""
    return certs.Pair(Path(auth.server_cert_path), Path(auth.server_key_path))


def authority_pair(auth: AuthOptions) -> certs.Pair:
    """Where the authority lies that signs it."""
    return certs.Pair(Path(auth.ca_cert_path), Path(auth.ca_private_key_path))


def has_authority(auth: AuthOptions) -> bool:
    """Whether certificates can be made here: a store that was given by a colleague has no authority's key."""
    return Path(auth.ca_private_key_path).is_file()


def replace_identities(auth: AuthOptions, now: datetime) -> Mapping[str, Path]:
    """A new authority and a new client identity, whatever there was; what was made, by its name.

    Machines that were not told of them go on with the old ones, of which their directories have copies.
    """
    certs.replace_authority(authority_pair(auth), now)
    client = certs.Pair(Path(auth.client_cert_path), Path(auth.client_key_path))
    certs.ensure_client(client, authority_pair(auth), now, fresh=True)
    return {"CA": Path(auth.ca_cert_path), "client certificate": Path(auth.client_cert_path)}


def ensure_identities(auth: AuthOptions, now: datetime) -> Mapping[str, Path]:
    """Make the authority and the client identity where they are missing or expire; what was made, by its name."""
    made = {}
    if certs.ensure_authority(authority_pair(auth), now):
        made["CA"] = Path(auth.ca_cert_path)
    client = certs.Pair(Path(auth.client_cert_path), Path(auth.client_key_path))
    if certs.ensure_client(client, authority_pair(auth), now):
        made["client certificate"] = Path(auth.client_cert_path)
    return made


def place_of_key(directory: Path, source: Path) -> Path:
    """Where a machine's directory has the copy of the user's ssh key: by its name, unless a file of ours has that."""
    # In any case of letters: not every file system tells them apart.
    taken = source.name.lower() in _OWN_FILES
    return directory / (f"id_{source.name}" if taken else source.name)


def _shared(auth: AuthOptions) -> AbstractContextManager[None]:
    """The lock of the machine's store, under which the authority and the client's identity are replaced.

    It is not re-entrant: nobody may hold it who asks a `Prepare`.
    """
    return Store(Path(auth.store_path).parent.parent).lock()


def copy_client_identity(auth: AuthOptions) -> None:
    """Put the authority's certificate and the client's pair into the machine's directory (DOCKER_CERT_PATH)."""
    with _shared(auth):
        _copy_client_identity(auth)


def _copy_client_identity(auth: AuthOptions) -> None:
    sources = {"ca.pem": (auth.ca_cert_path, 0o644), "cert.pem": (auth.client_cert_path, 0o644),
               "key.pem": (auth.client_key_path, 0o600)}  # fmt: skip
    for name, (source, mode) in sources.items():
        write_atomic(Path(auth.store_path) / name, Path(source).read_bytes(), mode)


def is_current(auth: AuthOptions) -> bool:
    """Whether the machine's directory has the authority and the client identity that the store has now."""
    pairs = (("ca.pem", auth.ca_cert_path), ("cert.pem", auth.client_cert_path), ("key.pem", auth.client_key_path))
    try:
        return all((Path(auth.store_path) / name).read_bytes() == Path(path).read_bytes() for name, path in pairs)
    except FileNotFoundError:
        return False


def preparation(
    record: Record, now: datetime, say: Callable[[str], None] = lambda line: None, *, fresh: bool = False
) -> Prepare:
    """What a driver asks once it knows the machine's address: a certificate that fits it, and the engine's flags.

    A certificate that covers the address and has time left is kept, unless `fresh`. `say` hears what is done. Raises
    MachineError here, and there when the certificate cannot be made.
    """
    auth, options = record.host_options.auth_options, record.host_options.engine_options
    if auth is None:
        raise MachineError(f"{record.name} has no AuthOptions in its config.json")

    def prepare(address: str) -> EngineSetup:
        pair, authority = server_pair(auth), authority_pair(auth)
        names = certs.server_names(record.name, address, auth.server_cert_sans or [])
        say("Copying certs to the local machine directory...")
        with _shared(auth):
            _copy_client_identity(auth)
            if fresh or not certs.is_fit(pair, authority, names, now):
                certs.issue_server(pair, authority, record.name, names, now)
            files = {
                f"{REMOTE}/ca.pem": (0o644, Path(auth.ca_cert_path).read_bytes()),
                f"{REMOTE}/server.pem": (0o644, pair.certificate.read_bytes()),
                f"{REMOTE}/server-key.pem": (0o600, pair.key.read_bytes()),
            }
        say("Copying certs to the remote machine...")
        say("Setting Docker configuration on the remote daemon...")
        taken = options if record.driver.get("Engine") else for_shoald(options)
        arguments = engine_arguments(taken, record.driver_name, engine_port(record))
        return EngineSetup(files, arguments, engine_environment(options), options.install_url)

    return prepare
