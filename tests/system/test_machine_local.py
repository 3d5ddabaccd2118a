"""Local machines: real namespaces, real sshd, a stand-in for the engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.system.machines import SHOAL, Shop, shop
from tests.waiting import until_sync

pytestmark = pytest.mark.system


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Shop]:
    """A store of its own on a subnet of its own; all its machines are removed, and nothing of them may be left."""
    made = shop(tmp_path, f"10.199.{os.getpid() % 250}")
    try:
        yield made
    finally:
        names = made.ok("ls", "-q").split()
        if names:
            made.run("rm", "-f", *names)
        assert made.traces() == []


@pytest.fixture
def m1(place: Shop) -> Shop:
    """A place with one machine, m1."""
    place.ok("create", "--driver", "local", "m1")
    return place


def test_machines_get_the_tutorials_addresses_and_rm_leaves_nothing(place: Shop) -> None:
    """Two machines get .101 and .102, `ls` shows them with the tutorial's columns, and rm leaves no trace of them."""
    said = place.ok("create", "--driver", "local", "m1")
    assert said.splitlines()[-2:] == [
        "Docker is up and running!",
        "To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: "
        "shoal machine env m1",
    ]
    place.ok("create", "-driver", "local", "--engine-label", "role=web", "m2")
    table = place.ok("ls").splitlines()
    assert table[0].split() == ["NAME", "ACTIVE", "DRIVER", "STATE", "URL", "SWARM", "DOCKER", "ERRORS"]
    assert table[1].split() == ["m1", "-", "local", "Running", f"tcp://{place.prefix}.101:2376", "v1.2.3"]
    assert table[2].split() == ["m2", "-", "local", "Running", f"tcp://{place.prefix}.102:2376", "v1.2.3"]
    assert place.ok("ip", "m2", "m1").split() == [f"{place.prefix}.102", f"{place.prefix}.101"]
    assert place.ok("ls", "-q", "--filter", "label=role").split() == ["m2"]
    assert place.traces() != []
    place.ok("rm", "-y", "m1", "m2")
    assert place.traces() == []
    assert list((place.store / "machines").iterdir()) == []


def test_ssh_runs_commands_and_passes_their_status_on(m1: Shop) -> None:
    """`ssh` runs one command with its input, output and exit status, as root in a home of its own."""
    assert m1.run("ssh", "m1", "exit 7").returncode == 7
    assert m1.run("ssh", "m1", "cat", stdin="through\n").stdout == "through\n"
    assert m1.ok("ssh", "m1", "hostname; pwd; id -un").split() == ["m1", "/root", "root"]
    assert m1.ok("--native-ssh", "ssh", "m1", "echo $0 there").endswith("there\n")


def test_ssh_gives_a_terminal_on_request(m1: Shop) -> None:
    """ssh's own options may follow the name: -tt gives the command a terminal."""
    assert m1.ok("ssh", "m1", "-tt", "tty").strip().startswith("/dev/pts/")


def test_ssh_refuses_another_machine_at_the_address(m1: Shop) -> None:
    """The machine's ssh key was pinned when it was made: whoever else answers there is refused."""
    pinned = m1.store / "machines/m1/known_hosts"
    other = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(m1.store.parent / "other")], check=True
    )
    assert other.returncode == 0
    pinned.write_text("m1 " + (m1.store.parent / "other.pub").read_text())
    result = m1.run("ssh", "m1", "true")
    assert result.returncode == 255
    assert "Host key verification failed" in result.stderr


def test_files_are_copied_in_and_between(m1: Shop) -> None:
    """`scp` copies to `machine:~`, between machines, and directories with -r."""
    m1.ok("create", "m2")
    source = m1.store.parent / "a file"
    source.write_text("content")
    m1.ok("scp", str(source), "m1:~")
    m1.ok("scp", "-q", "m1:a file", "m2:/tmp/b")
    assert m1.ok("ssh", "m2", "cat /tmp/b") == "content"
    m1.ok("ssh", "m1", "mkdir d; echo 1 >d/one")
    m1.ok("scp", "-r", "m1:d", str(m1.store.parent))
    assert (m1.store.parent / "d/one").read_text() == "1\n"
    assert m1.run("scp", "one").returncode == 2


def test_a_machine_changes_nothing_of_the_host(m1: Shop) -> None:
    """The machine sees the host's programs, but what it writes stays its own; docker inside it is Shoal's."""
    m1.ok("ssh", "m1", "touch /usr/bin/m1-was-here /etc/m1-was-here /var/lib/m1-was-here /tmp/m1 ~/m1 /m1-was-here")
    for path in ("/usr/bin", "/etc", "/var/lib", "/"):
        assert not (Path(path) / "m1-was-here").exists()
    assert not Path("/tmp/m1").exists()
    assert "shoal.cli" in m1.ok("ssh", "m1", "cat $(which docker)")
    assert m1.ok("ssh", "m1", "cat /etc/shadow").splitlines()[0].startswith("root:*:")


def test_other_users_find_their_way(place: Shop) -> None:
    """Whatever the umask of who makes a machine, its programs and settings can be used by every user inside it."""
    old = os.umask(0o077)
    try:
        place.ok("create", "m1")
    finally:
        os.umask(old)
    assert place.ok("ssh", "m1", "setpriv --reuid nobody ls -d /usr/bin/env /etc/hosts /tmp").split() == [
        "/etc/hosts", "/tmp", "/usr/bin/env",
    ]  # fmt: skip


def test_another_docker_can_be_chosen(place: Shop) -> None:
    """With --local-docker `docker` inside the machine is that program, after a restart too."""
    chosen = place.store.parent / "docker"
    chosen.write_text("#!/bin/sh\necho chosen $1\n")
    chosen.chmod(0o755)
    place.ok("create", "--local-docker", str(chosen), "m1")
    assert place.ok("ssh", "m1", "docker ps") == "chosen ps\n"
    place.ok("restart", "m1")
    assert place.ok("ssh", "m1", "docker ps") == "chosen ps\n"


def test_stop_and_start_keep_data_and_address(m1: Shop) -> None:
    """A stopped machine ends its engine in good order, and comes back with its files, its address and its host key."""
    m1.ok("ssh", "m1", "echo kept >/root/kept; echo kept >/etc/kept")
    assert m1.ok("stop", "m1").splitlines() == ['Stopping "m1"...', 'Machine "m1" was stopped.']
    assert (m1.store / "machines/m1/local/disk/var/lib/shoal/ended-well").exists()
    assert m1.ok("status", "m1") == "Stopped\n"
    assert m1.ok("ls").splitlines()[1].split() == ["m1", "-", "local", "Stopped", "Unknown"]
    for command in ("ip", "url", "env", "ssh"):
        assert m1.run(command, "m1").returncode == 1
    assert m1.ok("stop", "m1") == 'Machine "m1" is already stopped.\n'
    assert m1.ok("start", "m1").splitlines() == [
        'Starting "m1"...',
        "(m1) Check network to re-create if needed...",
        "(m1) Waiting for an IP...",
        'Machine "m1" was started.',
        "Waiting for SSH to be available...",
        "Detecting the provisioner...",
        "Started machines may have new IP addresses. You may need to re-run the `shoal machine env` command.",
    ]
    assert m1.ok("ssh", "m1", "cat /root/kept /etc/kept").split() == ["kept", "kept"]
    assert m1.ok("ip", "m1").strip() == f"{m1.prefix}.101"
    assert 'Machine "m1" is already running.' in m1.ok("start", "m1")


def test_a_new_address_gets_a_new_certificate(m1: Shop) -> None:
    """`start --new-address` brings the machine back elsewhere; a client that checks the address is content again."""
    m1.ok("stop", "m1")
    m1.ok("start", "--new-address", "m1")
    address = m1.ok("ip", "m1").strip()
    assert address == f"{m1.prefix}.102"
    directory = m1.store / "machines/m1"
    context = ssl.create_default_context(cafile=directory / "ca.pem")
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    for name in (address, "m1"):
        with socket.create_connection((address, 2376), 5) as plain:
            context.wrap_socket(plain, server_hostname=name).close()


def test_env_points_a_shell_to_the_machine_and_back(m1: Shop) -> None:
    """After `eval $(machine env m1)` ls shows the star and `active` the name; `env -u` takes it back."""
    script = f"""
        eval $({SHOAL} machine env m1); echo $DOCKER_HOST; {SHOAL} machine ls; {SHOAL} machine active
        eval $({SHOAL} machine env -u); echo ":$DOCKER_HOST$DOCKER_MACHINE_NAME:"
    """
    result = subprocess.run(["bash", "-c", script], env=m1.environment, capture_output=True, text=True, check=True)
    lines = result.stdout.splitlines()
    assert lines[0] == f"tcp://{m1.prefix}.101:2376"
    assert lines[2].split()[:2] == ["m1", "*"]
    assert lines[3:] == ["m1", "::"]


def test_a_killed_engine_is_started_again(m1: Shop) -> None:
    """When shoald dies, however, the machine's init starts it again at once."""
    old = _engine(m1.process("m1"))
    assert old
    os.kill(old, signal.SIGKILL)
    until_sync(lambda: _engine(m1.process("m1"), default=old) != old)
    until_sync(lambda: m1.run("version", "m1").stdout == "1.2.3\n")


def test_state_is_right_after_a_crash(m1: Shop) -> None:
    """A machine whose init was killed from outside is Stopped, and starts again; so is one that was killed."""
    pid = m1.process("m1")
    os.kill(pid, signal.SIGKILL)
    until_sync(lambda: m1.ok("status", "m1") == "Stopped\n")
    m1.ok("start", "m1")
    assert m1.ok("kill", "m1").splitlines() == ['Killing "m1"...', 'Machine "m1" was killed.']
    assert m1.ok("status", "m1") == "Stopped\n"
    assert "started" in m1.ok("start", "m1")


def test_a_number_used_again_is_not_the_machine(m1: Shop) -> None:
    """A run file that names a process which is not the machine's init does not make the machine Running."""
    m1.ok("stop", "m1")
    run_file = m1.store / "machines/m1/local/run.json"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    run_file.write_text(json.dumps({"pid": os.getpid(), "started": 1, "boot": boot}))
    assert m1.ok("status", "m1") == "Stopped\n"


def test_machines_reach_each_other_and_the_host(m1: Shop) -> None:
    """A machine reaches the host at .1, other machines at their addresses, and the host reaches it."""
    m1.ok("create", "m2")
    with socket.create_server((f"{m1.prefix}.1", 0)) as server:
        port = server.getsockname()[1]
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"hello from the host\n"))
        thread.start()
        said = m1.ok("ssh", "m1", f"exec 3<>/dev/tcp/{m1.prefix}.1/{port}; head -1 <&3")
        thread.join(10)
    assert said == "hello from the host\n"
    assert m1.ok("ssh", "m1", f"exec 3<>/dev/tcp/{m1.prefix}.102/22; head -c 4 <&3") == "SSH-"


def test_overlays_namespaces_and_cgroups_work_inside(m1: Shop) -> None:
    """Inside a machine an engine can mount overlays on its state directory, make bridges, vxlans and cgroups."""
    m1.ok(
        "ssh", "m1",
        "set -e; cd /var/lib/shoal; mkdir l u w m; mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m; umount m; "
        "ip link add br9 type bridge; ip link add vx7 type vxlan id 7 dstport 4789; nft add table ip t; ip netns add n; "
        "d=/sys/fs/cgroup; [ -d $d/memory ] && d=$d/memory; mkdir $d/inner; sh -c \"echo 0 >$d/inner/cgroup.procs\"",
    )  # fmt: skip


def test_an_interrupted_create_leaves_nothing(place: Shop) -> None:
    """When a create is ended before the machine's engine answers, nothing of the machine is left."""
    broken = place.store.parent / "not-for-this-computer"
    broken.write_text("#!/nowhere/at/all\n")
    broken.chmod(0o755)
    with subprocess.Popen(
        [SHOAL, "machine", "create", "--local-engine", str(broken), "m1"], env=place.environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as creation:  # fmt: skip
        assert creation.stdout
        for line in creation.stdout:
            if line.startswith("Checking connection"):
                creation.send_signal(signal.SIGTERM)
        assert creation.wait(30) == 143
    assert place.ok("ls", "-q") == ""
    assert place.traces() == []


def test_a_killed_create_can_be_removed(place: Shop) -> None:
    """A create that is killed without warning leaves a machine that says it is unfinished, and that rm removes."""
    with subprocess.Popen(
        [SHOAL, "machine", "create", "m1"], env=place.environment, stdout=subprocess.PIPE, text=True
    ) as creation:
        assert creation.stdout
        for line in creation.stdout:
            if "Starting the machine" in line:
                creation.kill()
    until_sync(lambda: place.ok("status", "m1") == "Stopped\n")
    assert "was never finished" in place.run("start", "m1").stderr
    place.ok("rm", "-y", "m1")
    assert place.traces() == []


def test_a_machine_without_its_record_can_be_forced_away(m1: Shop) -> None:
    """When config.json is damaged, rm fails and changes nothing; rm -f takes everything and says what was wrong."""
    (m1.store / "machines/m1/config.json").write_text("{")
    assert m1.run("rm", "-y", "m1").returncode == 1
    assert Path(f"/proc/{m1.process('m1')}").exists()
    forced = m1.run("rm", "-f", "m1")
    assert forced.returncode == 1
    assert "Error loading host m1" in forced.stderr
    assert m1.traces() == []
    assert m1.ok("ls", "-q") == ""


@pytest.mark.parametrize("name", ["Foo", "a.b", "1"])
def test_names_of_all_kinds(place: Shop, name: str) -> None:
    """Capitals, dots and bare numbers are fine as names: for ssh, its pinned key, TLS and the host name."""
    place.ok("create", name)
    assert place.ok("ssh", name, "hostname") == f"{name}\n"
    assert place.ok("version", name) == "1.2.3\n"
    place.ok("rm", "-y", name)


def test_wrong_use_is_told_in_docker_machines_words(m1: Shop) -> None:
    """Missing and duplicate machines, bad names, taken addresses and removal without an answer are refused."""
    missing = m1.run("ssh", "nosuch", "true")
    assert missing.returncode == 1
    assert missing.stderr.startswith('Docker machine "nosuch" does not exist.')
    assert m1.run("create", "m1").stderr == 'Docker machine "m1" already exists\n'
    assert "Invalid hostname" in m1.run("create", "a_b").stderr
    taken = m1.run("create", "--local-address", f"{m1.prefix}.101", "m2")
    assert taken.returncode == 1
    assert "already in use" in taken.stderr
    assert m1.ok("ls").splitlines()[1].split()[3] == "Running"
    assert m1.run("create", "--local-subnet", "10.0.0.0/33", "m2").returncode == 1
    assert m1.run("rm", "m1").returncode == 1
    assert m1.ok("status", "m1") == "Running\n"
    assert m1.run("status").stderr == 'Error: No machine name(s) specified and no "default" machine exists\n'


def test_several_at_once(place: Shop) -> None:
    """Machines made at the same moment by different commands get different addresses; stop and start take several."""
    commands = [
        subprocess.Popen([SHOAL, "machine", "create", name], env=place.environment, stdout=subprocess.DEVNULL)
        for name in ("m1", "m2", "m3")
    ]
    assert [command.wait(60) for command in commands] == [0, 0, 0]
    assert len(set(place.ok("ip", "m1", "m2", "m3").split())) == 3
    place.ok("stop", "m1", "m2", "m3")
    place.ok("start", "m1", "m2", "m3")
    assert place.ok("ls", "-q", "--filter", "state=Running").split() == ["m1", "m2", "m3"]


def _engine(init: int, default: int = 0) -> int:
    """The engine's process, a child of the machine's pid 1."""
    for child in Path(f"/proc/{init}/task/{init}/children").read_text().split():
        with suppress(OSError):  # it has ended just now
            if b"--tlsverify" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return default
