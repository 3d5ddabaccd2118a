"""The machines' store: layout, records, locks."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.machine.errors import MachineError, NoSuchMachine
from shoal.machine.files import locked, unlink_lock, write_atomic
from shoal.machine.record import AuthOptions, HostOptions, Record, parse_record, render_record, valid_name
from shoal.machine.store import Store


def record(name: str = "m1", **driver: object) -> Record:
    return Record(name=name, driver_name="local", driver=driver)


def test_the_storage_path_is_chosen_as_docker_machine_does(tmp_path: Path) -> None:
    """The option beats MACHINE_STORAGE_PATH, which beats ~/.docker/machine."""
    environment = {"MACHINE_STORAGE_PATH": str(tmp_path / "b")}
    assert Store.default(environment, str(tmp_path / "a")).root == tmp_path / "a"
    assert Store.default(environment).root == tmp_path / "b"
    assert Store.default({}).root == Path.home() / ".docker/machine"


def test_a_record_is_kept_private_and_whole(tmp_path: Path) -> None:
    """What was saved is loaded again; config.json is 0600 in a 0700 directory, and no temporary file stays."""
    store = Store(tmp_path)
    store.save("m1", record(IPAddress="1.2.3.4"))
    assert store.load("m1") == record(IPAddress="1.2.3.4")
    directory = tmp_path / "machines/m1"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "config.json").stat().st_mode) == 0o600
    assert [path.name for path in directory.iterdir()] == ["config.json"]


def test_config_json_has_docker_machines_keys() -> None:
    """The keys that scripts read by template are there, spelled as docker-machine spells them."""
    config = json.loads(render_record(record(IPAddress="1.2.3.4", SSHUser="root")))
    assert config["ConfigVersion"] == 3
    assert config["DriverName"] == "local"
    assert config["Driver"]["IPAddress"] == "1.2.3.4"
    assert set(config["HostOptions"]) == {"Driver", "Memory", "Disk", "EngineOptions", "SwarmOptions", "AuthOptions"}
    assert {"TlsVerify", "InstallURL", "SelinuxEnabled", "InsecureRegistry"} <= set(
        config["HostOptions"]["EngineOptions"]
    )
    assert {"CaCertPath", "ServerCertSANs", "StorePath"} <= set(config["HostOptions"]["AuthOptions"])


def test_the_drivers_own_data_survives_a_rewrite() -> None:
    """What a driver that is unknown here wrote is kept as it is."""
    raw = {
        "ConfigVersion": 3,
        "DriverName": "virtualbox",
        "Driver": {"VBoxManager": {}, "CPU": 1, "Deep": [{"a": None}]},
    }
    assert json.loads(render_record(parse_record(json.dumps(raw).encode())))["Driver"]["VBoxManager"] == {}


def test_records_that_cannot_be_read_are_reported() -> None:
    """A record from the future, or one that is no JSON object, is an error with a reason."""
    with pytest.raises(ValueError, match="from the future"):
        parse_record(b'{"ConfigVersion": 9}')
    for text in (b"", b"[]", b"{", b'{"Driver": 1}'):
        with pytest.raises(ValueError):
            parse_record(text)


def test_every_visible_directory_is_a_machine(tmp_path: Path) -> None:
    """Directories are machines even when their record is missing; hidden ones and files are not."""
    store = Store(tmp_path)
    assert store.names() == []
    for name in ("b", "a", ".hidden"):
        (store.machines / name).mkdir(parents=True)
    (store.machines / "file").touch()
    assert store.names() == ["a", "b"]
    with pytest.raises(MachineError, match="no such file"):
        store.load("a")
    with pytest.raises(NoSuchMachine, match='Docker machine "c" does not exist'):
        store.load("c")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "..\\x", "C:", "C:x"])
def test_a_name_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    """No name reaches outside the machines' directory."""
    store = Store(tmp_path)
    store.machines.mkdir()
    (tmp_path / "a").mkdir()
    for place in ("C:", "C:x"):
        (store.machines / place).mkdir()
    assert not store.exists(name)


@pytest.mark.parametrize(
    ("name", "good"),
    [("myvm1", True), ("A.b-c", True), ("1", True), ("a_b", False), ("-a", False), (".a", False), ("", False),
     ("a" * 63, True), ("a" * 64, False), ("a b", False), ("a\n", False)],
)  # fmt: skip
def test_names(name: str, good: bool) -> None:
    """Names are letters, digits, `-` and `.`, first a letter or digit, short enough for a host name."""
    assert valid_name(name) is good


def test_a_moved_store_still_works(tmp_path: Path) -> None:
    """Paths of the place where a store was written become paths of the place where it is, also from Windows."""
    store = Store(tmp_path)
    auth = AuthOptions(cert_dir="/old/place/certs", ca_cert_path="/old/place/certs/ca.pem", client_key_path="/else/key")
    store.save("m1", replace(record(StorePath="/old/place", SSHKeyPath="/old/place/machines/m1/id"),
                             host_options=HostOptions(auth_options=auth)))  # fmt: skip
    loaded = store.load("m1")
    assert loaded.driver == {"StorePath": str(tmp_path), "SSHKeyPath": str(tmp_path / "machines/m1/id")}
    assert loaded.host_options.auth_options
    assert loaded.host_options.auth_options.ca_cert_path == str(tmp_path / "certs/ca.pem")
    assert loaded.host_options.auth_options.client_key_path == "/else/key"
    store.save(
        "w", record(StorePath="C:\\Users\\sam\\.docker", SSHKeyPath="C:\\Users\\sam\\.docker\\machines\\w\\id_rsa")
    )
    assert store.load("w").driver["SSHKeyPath"] == str(tmp_path / "machines/w/id_rsa")


def test_atomic_write_replaces_and_sets_the_mode(tmp_path: Path) -> None:
    """The new content is there with the wanted mode, whatever was there before."""
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o644)
    write_atomic(path, b"new", 0o600)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def _add(path: Path, lock: Path, times: int) -> None:
    for _ in range(times):
        with locked(lock):
            path.write_text(str(int(path.read_text()) + 1))
            unlink_lock(lock)


def test_a_lock_holds_even_when_its_file_is_removed(tmp_path: Path) -> None:
    """Processes that take turns with a lock that its holder removes never lose an update."""
    counter, lock = tmp_path / "counter", tmp_path / "locks" / "l"
    counter.write_text("0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(counter, lock, 100)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert counter.read_text() == "300"
