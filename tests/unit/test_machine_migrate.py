"""docker-machine's own stores: every version of config.json, moved and foreign paths, drivers that are gone, its keys."""

from __future__ import annotations

import base64
import ipaddress
import json
import shutil
import socketserver
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec.structs import replace

from shoal.cli.machine import main
from shoal.machine import certs, probe, ssh, table
from shoal.machine.driver import EngineSetup
from shoal.machine.errors import MachineError
from shoal.machine.host import open_host
from shoal.machine.migrate import is_old, migrated, recorded_root
from shoal.machine.record import Record, parse_record
from shoal.machine.store import Store, below, location
from tests.machine_fake import _Power as Power

LINUX, WINDOWS = "/home/sam/.docker/machine", "C:\\Users\\sam\\.docker\\machine"

DRIVER = {"IPAddress": "192.168.99.100", "MachineName": "old", "SSHUser": "docker", "SSHPort": 22, "CPU": 1,
          "VBoxManager": {}, "Nothing": None}  # fmt: skip

V0 = {
    "DriverName": "nosuch", "Driver": DRIVER, "StorePath": f"{LINUX}/machines/old", "CaCertPath": f"{LINUX}/certs/ca.pem",
    "PrivateKeyPath": f"{LINUX}/certs/ca-key.pem", "ServerCertPath": f"{LINUX}/machines/old/server.pem",
    "ServerKeyPath": f"{LINUX}/machines/old/server-key.pem", "ClientCertPath": f"{LINUX}/certs/cert.pem",
    "ClientKeyPath": f"{LINUX}/certs/key.pem", "SwarmHost": "tcp://0.0.0.0:3376", "SwarmMaster": True,
    "SwarmDiscovery": "token://1",
}  # fmt: skip

V1 = {
    "ConfigVersion": 1, "DriverName": "nosuch", "Driver": DRIVER, "StorePath": f"{LINUX}/machines/old",
    "HostOptions": {
        "Driver": "", "Memory": 0, "EngineOptions": {"Dns": None, "Labels": ["a=b"], "StorageDriver": "aufs"},
        "SwarmOptions": {"IsSwarm": False, "Discovery": "token://1", "Master": True, "Host": "tcp://0.0.0.0:3376"},
        "AuthOptions": {"StorePath": f"{LINUX}/machines/old", "CaCertPath": f"{LINUX}/certs/ca.pem",
                        "PrivateKeyPath": f"{LINUX}/certs/ca-key.pem", "ClientKeyPath": f"{LINUX}/certs/key.pem",
                        "ClientCertPath": f"{LINUX}/certs/cert.pem"},
    },
}  # fmt: skip

V2 = {
    "ConfigVersion": 2, "DriverName": "nosuch", "Driver": DRIVER,
    "HostOptions": {
        "SwarmOptions": {"Discovery": "token://1", "Master": True, "Host": "tcp://0.0.0.0:3376"},
        "AuthOptions": {"CertDir": f"{LINUX}/certs", "CaCertPath": f"{LINUX}/certs/ca.pem",
                        "CaPrivateKeyPath": f"{LINUX}/certs/ca-key.pem", "ClientKeyPath": f"{LINUX}/certs/key.pem",
                        "ClientCertPath": f"{LINUX}/certs/cert.pem", "StorePath": f"{LINUX}/machines/old"},
    },
}  # fmt: skip

V3 = {**V2, "ConfigVersion": 3, "Driver": {**DRIVER, "StorePath": LINUX, "SSHKeyPath": f"{LINUX}/machines/old/id_rsa"}}

RAW = {**V3, "Driver": {"RPCServerDriver": None},
       "RawDriver": base64.b64encode(json.dumps(V3["Driver"]).encode()).decode()}  # fmt: skip

WINDOWS_V3 = json.loads(json.dumps(V3).replace(LINUX, WINDOWS.replace("\\", "\\\\")).replace("/certs", "\\\\certs")
                        .replace("/machines/", "\\\\machines\\\\").replace("/id_rsa", "\\\\id_rsa")
                        .replace("/ca", "\\\\ca").replace("/key", "\\\\key").replace("/cert.", "\\\\cert."))  # fmt: skip

ALL = {"0": V0, "1": V1, "2": V2, "3": V3, "3 with RawDriver": RAW, "3 of Windows": WINDOWS_V3}


def put(store: Store, config: Any, name: str = "old") -> Path:
    directory = store.directory(name)
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("version", ALL)
def test_every_version_is_read(version: str, tmp_path: Path) -> None:
    """Machines of every docker-machine come out alike, with the paths of the place where the store is now."""
    store = Store(tmp_path)
    put(store, ALL[version])
    record = store.load("old")
    auth, swarm = record.host_options.auth_options, record.host_options.swarm_options
    assert auth
    assert swarm
    assert (auth.cert_dir, auth.ca_cert_path) == (str(tmp_path / "certs"), str(tmp_path / "certs/ca.pem"))
    assert (auth.ca_private_key_path, auth.client_key_path) == (
        str(tmp_path / "certs/ca-key.pem"),
        str(tmp_path / "certs/key.pem"),
    )
    assert auth.store_path == str(tmp_path / "machines/old")
    assert (swarm.master, swarm.discovery) == (True, "token://1")
    expected = {**DRIVER, "StorePath": str(tmp_path)}
    assert {key: record.driver.get(key) for key in expected} == expected
    endpoint = open_host(store, "old").driver.ssh()
    assert (endpoint.host, endpoint.port, endpoint.user) == ("192.168.99.100", 22, "docker")


@pytest.mark.parametrize("version", ALL)
def test_an_older_record_is_kept_when_it_is_rewritten(version: str, tmp_path: Path) -> None:
    """Reading writes nothing; the first rewriting of an older record keeps it as config.json.bak, the next leaves that."""
    store = Store(tmp_path)
    directory = put(store, ALL[version])
    before = (directory / "config.json").read_bytes()
    record = store.load("old")
    assert (directory / "config.json").read_bytes() == before
    store.save("old", record)
    store.save("old", record)
    old = version not in ("3", "3 of Windows")
    assert is_old(before) is old
    assert (directory / "config.json.bak").exists() is old
    if old:
        assert (directory / "config.json.bak").read_bytes() == before
    assert store.load("old") == record


def test_an_unknown_drivers_data_is_left_alone(tmp_path: Path) -> None:
    """What a driver wrote that is not here survives a rewriting, nulls and unknown keys too."""
    store = Store(tmp_path)
    deep = {"Deep": [{"a": None}], "Text": "x", **DRIVER}
    put(store, {**V3, "Driver": deep})
    store.save("old", store.load("old"))
    assert json.loads((tmp_path / "machines/old/config.json").read_text())["Driver"] == deep


@pytest.mark.parametrize(
    "config",
    [{"ConfigVersion": 4}, {"ConfigVersion": "3"}, {"RawDriver": "%"}, {"Driver": []}, {"HostOptions": []},
     {"HostOptions": {"AuthOptions": 1}}],
)  # fmt: skip
def test_what_is_no_record_is_refused(config: Any) -> None:
    """What cannot be understood is an error, not half a machine."""
    with pytest.raises(ValueError):
        parse_record(json.dumps(config).encode())
    with pytest.raises((ValueError, TypeError)):
        parse_record(json.dumps({**config, "ConfigVersion": 9}).encode())


@pytest.mark.parametrize(
    ("driver", "auth", "root"),
    [({"StorePath": "/s"}, {}, "/s"), ({"StorePath": "/s/machines/m"}, {}, "/s"), ({}, {"CertDir": "/s/certs"}, "/s"),
     ({}, {"StorePath": "C:\\s\\machines\\m"}, "C:\\s"), ({}, {"CaCertPath": "/s/certs/ca.pem"}, "/s"), ({}, {}, ""),
     ({}, {"CertDir": "/elsewhere"}, "")],
)  # fmt: skip
def test_the_store_is_found_in_the_record(driver: Any, auth: Any, root: str) -> None:
    """Whatever the version told of the store's place is enough."""
    assert recorded_root(driver, auth) == root
    assert migrated({"Driver": driver})["ConfigVersion"] == 3


@pytest.mark.parametrize(
    ("path", "directory", "parts"),
    [("/s/a/b", "/s", ("a", "b")), ("/s", "/s", ()), ("/sx/a", "/s", None), ("C:\\S\\a", "c:\\s", ("a",)),
     ("/S/a", "/s", None), ("C:\\s\\a/b", "C:\\s", ("a", "b"))],
)  # fmt: skip
def test_paths_below(path: str, directory: str, parts: tuple[str, ...] | None) -> None:
    """Separators of both kinds count; a drive's paths have any case."""
    assert below(path, directory) == parts


@pytest.mark.parametrize(
    ("environment", "chosen", "windows", "place"),
    [({"HOME": "/home/sam", "USERPROFILE": "no"}, None, False, "/home/sam/.docker/machine"),
     ({"USERPROFILE": "C:\\Users\\sam", "HOME": "/c/x"}, None, True, "C:\\Users\\sam\\.docker\\machine"),
     ({"MACHINE_STORAGE_PATH": "D:\\m"}, None, True, "D:\\m"), ({"MACHINE_STORAGE_PATH": "/m"}, "/c", False, "/c"),
     ({}, None, True, "")],
)  # fmt: skip
def test_where_the_store_lies(environment: dict[str, str], chosen: str | None, windows: bool, place: str) -> None:
    """--storage-path, MACHINE_STORAGE_PATH, else the user's home; on Windows %USERPROFILE%."""
    assert location(environment, chosen, windows=windows) == place


# --- using such a machine ----------------------------------------------------------------------------------------------


def make_authority(folder: Path, now: datetime) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """A certificate authority as docker-machine made it: RSA, PKCS#1, an organisation and nothing else for a name."""
    key = rsa.generate_private_key(65537, 2048)
    certificate = sign(key, None, "sam", key, now, ca=True)
    write(folder / "ca.pem", certificate)
    write(folder / "ca-key.pem", key)
    return key, certificate


def sign(
    key: rsa.RSAPrivateKey, issuer: x509.Certificate | None, owner: str, signer: rsa.RSAPrivateKey, now: datetime, *,
    ca: bool = False, names: list[x509.GeneralName] | None = None,
) -> x509.Certificate:  # fmt: skip
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, owner)])
    builder = x509.CertificateBuilder(issuer.subject if issuer else subject, subject, key.public_key(), x509.random_serial_number(),
                                      now - timedelta(minutes=5), now + timedelta(days=1080))  # fmt: skip
    usage = x509.KeyUsage(True, False, not ca or True, False, True, ca, False, False, False)
    builder = builder.add_extension(usage, True).add_extension(x509.BasicConstraints(ca, None), True)
    if names is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    elif not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    return builder.sign(signer, hashes.SHA256())


def write(path: Path, what: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, x509.Certificate):
        path.write_bytes(what.public_bytes(serialization.Encoding.PEM))
        return
    path.write_bytes(
        what.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)


@pytest.fixture
def old_machine(tmp_path: Path) -> Iterator[Store]:
    """A store as docker-machine left it, with a machine of a driver that is gone; an engine and an sshd answer there."""
    store, now = Store(tmp_path / "store"), datetime.now(UTC)
    directory = put(store, {**V3, "DriverName": "parallels"})
    signer, authority = make_authority(store.certs, now)
    for name, owner, names in (
        ("certs/cert", "sam.<bootstrap>", None),
        (
            "machines/old/server",
            "sam.old",
            [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")],
        ),
    ):
        key = rsa.generate_private_key(65537, 2048)
        write(store.root / f"{name}.pem", sign(key, authority, owner, signer, now, names=names))
        write(store.root / ("certs/key.pem" if names is None else f"{name}-key.pem"), key)
    write(directory / "id_rsa", rsa.generate_private_key(65537, 2048))
    for file in ("ca.pem", "cert.pem", "key.pem"):
        shutil.copy(store.certs / file, directory / file)
    files = {f"/etc/shoal/tls/{file}": (0o600, ((store.certs if file == "ca.pem" else directory) / file).read_bytes())
             for file in ("ca.pem", "server.pem", "server-key.pem")}  # fmt: skip
    power = Power(EngineSetup(files, [], {}))
    config = json.loads((directory / "config.json").read_text())
    config["Driver"].update(IPAddress="127.0.0.1", SSHPort=power.sshd.server_address[1],
                            EnginePort=power.engine.server_address[1])  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    yield store
    power.off()


def test_a_machine_whose_driver_is_gone_can_be_used(
    old_machine: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ls, ip, url, inspect, status, version and env work with docker-machine's certificates; start and rm say why not."""
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(old_machine.root))
    port = json.loads((old_machine.root / "machines/old/config.json").read_text())["Driver"]["EnginePort"]
    url = f"tcp://127.0.0.1:{port}"
    monkeypatch.setenv("DOCKER_HOST", url)
    expected = {
        "ip": "127.0.0.1\n", "url": f"{url}\n", "status": "Running\n", "version": "9.9.9\n", "active": "old\n",
    }  # fmt: skip
    for command, output in expected.items():
        assert main([command, *(["old"] if command != "active" else [])], "docker-machine") == 0
        assert capsys.readouterr().out == output
    assert main(["env", "--shell", "sh", "old"], "docker-machine") == 0
    assert f'export DOCKER_HOST="{url}"' in capsys.readouterr().out
    assert main(["inspect", "-f", "{{.Driver.IPAddress}} {{.DriverName}}", "old"], "docker-machine") == 0
    assert capsys.readouterr().out == "127.0.0.1 parallels\n"
    assert main(["ls"], "docker-machine") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "old",
        "*",
        "parallels",
        "Running",
        url,
        "old",
        "(master)",
        "v9.9.9",
    ]
    for command in ("start", "stop", "kill", "restart"):
        main([command, "old"], "docker-machine")
    assert 'Driver "parallels" not found' in capsys.readouterr().err
    assert main(["rm", "-y", "old"], "docker-machine") == 1
    assert old_machine.exists("old")
    assert main(["rm", "-f", "old"], "docker-machine") == 1
    assert not old_machine.exists("old")


def test_its_ssh_key_is_used(old_machine: Store) -> None:
    """ssh gets the recorded user, port and RSA key, and pins the machine's key at first contact."""
    endpoint = open_host(old_machine, "old").driver.ssh()
    assert endpoint.key == old_machine.root / "machines/old/id_rsa"
    ssh.check_key(endpoint)
    assert ssh.options(endpoint)["StrictHostKeyChecking"] == "accept-new"


def test_its_authority_signs_new_certificates(old_machine: Store, tmp_path: Path) -> None:
    """docker-machine's RSA authority issues certificates that are good for its machines."""
    authority = certs.Pair(old_machine.certs / "ca.pem", old_machine.certs / "ca-key.pem")
    pair, now = certs.Pair(tmp_path / "s.pem", tmp_path / "k.pem"), datetime.now(UTC)
    certs.issue_server(pair, authority, "old", ["127.0.0.1", "old"], now)
    assert certs.is_fit(pair, authority, ["old"], now)
    client = certs.Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    certs.ensure_client(client, authority, now)
    shutil.copy(authority.certificate, tmp_path / "ca.pem")
    assert probe.version(open_host(old_machine, "old").driver.url(), "old", tmp_path) == "9.9.9"


COMMON = {"MachineName": "x", "SSHUser": "docker", "SSHPort": 22, "SSHKeyPath": f"{LINUX}/machines/x/id_rsa", "StorePath": LINUX,
          "SwarmMaster": False, "SwarmHost": "tcp://0.0.0.0:3376", "SwarmDiscovery": "", "IPAddress": "192.0.2.1"}  # fmt: skip
KNOWN = {
    "virtualbox": {"CPU": 1, "Memory": 1024, "DiskSize": 20000, "NatNicType": "82540EM", "Boot2DockerURL": "",
                   "Boot2DockerImportVM": "", "HostDNSResolver": False, "HostOnlyCIDR": "192.168.99.1/24",
                   "HostOnlyNicType": "82540EM", "HostOnlyPromiscMode": "deny", "UIType": "headless", "HostOnlyNoDHCP": False,
                   "NoShare": False, "DNSProxy": True, "NoVTXCheck": False, "ShareFolder": "", "VBoxManager": {},
                   "HostInterfaces": {}, "SSHPort": 54321},
    "hyperv": {"Boot2DockerURL": "", "VSwitch": "sw", "DiskSize": 20000, "MemSize": 1024, "CPU": 1, "MacAddr": "", "VLanID": 0,
               "DisableDynamicMemory": False},
    "generic": {"EnginePort": 2376, "SSHKey": "/home/sam/.ssh/id_rsa"}, "none": {"URL": "tcp://192.0.2.1:2376"},
    "amazonec2": {"Id": "x", "AccessKey": "a", "SecretKey": "b", "Region": "us-east-1", "AMI": "ami-1", "InstanceId": "i-1",
                  "InstanceType": "t2.micro", "SecurityGroupIds": ["sg"], "Zone": "a", "VpcId": "v"},
    "digitalocean": {"AccessToken": "t", "DropletID": 1, "Image": "ubuntu-16-04-x64", "Region": "nyc3", "Size": "s-1"},
    "google": {"Zone": "us-central1-a", "MachineType": "f1-micro", "Project": "p"}, "azure": {"SubscriptionID": "s"},
    "openstack": {"AuthUrl": "http://192.0.2.2", "Username": "u", "MachineId": "m"}, "rackspace": {"Username": "u"},
    "exoscale": {"URL": "https://192.0.2.3", "APIKey": "k", "ID": "1"}, "softlayer": {"Id": 1},
    "vmwarevsphere": {"IP": "192.0.2.4"}, "vmwarefusion": {"CPU": 1}, "vmwarevcloudair": {"Catalog": "c"},
}  # fmt: skip


@pytest.mark.parametrize("driver", KNOWN)
def test_every_driver_of_docker_machine_is_taken_over(driver: str, tmp_path: Path) -> None:
    """Records of each driver that docker-machine had load, with the driver of that name here or without, and keep their data."""
    store = Store(tmp_path)
    directory = put(store, {**V3, "DriverName": driver, "Driver": {**COMMON, **KNOWN[driver]}}, "x")
    before = (directory / "config.json").read_bytes()
    host = open_host(store, "x")
    if driver not in ("virtualbox", "hyperv"):
        assert host.driver.data["IPAddress"] == "192.0.2.1"
    assert {key: host.driver.data[key] for key in KNOWN[driver]} == KNOWN[driver]
    assert host.driver.data["SSHKeyPath"] == str(directory / "id_rsa")
    assert (directory / "config.json").read_bytes() == before


def test_a_dead_one_is_stopped(tmp_path: Path) -> None:
    """A machine of a driver that is gone counts as stopped when neither its sshd nor its engine is there."""
    store = Store(tmp_path)
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as closed:
        port = closed.server_address[1]
    put(store, {**V3, "Driver": {"IPAddress": "127.0.0.1", "SSHPort": port, "EnginePort": port}})
    assert open_host(store, "old").driver.state() == "Stopped"
    put(store, {**V3, "Driver": {}}, "none")
    with pytest.raises(MachineError, match='Driver "nosuch" not found'):
        open_host(store, "none").driver.state()


def test_rows_of_classic_swarm() -> None:
    """SWARM names the master of the same discovery address; the star is for the manager when DOCKER_HOST points to it."""
    record = parse_record(json.dumps(V2).encode())
    swarm = record.host_options.swarm_options
    assert swarm
    member = replace(record, host_options=replace(record.host_options, swarm_options=replace(swarm, master=False)))
    rows = [table.Row("m", state="Running", url="tcp://1.1.1.1:2376", active=False, record=record),
            table.Row("n", state="Running", url="tcp://1.1.1.2:2376", active=True, record=member),
            table.Row("o", state="Running", active=False, record=Record())]  # fmt: skip
    shown = table.with_swarms(rows, {"DOCKER_HOST": "tcp://1.1.1.1:3376"})
    assert [(row.swarm, row.mark) for row in shown] == [("m (master)", "* (swarm)"), ("m", "*"), ("", "-")]
    wanted = table.parse_filters(["swarm=M"])
    assert [row.name for row in shown if table.matches(row, wanted)] == ["m", "n"]
