"""The generic driver against hosts of our own: namespaces with a real sshd, without any engine at first."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from shoal.machine import certs, probe, ssh
from shoal.machine.driver import State
from shoal.machine.host import Host, open_host
from shoal.machine.provision import authority_pair, server_pair
from shoal.machine.store import Store
from tests.system.ssh_hosts import SHOAL, Shop, SshHost
from tests.waiting import until_sync

pytestmark = pytest.mark.system

_PID = "cat /run/shoald.pid"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle is made once for all tests."""
    return tmp_path_factory.mktemp("cache")


def shop_in(folder: Path, cache: Path) -> Shop:
    store = folder / "store"
    store.mkdir()
    (store / "cache").symlink_to(cache)
    return Shop(store)


@contextmanager
def running_host(folder: Path, number: int, *, systemd: bool = False) -> Iterator[SshHost]:
    """A host that runs; at the end nothing of it is left."""
    made = SshHost(folder / "host", f"10.{number}.{os.getpid() % 250}.0/24", systemd=systemd)
    try:
        made.create()
        yield made
    finally:
        made.remove()


@pytest.fixture
def shop(tmp_path: Path, cache: Path) -> Shop:
    """An empty store."""
    return shop_in(tmp_path, cache)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    """A bare host."""
    with running_host(tmp_path, 197) as made:
        yield made


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[Shop, SshHost]]:
    """A store whose machine `box` is a host with systemd; it had another engine's settings before."""
    folder = tmp_path_factory.mktemp("box")
    shop = shop_in(folder, cache)
    with running_host(folder, 196, systemd=True) as host:
        host.run("mkdir -p /etc/docker; cat >/etc/docker/daemon.json", b'{"hosts": ["fd://"], "storage-driver": "vfs"}')
        host.run("cat >/root/before", host.snapshot().encode())
        (folder / "said").write_text(create(shop, host, "--engine-label", "role=box"))
        yield shop, host


def create(shop: Shop, host: SshHost, *more: str) -> str:
    """Adopt the host as `box`."""
    return shop.ok(*words(host), *more, "box")


def words(host: SshHost) -> list[str]:
    """The command that adopts the host, but for the machine's name."""
    return ["create", "-d", "generic", "--generic-ip-address", host.address, "--generic-ssh-key", str(host.key)]


def docker(shop: Shop, *words: str, input: bytes = b"") -> str:
    """A docker command to the machine, as `env` points it there: its address is checked against the certificate."""
    settings = dict(line.removeprefix("export ").split("=", 1) for line in
                    shop.ok("env", "--shell", "sh", "box").splitlines() if line.startswith("export"))  # fmt: skip
    environment = {**shop.environment, **{name: value.strip('"') for name, value in settings.items()}}
    result = subprocess.run([SHOAL, *words], input=input, capture_output=True, check=False, env=environment, timeout=60)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode().strip()


def run_container(shop: Shop) -> str:
    """A container that sleeps; its process."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add("/bin/busybox", "bin/sleep")
    docker(shop, "import", "-", "sleeper", input=packed.getvalue())
    docker(shop, "run", "-d", "--name", "c1", "sleeper", "sleep", "10000")
    return process(shop)


def process(shop: Shop) -> str:
    """The container's process, while it runs."""
    return docker(shop, "inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "c1")


def test_a_host_is_adopted_and_nothing_but_ours_changes_on_it(box: tuple[Shop, SshHost]) -> None:
    """create makes a bare host answer docker; its name, its hosts file and another engine's settings stay as they are."""
    shop, host = box
    said = (shop.store.parent / "said").read_text().splitlines()
    assert said[-2] == "Docker is up and running!"
    assert "(box) Importing SSH key..." in said
    assert host.snapshot() == host.run("cat /root/before")
    assert docker(shop, "info", "-f", "{{.Labels}}") == "[role=box provider=generic]"
    assert oct((shop.store / "machines/box/id_ed25519").stat().st_mode & 0o777) == "0o600"
    assert host.run("stat -c %a /etc/shoal/tls/server-key.pem /etc/shoal/shoald.env").split() == ["600", "600"]
    assert shop.ok("ssh", "box", "hostname") == "host\n"
    assert shop.ok("ls", "-f", "{{.Name}} {{.State}} {{.URL}}") == f"box Running tcp://{host.address}:2376\n"
    for word in ("stop", "kill"):
        result = shop.run(word, "box")
        assert (result.returncode, result.stderr) == (1, f"generic driver does not support {word}\n")


def test_provisioning_again_changes_nothing_and_restarts_nothing(box: tuple[Shop, SshHost]) -> None:
    """A second provision finds all as it should be: no file is written, the engine's process is the same."""
    shop, host = box
    before = host.run(f"touch /tmp/mark; {_PID}")
    assert "(box) Everything is as it should be already." in shop.ok("provision", "box").splitlines()
    assert host.run(f"find /etc/shoal /opt/shoal /etc/init.d /usr/local/bin -newer /tmp/mark; {_PID}") == before


def test_certificates_are_renewed_while_a_container_runs(box: tuple[Shop, SshHost]) -> None:
    """regenerate-certs replaces the certificate that the engine shows; engine and container go on, nothing restarts."""
    shop, host = box
    container, engine = run_container(shop), host.run(_PID)
    machine = open_host(Store(shop.store), "box")
    first = shown(machine)
    result = shop.run("regenerate-certs", "box", stdin="")
    assert (result.returncode, result.stderr) == (1, "EOF\n")
    assert shop.run("regenerate-certs", "box", stdin="n\n").returncode == 0
    assert shown(machine) == first
    said = shop.ok("regenerate-certs", "--force", "--client-certs", "box")
    assert "Regenerating local certificates" in said
    assert "restarting" not in said
    assert shown(machine) != first
    assert (process(shop), host.run(_PID)) == (container, engine)
    host.run("systemctl restart shoald")
    assert host.run(_PID) != engine
    assert process(shop) == container


def shown(machine: Host) -> bytes:
    """The certificate that the machine's engine shows."""
    return probe.certificate(machine.driver.url(), machine.name, machine.directory)


def put_certificate(host: SshHost, machine: Host, names: list[str], issued: datetime) -> None:
    """Give the machine another certificate, as if that had been its last."""
    auth = machine.record.host_options.auth_options
    assert auth
    certs.issue_server(server_pair(auth), authority_pair(auth), "box", names, issued)
    for name in ("server.pem", "server-key.pem"):
        host.run(f"cat >/etc/shoal/tls/{name}", (machine.directory / name).read_bytes())


def test_a_certificate_that_is_about_to_expire_is_renewed_by_env(box: tuple[Shop, SshHost]) -> None:
    """Sixty days before its end the next `env` renews the certificate, and touches nothing else."""
    shop, host = box
    machine, now = open_host(Store(shop.store), "box"), datetime.now(UTC)
    engine, old = host.run(_PID), now - certs.VALIDITY + timedelta(days=30)
    put_certificate(host, machine, certs.server_names("box", host.address), old)
    assert not certs.serves(shown(machine), host.address, now)
    result = shop.run("env", "--shell", "sh", "box")
    assert "is renewed; containers go on" in result.stderr
    assert result.stdout.startswith("export DOCKER_TLS_VERIFY")
    assert certs.serves(shown(machine), host.address, now)
    assert host.run(_PID) == engine
    assert shop.run("env", "box").stderr == ""


def test_restart_reboots_and_waits(box: tuple[Shop, SshHost]) -> None:
    """restart comes back when the host has booted again and its engine, which the boot starts, answers; data are kept."""
    shop, host = box
    born = "stat -c %y /proc/1"
    before = host.run(born)
    shop.ok("restart", "box")
    assert host.run(born) != before
    assert docker(shop, "images", "-q")
    assert host.run("systemctl is-active shoald") == "active"


def test_a_host_at_a_new_address_keeps_working(box: tuple[Shop, SshHost]) -> None:
    """A host that is off is Stopped and has no address to offer. When it came back elsewhere the machine is told so;
    its certificate names the new address then, and docker takes it, without a restart of the engine.
    """
    shop, host = box
    old, machine = host.address, open_host(Store(shop.store), "box")
    host.stop()
    assert machine.driver.state() is State.STOPPED
    assert "Host is not running" in shop.run("env", "box").stderr
    host.driver.new_address()
    host.start()
    assert host.address != old
    shop.ok("provision", "--address", host.address, "box")
    assert shop.ok("ip", "box").strip() == host.address
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    # Whoever wrote the address into config.json by hand has it noticed by `env`.
    engine = host.run(_PID)
    put_certificate(host, open_host(Store(shop.store), "box"), ["box", old], datetime.now(UTC))
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    assert host.run(_PID) == engine


def test_another_user_with_sudo(shop: Shop, host: SshHost) -> None:
    """A user who may become root without a password sets a host up; one who may not is told what to do."""
    host.run("useradd -m -s /bin/sh debian && mkdir -p ~debian/.ssh && cp ~/.ssh/authorized_keys ~debian/.ssh/ && "
             "chown -R debian ~debian/.ssh && sed -i 's/^debian:!/debian:*/' /etc/shadow")  # fmt: skip
    as_debian = [*words(host), "--generic-ssh-user", "debian", "box"]
    result = shop.run(*as_debian)
    assert result.returncode == 1
    assert 'user "debian" cannot become root on the machine: sudo asks for a password there' in result.stderr
    assert shop.ok("ls", "-q") == ""
    host.run("cat >/etc/sudoers.d/debian", b"debian ALL=(ALL) NOPASSWD: ALL\n")
    shop.ok(*as_debian)
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    assert shop.ok("ssh", "box", "id -un") == "debian\n"


def test_a_foreign_engine_is_left_alone(shop: Shop, host: SshHost) -> None:
    """Beside a running dockerd Shoal gets a socket of its own, and a port that is taken is refused by name."""
    host.run("setsid dockerd --bridge=none --iptables=false -H unix:///var/run/docker.sock -H tcp://127.0.0.1:2376 "
             ">/var/log/dockerd.log 2>&1 </dev/null &")  # fmt: skip
    ask = "curl -s --unix-socket /var/run/docker.sock http://x/version || true"
    before = until_sync(lambda: host.run(ask), 60)
    result = shop.run(*words(host), "box")
    assert result.returncode == 1
    assert "port 2376 of the machine is taken by dockerd, which is left alone" in result.stderr
    assert host.run("ls -d /opt/shoal 2>/dev/null || echo none") == "none"
    said = create(shop, host, "--generic-engine-port", "2399")
    assert "A Docker Engine is on the machine and is left as it is" in said
    assert shop.ok("url", "box") == f"tcp://{host.address}:2399\n"
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    assert host.run(ask) == before
    assert host.run("curl -s --unix-socket /run/shoal/docker.sock http://x/_ping") == "OK"
    host.run("kill $(cat /var/run/docker.pid)")


def test_what_is_missing_is_named(shop: Shop, host: SshHost) -> None:
    """A host that lacks a program and reaches no package server is told which packages to install; nothing stays."""
    host.run("rm /usr/bin/crun; rm -f /etc/apt/sources.list.d/*; echo 'deb http://127.0.0.1:9/debian x main' "
             ">/etc/apt/sources.list; rm -rf /var/lib/apt/lists")  # fmt: skip
    result = shop.run(*words(host), "box")
    assert result.returncode == 1
    assert "the machine lacks crun, and its apt-get could not install it" in result.stderr
    assert "try again: crun" in result.stderr
    assert shop.ok("ls", "-q") == ""


def test_packages_come_through_the_hosts_apt(shop: Shop, host: SshHost, tmp_path: Path) -> None:
    """A host that lacks a program gets it by its own package manager, from wherever that has its packages."""
    tree = tmp_path / "crun"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: crun\nVersion: 99\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: crun\n"
    )
    (tree / "usr/bin").mkdir(parents=True)
    shutil.copy("/usr/bin/crun", tree / "usr/bin/crun")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", tree, tmp_path / "crun.deb"], check=True, capture_output=True
    )
    # The index by hand: what dpkg-scanpackages would write.
    data = (tmp_path / "crun.deb").read_bytes()
    index = (tree / "DEBIAN/control").read_text() + (
        f"Filename: ./crun.deb\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    )
    host.run("mkdir -p /srv/repo; cat >/srv/repo/crun.deb", data)
    host.run("cat >/srv/repo/Packages", index.encode())
    host.run("mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers /var/cache/apt/archives/partial; "
             "touch /var/lib/dpkg/status /var/lib/dpkg/available; rm -f /etc/apt/sources.list.d/*; rm /usr/bin/crun; "
             "echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list")  # fmt: skip
    said = create(shop, host)
    assert "(box) Installing crun..." in said.splitlines()
    assert host.run("command -v crun") == "/usr/bin/crun"


def test_an_interrupted_create_leaves_nothing_in_the_store(shop: Shop, host: SshHost) -> None:
    """Ctrl-C, or SIGTERM, while a host is set up: the store is as before, and the next create succeeds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen([SHOAL, "machine", *words(host), "box"], stdout=subprocess.PIPE, text=True,
                              env=shop.environment, start_new_session=True) as command:  # fmt: skip
            out = command.stdout
            assert out
            until_sync(lambda: "Installing Shoal" in out.readline())  # noqa: B023
            command.send_signal(number)
            command.communicate(timeout=60)
        assert command.returncode == 128 + number
        assert shop.ok("ls", "-q") == ""
    create(shop, host)
    assert docker(shop, "version", "-f", "{{.Server.Version}}")


def reaches(host: SshHost) -> bool:
    """Whether the host still shows the key that it was made with."""
    try:
        return ssh.run(host.endpoint, "true").status == 0
    except ssh.SshError:
        return False


def test_native_ssh_does_all_of_it_and_pins_the_key(shop: Shop, host: SshHost) -> None:
    """Without OpenSSH's client a host is adopted through asyncssh; its key is pinned for both: whoever shows another
    later is not talked to.
    """
    shop.ok("--native-ssh", *words(host), "box", PATH="/nowhere")
    assert (shop.store / "machines/box/known_hosts").read_text().startswith("box ssh-ed25519 ")
    assert shop.ok("ssh", "box", "hostname") == "host\n"
    assert shop.run("--native-ssh", "ssh", "box", "cat; exit 7", stdin="through").returncode == 7
    host.run("rm /etc/ssh/ssh_host_ed25519_key; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
             "kill -HUP $(pgrep -o -x sshd)")  # fmt: skip
    until_sync(lambda: not reaches(host))
    for native in ("0", "1"):
        result = shop.run("provision", "box", MACHINE_NATIVE_SSH=native)
        assert (result.returncode, "pinned in" in result.stderr) == (1, True), result.stderr
