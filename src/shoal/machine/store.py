"""The store: where machines and certificates lie, in docker-machine's layout.

STORE/certs/{ca,cert}.pem, {ca-key,key}.pem     one authority and one client identity for all machines
STORE/machines/NAME/config.json                 the record; the directory's existence is the machine's existence
STORE/machines/NAME/config.json.bak             the record as an older docker-machine wrote it
STORE/machines/NAME/{ca,cert,key}.pem           what DOCKER_CERT_PATH points to
STORE/machines/NAME/server{,-key}.pem           the machine's own identity
STORE/machines/NAME/id_ed25519{,.pub}           the key for ssh; known_hosts beside it pins the machine's key
STORE/locks/                                    lock files: one for the store, one per machine
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from msgspec.structs import replace

from shoal.machine.errors import MachineError, NoSuchMachine
from shoal.machine.files import locked, unlink_lock, write_atomic
from shoal.machine.migrate import is_old, recorded_root
from shoal.machine.record import Record, parse_record, render_record


class Store:
    """The machines below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.certs = self.root / "certs"
        self.machines = self.root / "machines"

    @classmethod
    def default(cls, environment: Mapping[str, str], chosen: str | None = None) -> Store:
        """The store that `chosen`, else MACHINE_STORAGE_PATH, names; else ~/.docker/machine."""
        return cls(Path(location(environment, chosen, windows=os.name == "nt") or Path.home() / ".docker" / "machine"))

    def directory(self, name: str) -> Path:
        """Where the machine `name` lies, whether it exists or not."""
        return self.machines / name

    def names(self) -> list[str]:
        """All machines, in lexical order: every directory that is not hidden, even one with a broken record."""
        try:
            entries = sorted(entry.name for entry in self.machines.iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []
        return [name for name in entries if not name.startswith(".")]

    def exists(self, name: str) -> bool:
        """Whether there is a machine `name`."""
        # A colon: on Windows `C:` is a place of its own, wherever it is joined to.
        return name not in ("", ".", "..") and not set(name) & set("/\\:") and self.directory(name).is_dir()

    def load(self, name: str) -> Record:
        """The record of `name`. Raises NoSuchMachine, or MachineError when its config.json cannot be read."""
        if not self.exists(name):
            raise NoSuchMachine(name)
        path = self.directory(name) / "config.json"
        try:
            record = parse_record(path.read_bytes())
        except FileNotFoundError as fault:
            raise MachineError(f"open {path}: no such file or directory") from fault
        except (OSError, ValueError) as fault:
            raise MachineError(f"Error loading host {name}: {fault}") from fault
        return rebase(record, self.root, name)

    def neighbours(self, name: str) -> list[Mapping[str, Any]]:
        """What the drivers of the machines other than `name` remember, as far as it can be read."""
        found: list[Mapping[str, Any]] = []
        for other in self.names():
            if other != name:
                with suppress(MachineError):
                    found.append(self.load(other).driver)
        return found

    def save(self, name: str, record: Record) -> None:
        """Write the record of `name`; its directory is made with mode 0700 when it is new.

        A record of an older version is kept as config.json.bak the first time.
        """
        directory = self.directory(name)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._keep_old(directory)
        write_atomic(directory / "config.json", render_record(record), 0o600)

    def _keep_old(self, directory: Path) -> None:
        kept = directory / "config.json.bak"
        with suppress(FileNotFoundError):
            data = (directory / "config.json").read_bytes()
            if is_old(data) and not kept.exists():
                write_atomic(kept, data, 0o600)

    def delete(self, name: str) -> None:
        """Remove the machine's directory. Deleting what is not there is no error."""
        if self.exists(name):
            shutil.rmtree(self.directory(name))

    @contextmanager
    def lock(self, name: str | None = None) -> Iterator[None]:
        """Hold the lock of machine `name`, or of the whole store: certificates. A machine's goes with the machine."""
        path = self._lock_path(name)
        with locked(path):
            try:
                yield
            finally:
                if name and not self.exists(name):
                    unlink_lock(path)

    def _lock_path(self, name: str | None) -> Path:
        return self.root / "locks" / (f"machine-{name}" if name else "store")


def location(environment: Mapping[str, str], chosen: str | None, *, windows: bool) -> str:
    """Where the store lies: `chosen`, else MACHINE_STORAGE_PATH, else .docker/machine in the user's home.

    Empty when the environment tells no home.
    """
    path = chosen or environment.get("MACHINE_STORAGE_PATH")
    if path:
        return path
    home = environment.get("USERPROFILE" if windows else "HOME", "")
    flavour = PureWindowsPath if windows else PurePosixPath
    return str(flavour(home) / ".docker" / "machine") if home else ""


def rebase(record: Record, root: PurePath, name: str) -> Record:
    """`record` with the paths of the store in which it was written replaced by this one's, and the directory's name.

    docker-machine writes absolute paths, so that a store that was moved or copied would not work.
    """
    auth = record.host_options.auth_options
    old = recorded_root(record.driver, {"CertDir": auth.cert_dir, "CaCertPath": auth.ca_cert_path,
                                        "StorePath": auth.store_path} if auth else {})  # fmt: skip
    old_name = record.name or name
    record = replace(record, name=name)
    if not old or (old == str(root) and old_name == name):
        return record

    def moved(value: Any) -> Any:
        inner = below(value, old) if isinstance(value, str) else None
        if inner is None:
            return value
        if inner[:2] == ("machines", old_name):
            inner = ("machines", name, *inner[2:])
        return str(root.joinpath(*inner))

    driver = {key: moved(value) for key, value in record.driver.items()}
    if auth:
        auth = replace(auth, **{field: moved(getattr(auth, field)) for field in auth.__struct_fields__})
    return replace(record, driver=driver, host_options=replace(record.host_options, auth_options=auth))


def below(path: str, directory: str) -> tuple[str, ...] | None:
    """The parts of `path` below `directory`, both of any system; None when it lies elsewhere. A drive has any case."""
    head, rest = path[: len(directory)], path[len(directory) :]
    same = head.lower() == directory.lower() if directory[1:2] == ":" else head == directory
    if not same or (rest and rest[0] not in "/\\"):
        return None
    return tuple(part for part in rest.replace("\\", "/").split("/") if part)
