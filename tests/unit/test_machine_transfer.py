"""One file that gives access to a machine, or moves it: what goes in, what is taken out, what is refused."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shoal.cli.machine import main
from shoal.machine import archive, sealed, transfer
from shoal.machine.archive import Entry, Manifest
from shoal.machine.arrivals import settled
from shoal.machine.driver import driver_class
from shoal.machine.errors import MachineError
from shoal.machine.host import open_host
from shoal.machine.record import Record
from shoal.machine.store import Store
from tests.machine_fake import FakeDriver
from tests.machine_suite import Yard

NOW = datetime.now(UTC)


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A store with the stopped machine m1, which has a disk with holes, a socket and a key."""
    made = Yard(Store(tmp_path / "old"), "fake", {})
    directory = made.create("m1").directory
    FakeDriver.running.pop(directory).off()
    (directory / "disks").mkdir()
    with (directory / "disks/data.raw").open("wb") as disk:
        disk.truncate(64 << 20)
        disk.seek(20 << 20)
        disk.write(b"kept" * 1000)
    (directory / "id_ed25519").write_text("private")
    (directory / "known_hosts").write_text("m1 ssh-ed25519 AAAA\nother ssh-ed25519 BBBB\n")
    os.mkfifo(directory / "pipe")
    (directory / "link").symlink_to("/etc/passwd")
    yield made
    for folder in list(FakeDriver.running):
        if folder.is_relative_to(tmp_path):
            FakeDriver.running.pop(folder).off()


def whole(yard: Yard) -> bytes:
    sink = io.BytesIO()
    transfer.export_whole(yard.store, "m1", sink, yard.said.append, NOW)
    return sink.getvalue()


def test_a_whole_machine_moves(yard: Yard, tmp_path: Path) -> None:
    """Record, keys, authority and disk arrive; paths are those of the new store; nothing of the old one is named."""
    data = whole(yard)
    assert str(tmp_path).encode() not in gzip.decompress(data)
    assert len(data) < 1 << 20, "the holes of a disk are not in the file"
    store = Store(tmp_path / "new")
    assert transfer.import_machine(store, io.BytesIO(data), "", yard.said.append) == "m1"
    directory = store.directory("m1")
    disk = directory / "disks/data.raw"
    assert disk.stat().st_size == 64 << 20
    assert disk.stat().st_blocks * 512 < 8 << 20
    assert disk.read_bytes()[20 << 20 : (20 << 20) + 4000] == b"kept" * 1000
    auth = store.load("m1").host_options.auth_options
    assert auth
    assert Path(auth.ca_private_key_path).parent == directory
    assert Path(auth.ca_private_key_path).read_bytes() == (yard.store.certs / "ca-key.pem").read_bytes()
    assert not (directory / "pipe").exists()
    assert not (directory / "link").exists()
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    arrived = Yard(store, "fake", {})
    arrived.start("m1")
    assert arrived.answers("m1")


def test_a_machine_can_get_another_name(yard: Yard, tmp_path: Path) -> None:
    """With another name the machine's paths and its pinned ssh key follow."""
    store = Store(tmp_path / "new")
    transfer.import_machine(store, io.BytesIO(whole(yard)), "m2", yard.said.append)
    auth = store.load("m2").host_options.auth_options
    assert auth
    assert auth.store_path == str(store.directory("m2"))
    assert (store.directory("m2") / "known_hosts").read_text() == "m2 ssh-ed25519 AAAA\nother ssh-ed25519 BBBB\n"


def test_an_import_overwrites_nothing(yard: Yard) -> None:
    """A name that is taken is refused, and the machine that has it stays as it is."""
    before = sorted((yard.store.directory("m1")).rglob("*"))
    with pytest.raises(MachineError, match='Docker machine "m1" already exists'):
        transfer.import_machine(yard.store, io.BytesIO(whole(yard)), "", yard.said.append)
    assert sorted((yard.store.directory("m1")).rglob("*")) == before
    assert yard.store.names() == ["m1"]
    assert [path.name for path in yard.store.machines.iterdir()] == ["m1"]


def test_what_a_killed_import_left_goes(yard: Yard, tmp_path: Path) -> None:
    """An import that was killed leaves no machine, and its files go with a later import; one that may still run stays."""
    store = Store(tmp_path / "new")
    for name in ("old", "young"):
        (store.machines / f".import-{name}").mkdir(parents=True)
    os.utime(store.machines / ".import-old", (0, 0))
    assert store.names() == []
    transfer.import_machine(store, io.BytesIO(whole(yard)), "", yard.said.append)
    assert sorted(path.name for path in store.machines.iterdir()) == [".import-young", "m1"]


def test_a_running_machine_with_disks_is_not_copied(yard: Yard) -> None:
    """Disks change while a machine runs: it must be stopped first."""
    yard.start("m1")
    (yard.store.directory("m1") / "disks/data.raw").write_bytes(b"x" * (5 << 20))
    with pytest.raises(MachineError, match="must be stopped"):
        whole(yard)


def test_access_is_an_identity_of_its_own(yard: Yard, tmp_path: Path) -> None:
    """Access holds a fresh client certificate of the authority but not its key, and no key of the machine's owner."""
    yard.start("m1")
    sink = io.BytesIO()
    transfer.export_access(yard.store, "m1", sink, yard.said.append, NOW)
    assert any("no access by ssh" in line for line in yard.said), "the fake machine's sshd lets nobody in"
    assert "Warning: 127.0.0.1 is reached from this computer only" in yard.said
    store = Store(tmp_path / "new")
    transfer.import_machine(store, io.BytesIO(sink.getvalue()), "theirs", yard.said.append)
    directory = store.directory("theirs")
    assert sorted(path.name for path in directory.iterdir()) == ["ca.pem", "cert.pem", "config.json", "key.pem"]
    own = (yard.store.certs / "cert.pem").read_bytes()
    given = x509.load_pem_x509_certificate((directory / "cert.pem").read_bytes())
    assert given.serial_number != x509.load_pem_x509_certificate(own).serial_number
    for secret in ("certs/ca-key.pem", "certs/key.pem", "machines/m1/server-key.pem", "machines/m1/id_ed25519"):
        assert (yard.store.root / secret).read_bytes() not in gzip.decompress(sink.getvalue())
    host = open_host(store, "theirs")
    assert host.record.driver_name == "generic"
    from shoal.machine import probe

    assert probe.version(open_host(yard.store, "m1").driver.url(), "theirs", directory) == "9.9.9"


def test_access_cannot_be_passed_on(yard: Yard, tmp_path: Path) -> None:
    """Who was given access cannot give it: the authority's key is not there."""
    yard.start("m1")
    sink = io.BytesIO()
    transfer.export_access(yard.store, "m1", sink, yard.said.append, NOW)
    store = Store(tmp_path / "new")
    transfer.import_machine(store, io.BytesIO(sink.getvalue()), "", yard.said.append)
    store.save("m1", replace(store.load("m1"), driver_name="nosuch"))
    with pytest.raises(MachineError, match="key of the certificate authority is not here"):
        transfer.export_access(store, "m1", io.BytesIO(), yard.said.append, NOW)


# --- archives that somebody made with intent ---------------------------------------------------------------------------


def entry(path: str, content: bytes = b"x") -> Entry:
    return Entry(path, len(content), [(0, len(content))])


def forged(files: list[Entry], members: Callable[[tarfile.TarFile], None], name: str = "m1") -> io.BytesIO:
    manifest = msgspec.json.encode(Manifest(archive.FORMAT, "whole", name, "", files))
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w|") as tar:
        put(tar, "shoal-machine.json", manifest)
        members(tar)
    return io.BytesIO(gzip.compress(plain.getvalue()))


def put(tar: tarfile.TarFile, path: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
    member = tarfile.TarInfo(path)
    member.size, member.type, member.linkname = len(content) if kind == tarfile.REGTYPE else 0, kind, link
    tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/x", "a//b", "a/./b", "C:x", "a\\b", "a\nb", "", "a/", "NUL", "com1.txt", "a.", "a ",
     "x" * 256, "/".join("a" * 17)],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(path: str, tmp_path: Path) -> None:
    """A file's name cannot leave the directory, on no system, and nothing is written."""
    (tmp_path / "in").mkdir()
    with pytest.raises(MachineError, match="is not taken"):
        archive.unpack(forged([entry(path)], lambda tar: put(tar, path)), tmp_path / "in")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "link"),
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.CHRTYPE, ""), (tarfile.BLKTYPE, ""),
     (tarfile.FIFOTYPE, ""), (tarfile.DIRTYPE, "")],
)  # fmt: skip
def test_only_plain_files_are_taken(kind: bytes, link: str, tmp_path: Path) -> None:
    """Links, devices, pipes and directories are refused, whatever the list says about them."""
    for listed in (entry("x", b""), entry("x")):
        with pytest.raises(MachineError):
            archive.unpack(forged([listed], lambda tar: put(tar, "x", b"", kind, link)), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "members"),
    [([entry("a")], []), ([], ["a"]), ([entry("a"), entry("b")], ["b", "a"]), ([entry("a"), entry("A")], ["a", "A"]),
     ([entry("a"), entry("a/b")], ["a", "a/b"]), ([entry("a", b"xx")], ["a"]), ([Entry("a", 1, [(0, 2)])], ["a"]),
     ([Entry("a", 9, [(4, 1), (4, 1)])], ["a"]), ([Entry("a", -1, [])], ["a"]), ([Entry("a", 1 << 60, [])], ["a"]),
     ([Entry("a", 1 << 52, [(0, 1 << 52)])], ["a"])],
)  # fmt: skip
def test_only_what_the_list_says_is_taken(files: list[Entry], members: list[str], tmp_path: Path) -> None:
    """Missing, further, repeated, exchanged and wrongly sized files are refused, and more than there is room for."""

    def fill(tar: tarfile.TarFile) -> None:
        for path in members:
            put(tar, path)

    with pytest.raises(MachineError):
        archive.unpack(forged(files, fill), tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 100, gzip.compress(b"x" * 2000), gzip.compress(b"")],
    ids=["empty", "letters", "gzip of letters", "gzip of nothing"],
)
def test_what_is_no_archive_is_refused(data: bytes, tmp_path: Path) -> None:
    """Any other file is refused in words."""
    with pytest.raises(MachineError):
        archive.unpack(io.BytesIO(data), tmp_path)


def test_a_cut_archive_is_refused(yard: Yard, tmp_path: Path) -> None:
    """A file that was not transferred to its end leaves nothing in the store."""
    data = whole(yard)
    store = Store(tmp_path / "new")
    for length in (len(data) // 3, len(data) - 30):
        with pytest.raises(MachineError):
            transfer.import_machine(store, io.BytesIO(data[:length]), "", yard.said.append)
    assert list(store.machines.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("SSHUser", "x\n    ProxyCommand touch /tmp/x"), ("SSHUser", "-oProxyCommand=x"), ("IPAddress", "-x"),
     ("IPAddress", "1.2.3.4 x"), ("Any", "x\ny"), ("SSHUser", 7)],
)  # fmt: skip
def test_values_that_are_more_than_values_are_refused(key: str, value: object, tmp_path: Path) -> None:
    """What would be read as options of ssh, or as several settings, is refused."""
    with pytest.raises(MachineError, match="is not taken"):
        settled(Record(driver={key: value}), tmp_path, lambda line: None)


def test_paths_elsewhere_are_not_taken(tmp_path: Path) -> None:
    """Of a program elsewhere its name is kept; other paths become empty; those in the machine's directory stay."""
    inside = str(tmp_path / "machines/m/id")
    driver = {"Binary": "/tmp/evil/qemu", "SSHKeyPath": "/root/.ssh/id_rsa", "Disk": inside, "CIDR": "10.0.0.1/24",
              "Deep": [{"a": f"{tmp_path}/machines/m/../../../x"}], "W": "C:\\Windows\\x.exe"}  # fmt: skip
    said: list[str] = []
    record = settled(Record(driver=driver), tmp_path / "machines/m", said.append)
    assert record.driver == {"Binary": "qemu", "SSHKeyPath": "", "Disk": inside, "CIDR": "10.0.0.1/24", "Deep": [{"a": "x"}],
                             "W": "x.exe"}  # fmt: skip
    assert len(said) == 4


def test_machines_bound_to_a_computer_stay_there(yard: Yard, tmp_path: Path) -> None:
    """A local machine is its host's files: it is neither exported nor imported whole."""
    record = replace(yard.store.load("m1"), driver_name="local")
    yard.store.save("m1", record)
    with pytest.raises(MachineError, match="cannot be moved"):
        whole(yard)


def become(yard: Yard, driver: str, data: dict[str, Any]) -> None:
    """Let m1 be a machine of a hypervisor that is not here, without a disk, so that nobody asks whether it is stopped."""
    (yard.store.directory("m1") / "disks/data.raw").unlink()
    record = yard.store.load("m1")
    yard.store.save("m1", replace(record, driver_name=driver, driver={**record.driver, **data}))


@pytest.mark.parametrize(
    ("driver", "numbers"),
    [
        ("virtualbox", {"VMUUID": "4b9f", "NatMac": "080027000001", "HostOnlyMac": "080027000002"}),
        ("hyperv", {"VMId": "4b9f", "MacAddr": "00155D000001"}),
    ],
)
def test_a_hypervisor_s_register_never_has_a_machine_twice(
    yard: Yard, tmp_path: Path, driver: str, numbers: dict[str, str]
) -> None:
    """A machine that was brought has other numbers than the one it comes from, which may still be there; nothing else differs."""
    kept = {"CPU": 1, "IPAddress": "192.168.59.101"}
    become(yard, driver, {**kept, **numbers})
    store = Store(tmp_path / "other")
    transfer.import_machine(store, io.BytesIO(whole(yard)), "", yard.said.append)
    brought = store.load("m1").driver
    assert brought.keys() >= numbers.keys() and not brought.items() & numbers.items()
    assert brought.items() >= kept.items()


QEMU = {
    "Accel": "auto", "Binary": "qemu-system-x86_64", "CPU": 1, "DiskSize": 2000, "Forwards": [[8080, 80]], "Memory": 512,
    "Network": "user", "NetworkAddress": "192.168.99.101", "Subnet": "192.168.99.0/24", "IPAddress": "127.99.0.101",
    "Made": True,
}  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        {"Forwards": [["8080", "80,guestfwd=tcp:192.0.2.100:80-cmd:touch /tmp/x"]]}, {"Forwards": 3}, {"Accel": "tcg,x=y"},
        {"Memory": "512,slots=4"}, {"CPU": [1]}, {"Network": "socket"}, {"NetworkAddress": "10.1.1.1"},
        {"Subnet": "192.168.99.0/24,x"},
    ],
)  # fmt: skip
def test_what_qemu_would_take_for_more_is_not_imported(value: dict[str, object]) -> None:
    """A file of anybody's says no more to QEMU than options of `create` could."""
    with pytest.raises(MachineError):
        driver_class("qemu").arrived({**QEMU, **value})  # type: ignore[attr-defined]


def test_a_qemu_machine_that_arrives_is_started_by_this_computer_s_qemu() -> None:
    """Its settings stay; which program runs it, and where it is reached, is this computer's to say."""
    found = driver_class("qemu").arrived({**QEMU, "Binary": "rm", "IPAddress": "0.0.0.0"})  # type: ignore[attr-defined]
    assert found == {**QEMU, "IPAddress": ""}


def test_secrets_of_clouds_neither_leave_nor_arrive() -> None:
    """Neither in clear, as docker-machine kept them, nor as the place of another machine's in this keyring."""
    driver: Any = driver_class("digitalocean")
    data = {
        "DropletID": 7,
        "AccessToken": "secret",
        "Secrets": {"digitalocean-access-token": "keyring:x@/home/u/machines/prod"},
    }
    assert driver.leaving(data) == driver.arrived(data) == {"DropletID": 7}


@pytest.mark.parametrize(
    ("name", "key", "value", "variable"),
    [
        ("openstack", "AuthUrl", "https://cloud.example/v3", "OS_AUTH_URL"),
        ("exoscale", "URL", "https://cloud.example", "EXOSCALE_ENDPOINT"),
        ("amazonec2", "Endpoint", "https://cloud.example", "AWS_ENDPOINT"),
        ("libcloud", "Connect", ["host=cloud.example"], ""),
    ],
)
def test_secrets_are_sent_only_where_this_computer_says(
    name: str, key: str, value: object, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of another server is imported when the environment names that server, too."""
    driver: Any = driver_class(name)
    with pytest.raises(MachineError, match="where your secrets would be sent"):
        driver.arrived({key: value})
    assert driver.arrived({key: type(value)()}) is not None
    if variable:
        monkeypatch.setenv(variable, str(value))
        assert driver.arrived({key: value}) == {key: value}


@pytest.mark.parametrize(("driver", "number"), [("virtualbox", "VMUUID"), ("hyperv", "VMId")])
def test_docker_machine_s_own_virtual_machines_stay(yard: Yard, driver: str, number: str) -> None:
    """Their disks lie where the hypervisor put them, and they are known by a name only, which another one may have."""
    become(yard, driver, {"MachineName": "somebody's"})
    with pytest.raises(MachineError, match="docker-machine made this machine"):
        whole(yard)
    assert driver_class(driver).leaving({number: "1"}) == {number: "1"}  # type: ignore[attr-defined]


def test_headers_that_say_how_much_is_to_be_read_are_refused(tmp_path: Path) -> None:
    """tarfile reads an extended header whole, before anything could be checked: a small file could fill the memory."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("shoal-machine.json")
        member.pax_headers = {"comment": "x" * 1000}
        tar.addfile(member)
    sink.seek(0)
    with pytest.raises(MachineError, match="is no plain file"):
        archive.unpack(sink, tmp_path)


@pytest.mark.parametrize("blocks", range(2 * tarfile.RECORDSIZE // tarfile.BLOCKSIZE))
def test_an_archive_may_end_anywhere_in_a_record(blocks: int, tmp_path: Path) -> None:
    """tar fills its last record up with zeros, from one block to a whole record of them behind the first."""
    sink = io.BytesIO()
    archive.write(sink, "access", "m", "2026", [archive.Source("a", b"a" * blocks * tarfile.BLOCKSIZE)])
    archive.unpack(io.BytesIO(sink.getvalue()), tmp_path)
    assert (tmp_path / "a").stat().st_size == blocks * tarfile.BLOCKSIZE


@pytest.mark.parametrize("end", [slice(None, -20), slice(None, -8), slice(None, -1)])
def test_an_archive_without_its_end_is_refused(end: slice, tmp_path: Path) -> None:
    """Also when all files were there: the checksum behind them tells whether they are what was written."""
    sink = io.BytesIO()
    archive.write(sink, "access", "m", "2026", [archive.Source("a", b"a" * 5000)])
    with pytest.raises(MachineError, match="damaged"):
        archive.unpack(io.BytesIO(sink.getvalue()[end]), tmp_path)


def test_an_archive_with_something_behind_its_end_is_refused(tmp_path: Path) -> None:
    """Whatever it is: nobody asked for it, and it could be without end."""
    sink = io.BytesIO()
    archive.write(sink, "access", "m", "2026", [archive.Source("a", b"a" * 5000)])
    more = gzip.compress(gzip.decompress(sink.getvalue()) + bytes(tarfile.RECORDSIZE))
    with pytest.raises(MachineError, match="more than its list says"):
        archive.unpack(io.BytesIO(more), tmp_path)


@pytest.mark.parametrize("size", [-1, -5])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_of_less_than_nothing_are_refused(kind: bytes, size: int, tmp_path: Path) -> None:
    """A tar header can hold a negative length, and reading that much is reading everything."""
    member = tarfile.TarInfo("shoal-machine.json")
    member.type, member.size = kind, size
    content = gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    with pytest.raises(MachineError, match="is no plain file"):
        archive.unpack(io.BytesIO(content), tmp_path)


# --- encryption --------------------------------------------------------------------------------------------------------


def seal(data: bytes, passphrase: str) -> bytes:
    sink = io.BytesIO()
    sealer = sealed.Sealer(sink, passphrase)
    sealer.write(data)
    sealer.close()
    return sink.getvalue()


def unseal(data: bytes, passphrase: str) -> bytes:
    source = io.BytesIO(data)
    assert source.read(len(sealed.MAGIC)) == sealed.MAGIC
    return sealed.Opener(cast("IO[bytes]", source), passphrase).read()


SEALED = seal(b"a" * (2 * sealed.PIECE + 5), "right")


@pytest.mark.parametrize("length", [0, 1, sealed.PIECE - 1, sealed.PIECE, sealed.PIECE + 1, 3 * sealed.PIECE])
def test_what_was_sealed_is_opened(length: int) -> None:
    """Whatever the length, what comes out is what went in."""
    data = os.urandom(length)
    assert unseal(seal(data, "p"), "p") == data


@settings(max_examples=12)
@given(st.integers(len(sealed.MAGIC), len(SEALED) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed(position: int, change: int) -> None:
    """A file that was changed anywhere is not opened."""
    changed = bytearray(SEALED)
    changed[position] ^= change
    if position == len(sealed.MAGIC) + 16 and changed[position] > 16:
        return  # a costlier key: refused too, but only after long
    with pytest.raises(sealed.WrongPassphrase):
        unseal(bytes(changed), "right")


@pytest.mark.parametrize("cut", [len(sealed.MAGIC) + 24, len(SEALED) - 21, len(SEALED) - 1, 40 + sealed.PIECE + 16])
def test_a_cut_file_is_noticed(cut: int) -> None:
    """A file whose last pieces are missing is not opened, even when it ends between two."""
    with pytest.raises(sealed.WrongPassphrase):
        assert unseal(SEALED[:cut], "right")


def test_the_wrong_passphrase_opens_nothing() -> None:
    """Another passphrase is refused."""
    with pytest.raises(sealed.WrongPassphrase):
        unseal(SEALED, "wrong")


# --- the command line --------------------------------------------------------------------------------------------------


def test_the_commands(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """export writes a file for its owner alone, never over another; encrypted, it needs the passphrase to be imported."""
    target, secret = tmp_path / "m1.machine", tmp_path / "secret"
    secret.write_text("correct horse\nignored\n")
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(yard.store.root))
    export = ["export", "-o", str(target), "--passphrase-file", str(secret), "m1"]
    assert main(export, "docker-machine") == 0, capsys.readouterr()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes().startswith(sealed.MAGIC)
    assert main(export, "docker-machine") == 1
    assert "exists already" in capsys.readouterr().err
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path / "new"))
    assert main(["import", str(target)], "docker-machine") == 1
    assert "a passphrase is needed" in capsys.readouterr().err
    monkeypatch.setenv("MACHINE_PASSPHRASE", "wrong")
    assert main(["import", str(target)], "docker-machine") == 1
    assert "passphrase is wrong" in capsys.readouterr().err
    monkeypatch.setenv("MACHINE_PASSPHRASE", "correct horse")
    assert main(["import", "--name", "again", str(target)], "docker-machine") == 0, capsys.readouterr()
    assert Store(tmp_path / "new").names() == ["again"]
    assert main(["import"], "docker-machine") == 2


def test_a_failed_export_leaves_no_file(yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written to its end is taken away."""
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(yard.store.root))
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--access", "m1"], "docker-machine") == 1
    assert not (tmp_path / "m1.machine").exists()
