"""The generic driver against hosts of our own: namespaces with a real sshd, without any engine at first."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from shoal.machine import certs, probe
from shoal.machine.driver import State
from shoal.machine.host import open_host
from shoal.machine.local import disk
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


@pytest.fixture
def shop(tmp_path: Path, cache: Path) -> Shop:
    """An empty store."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "cache").symlink_to(cache)
    return Shop(store)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    """A host that runs."""
    made = SshHost(tmp_path / "host", f"10.197.{os.getpid() % 250}.0/24")
    try:
        made.create()
        yield made
    finally:
        made.remove()


def create(shop: Shop, host: SshHost, *more: str) -> str:
    """Adopt the host as `box`."""
    return shop.ok("create", "-d", "generic", "--generic-ip-address", host.address, "--generic-ssh-key", str(host.key),
                   *more, "box")  # fmt: skip


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


def test_a_host_is_adopted_and_nothing_but_ours_changes_on_it(shop: Shop, host: SshHost) -> None:
    """create makes a bare host answer docker; its name, its hosts file and another engine's settings stay as they are."""
    host.run("mkdir -p /etc/docker; cat >/etc/docker/daemon.json", b'{"hosts": ["fd://"], "storage-driver": "vfs"}')
    before = host.snapshot()
    said = create(shop, host, "--engine-label", "role=box").splitlines()
    assert said[-2] == "Docker is up and running!"
    assert "(box) Importing SSH key..." in said
    assert host.snapshot() == before
    assert docker(shop, "info", "-f", "{{.Labels}}") == "[role=box provider=generic]"
    assert oct((shop.store / "machines/box/id_ed25519").stat().st_mode & 0o777) == "0o600"
    assert host.run("stat -c %a /etc/shoal/tls/server-key.pem /etc/shoal/shoald.env").split() == ["600", "600"]
    assert shop.ok("ssh", "box", "hostname") == "host\n"
    assert shop.ok("ls", "-f", "{{.Name}} {{.State}} {{.URL}}") == f"box Running tcp://{host.address}:2376\n"
    for word in ("start", "stop", "kill"):
        result = shop.run(word, "box")
        if word != "start":
            assert (result.returncode, f"generic driver does not support {word}") == (1, result.stderr.strip())
    shop.ok("rm", "-y", "box")
    assert host.run("curl -s --unix-socket /var/run/docker.sock http://x/_ping") == "OK"


def test_provisioning_again_changes_nothing_and_restarts_nothing(shop: Shop, host: SshHost) -> None:
    """A second provision finds all as it should be: no file is written, the engine's process is the same."""
    create(shop, host)
    stamp = "find /etc/shoal /opt/shoal /etc/init.d /usr/local/bin -newer /tmp/mark | head; " + _PID
    before = host.run("sleep 0.02; touch /tmp/mark; " + _PID)
    assert "(box) Everything is as it should be already." in shop.ok("provision", "box").splitlines()
    assert host.run(stamp) == before


def test_certificates_are_renewed_while_a_container_runs(shop: Shop, host: SshHost) -> None:
    """regenerate-certs replaces the certificate that the engine shows; engine and container go on, nothing restarts."""
    create(shop, host)
    container, engine = run_container(shop), host.run(_PID)
    machine = open_host(Store(shop.store), "box")
    first = probe.certificate(machine.driver.url(), "box", machine.directory)
    result = shop.run("regenerate-certs", "box", stdin="")
    assert (result.returncode, result.stderr) == (1, "EOF\n")
    assert shop.run("regenerate-certs", "box", stdin="n\n").returncode == 0
    assert probe.certificate(machine.driver.url(), "box", machine.directory) == first
    said = shop.ok("regenerate-certs", "--force", "--client-certs", "box")
    assert "Regenerating local certificates" in said
    assert "restarting" not in said
    assert probe.certificate(machine.driver.url(), "box", machine.directory) != first
    assert (process(shop), host.run(_PID)) == (container, engine)


def test_a_certificate_that_is_about_to_expire_is_renewed_by_env(shop: Shop, host: SshHost) -> None:
    """Sixty days before its end the next `env` renews the certificate, and touches nothing else."""
    create(shop, host)
    machine = open_host(Store(shop.store), "box")
    auth = machine.record.host_options.auth_options
    assert auth
    engine, now = host.run(_PID), datetime.now(UTC)
    names = certs.server_names("box", host.address)
    certs.issue_server(server_pair(auth), authority_pair(auth), "box", names, now - certs.VALIDITY + timedelta(days=30))
    for name in ("server.pem", "server-key.pem"):
        host.run(f"cat >/etc/shoal/tls/{name}", (machine.directory / name).read_bytes())
    assert not certs.serves(probe.certificate(machine.driver.url(), "box", machine.directory), host.address, now)
    result = shop.run("env", "--shell", "sh", "box")
    assert "is renewed; containers go on" in result.stderr
    assert result.stdout.startswith("export DOCKER_TLS_VERIFY")
    assert certs.serves(probe.certificate(machine.driver.url(), "box", machine.directory), host.address, now)
    assert host.run(_PID) == engine
    assert shop.run("env", "box").stderr == ""


def test_a_host_at_a_new_address_keeps_working(shop: Shop, host: SshHost) -> None:
    """After its host moved a machine is told so; its certificate names the new address then, and docker takes it."""
    create(shop, host)
    old = host.address
    host.stop()
    host.driver.new_address()
    host.start()
    assert host.address != old
    shop.ok("provision", "--address", host.address, "box")
    assert shop.ok("ip", "box").strip() == host.address
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    # Whoever wrote the address into config.json by hand has it noticed by `env`.
    machine = open_host(Store(shop.store), "box")
    auth = machine.record.host_options.auth_options
    assert auth
    certs.issue_server(server_pair(auth), authority_pair(auth), "box", ["box", old], datetime.now(UTC))
    for name in ("server.pem", "server-key.pem"):
        host.run(f"cat >/etc/shoal/tls/{name}", (machine.directory / name).read_bytes())
    engine = host.run(_PID)
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    assert host.run(_PID) == engine


def test_restart_reboots_and_waits(shop: Shop, host: SshHost) -> None:
    """restart comes back when the host has booted again and its engine answers; data are kept."""
    create(shop, host)
    run_container(shop)
    host.stay_on()
    boot = host.driver.context.directory / "local/run.json"
    before = boot.read_bytes()
    shop.ok("restart", "box")
    assert boot.read_bytes() != before
    assert docker(shop, "ps", "-aq", "--no-trunc")


def test_another_user_with_sudo(shop: Shop, host: SshHost) -> None:
    """A user who may become root without a password sets a host up; one who may not is told what to do."""
    host.run("useradd -m -s /bin/sh debian && mkdir -p ~debian/.ssh && cp ~/.ssh/authorized_keys ~debian/.ssh/ && "
             "chown -R debian ~debian/.ssh && sed -i 's/^debian:!/debian:*/' /etc/shadow")  # fmt: skip
    words = ("create", "-d", "generic", "--generic-ip-address", host.address, "--generic-ssh-key", str(host.key),
             "--generic-ssh-user", "debian", "box")  # fmt: skip
    result = shop.run(*words)
    assert result.returncode == 1
    assert 'user "debian" cannot become root on the machine: sudo asks for a password there' in result.stderr
    assert shop.ok("ls", "-q") == ""
    host.run("cat >/etc/sudoers.d/debian", b"debian ALL=(ALL) NOPASSWD: ALL\n")
    shop.ok(*words)
    assert docker(shop, "version", "-f", "{{.Server.Version}}")
    assert shop.ok("ssh", "box", "id -un") == "debian\n"


def test_a_foreign_engine_is_left_alone(shop: Shop, host: SshHost) -> None:
    """Beside a running dockerd Shoal gets a socket of its own; a port that is taken is refused by name."""
    host.run("cp /bin/busybox /usr/local/sbin/dockerd; mkdir -p /var/run; cd /; "
             "setsid sh -c 'exec -a dockerd busybox true; ' ; ln -sf /usr/local/sbin/dockerd /usr/local/sbin/nc; "
             "cp /bin/sleep /usr/local/sbin/dockerd; setsid dockerd 10000 >/dev/null 2>&1 </dev/null & echo")  # fmt: skip
    said = create(shop, host)
    assert "A Docker Engine runs on the machine and is left as it is" in said
    assert host.run("ls /run/shoal/docker.sock; ls /var/run/docker.sock 2>&1 || true").split()[0] == "/run/shoal/docker.sock"
    assert host.run("pgrep -cx dockerd") == "1"


def test_a_taken_port_is_refused_by_name(shop: Shop, host: SshHost) -> None:
    """When somebody listens on the engine's port already, nothing is installed, and another port does."""
    host.run("setsid busybox nc -lk -p 2376 -e true >/dev/null 2>&1 </dev/null & sleep 0.3")
    words = ("create", "-d", "generic", "--generic-ip-address", host.address, "--generic-ssh-key", str(host.key))
    result = shop.run(*words, "box")
    assert result.returncode == 1
    assert "port 2376 of the machine is taken by another program" in result.stderr
    assert host.run("ls -d /opt/shoal 2>/dev/null || echo none") == "none"
    shop.ok(*words, "--generic-engine-port", "2399", "box")
    assert shop.ok("url", "box") == f"tcp://{host.address}:2399\n"
    assert docker(shop, "version", "-f", "{{.Server.Version}}")


def test_what_is_missing_is_named(shop: Shop, host: SshHost) -> None:
    """A host that lacks a program and reaches no package server is told which packages to install; nothing stays."""
    host.run("rm /usr/bin/crun; rm -f /etc/apt/sources.list.d/*; echo 'deb http://127.0.0.1:9/debian x main' "
             ">/etc/apt/sources.list; rm -rf /var/lib/apt/lists")  # fmt: skip
    result = shop.run("create", "-d", "generic", "--generic-ip-address", host.address, "--generic-ssh-key",
                      str(host.key), "box")  # fmt: skip
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
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, tmp_path / "crun.deb"], check=True, capture_output=True)
    # The index by hand: what dpkg-scanpackages would write.
    data = (tmp_path / "crun.deb").read_bytes()
    import hashlib

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_create_leaves_nothing_in_the_store(shop: Shop, host: SshHost, number: signal.Signals) -> None:
    """Ctrl-C, or SIGTERM, while a host is set up: the store is as before, and the next create succeeds."""
    words = [SHOAL, "machine", "create", "-d", "generic", "--generic-ip-address", host.address,
             "--generic-ssh-key", str(host.key), "box"]  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=shop.environment, start_new_session=True) as command:
        assert command.stdout
        until_sync(lambda: "Installing Shoal" in command.stdout.readline())  # type: ignore[union-attr]
        command.send_signal(number)
        command.communicate(timeout=60)
    assert command.returncode == 128 + number
    assert shop.ok("ls", "-q") == ""
    create(shop, host)
    assert docker(shop, "version", "-f", "{{.Server.Version}}")


def test_another_host_at_the_address_is_refused(shop: Shop, host: SshHost) -> None:
    """The host's key is pinned at the first contact: whoever shows another later is not talked to, by either ssh."""
    create(shop, host)
    host.run("rm /etc/ssh/ssh_host_ed25519_key; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
             "kill -HUP $(pgrep -o -x sshd)")  # fmt: skip
    for native in ("0", "1"):
        until_sync(lambda: shop.run("provision", "box", MACHINE_NATIVE_SSH=native).returncode == 1)  # noqa: B023
        result = shop.run("provision", "box", MACHINE_NATIVE_SSH=native)
        assert "pinned in" in result.stderr, result.stderr


def test_native_ssh_does_all_of_it(shop: Shop, host: SshHost) -> None:
    """With MACHINE_NATIVE_SSH a host is adopted without OpenSSH's client, and its key is pinned the same way."""
    words = ("create", "-d", "generic", "--generic-ip-address", host.address, "--generic-ssh-key", str(host.key))
    shop.ok("--native-ssh", *words, "box", PATH="/nowhere")
    assert (shop.store / "machines/box/known_hosts").read_text().startswith("box ssh-ed25519 ")
    assert shop.ok("ssh", "box", "hostname") == "host\n"
    assert shop.run("--native-ssh", "ssh", "box", "cat; exit 7", stdin="through").returncode == 7


def test_state_follows_the_host(shop: Shop, host: SshHost) -> None:
    """A host that is off is Stopped, has no address to offer, and its machine can be removed all the same."""
    create(shop, host)
    host.stop()
    machine = open_host(Store(shop.store), "box")
    assert machine.driver.state() is State.STOPPED
    result = shop.run("env", "box")
    assert (result.returncode, "Host is not running" in result.stderr) == (1, True)
    shop.ok("rm", "-y", "box")
    assert disk.LAYERED
