"""Secrets stay secret, a full disk is survived, and machines that are removed leave nothing."""

from __future__ import annotations

import base64
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from demo.workplace import PASSWORD

from tests.system.swarm_lab import Lab, Refused, lab
from tests.waiting import until_sync

pytestmark = pytest.mark.system

ALL = ("m1", "m2")
NETWORK = "10.93"
PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")


@pytest.fixture(scope="module")
def swarm() -> Iterator[Lab]:
    """A manager, m1, and a worker, m2, that pulled an image with a password."""
    with lab() as made:
        made.create("m2")
        made.init("m1")
        made.join("m2", "m1")
        made.service("m1", "web", "--mode", "global", "-p", "80:80")
        made.until_running("m1", "web", 2)
        yield made


def files(swarm: Lab) -> Iterator[tuple[Path, bytes]]:
    """Every file that the machines and their shoald keep, with its content."""
    places = [swarm.shop.store]
    places += [swarm.root(name) / directory for name in ALL for directory in ("run/shoal", "etc/docker")]
    for place in places:
        for folder, directories, names in os.walk(place):
            # Layers of images are not Shoal's own; what containers write into them neither.
            directories[:] = [one for one in directories if one not in ("layers", "rootfs", "merged", "netns")]
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # a draft that has got its name meanwhile
                    if stat.S_ISREG(path.lstat().st_mode):
                        yield path, path.read_bytes()


def open_to_others(path: Path, top: Path) -> bool:
    """Whether somebody else than root could read `path`: it, and every directory on the way from `top`."""
    if not path.stat().st_mode & 0o044:
        return False
    return all(parent.stat().st_mode & 0o011 for parent in path.parents if parent.is_relative_to(top))


def passwords() -> list[bytes]:
    """The registry's password, and what it looks like wherever in a text it is that was put into base64."""
    forms = [PASSWORD.encode()]
    for before in range(3):
        coded = base64.b64encode(b"x" * before + PASSWORD.encode())
        forms.append(coded[(before * 8 + 5) // 6 : len(coded) // 4 * 4 - 4])
    return forms


def secrets(swarm: Lab) -> list[bytes]:
    """Words that nobody else may see: the password, and the tokens' secret halves."""
    return [*passwords(), *(token.rsplit("-", 1)[1].encode() for token in swarm.tokens.values())]


def test_keys_and_tokens_are_readable_by_root_only(swarm: Lab) -> None:
    """No private key, token or password is in a file that others may read."""
    words, looked, keys = secrets(swarm), 0, 0
    for path, content in files(swarm):
        looked += 1
        key = PRIVATE.search(content) is not None
        keys += key
        if key or any(word in content for word in words):
            top = swarm.shop.store if path.is_relative_to(swarm.shop.store) else path.parents[len(path.parents) - 5]
            assert not path.stat().st_mode & 0o077 or not open_to_others(path, top), path
    assert looked > 50 and keys >= 6


def test_nothing_secret_is_on_a_command_line_or_in_a_log(swarm: Lab) -> None:
    """Neither the command lines nor the environments nor the logs of the machines' processes have a secret in them."""
    words = secrets(swarm)
    spaces = {os.readlink(f"/proc/{swarm.shop.process(name)}/ns/pid") for name in ALL}
    looked = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns/pid") not in spaces:
                continue
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        looked += 1
        assert not any(word in text for word in words), text
    assert looked >= 8
    for path, content in files(swarm):
        if "log" in path.name:
            assert not any(word in content for word in [*words, b"PRIVATE KEY"]), path


def test_credentials_are_stored_encrypted_only(swarm: Lab) -> None:
    """The registry's password is in no file of the daemons, readable as it is or in base64: the store is encrypted."""
    found = [path for path, content in files(swarm) if any(word in content for word in passwords())]
    assert found == []
    etcd = swarm.root("m1") / "var/lib/shoal/swarm/etcd/data"
    data = b"".join(path.read_bytes() for path in etcd.rglob("*") if path.is_file())
    assert len(data) > 10000
    for word in [*secrets(swarm), b"PRIVATE KEY", b"friendlyhello", swarm.image.encode()]:
        assert word not in data


def test_sockets_are_for_root_and_its_group(swarm: Lab) -> None:
    """The API's socket and etcd's cannot be used by others."""
    for name in ALL:
        mode = (swarm.root(name) / "run/docker.sock").stat().st_mode
        assert stat.S_IMODE(mode) & 0o007 == 0
    paths = [path for path in (swarm.root("m1") / "var/lib/shoal/swarm/etcd").rglob("*") if path.is_socket()]
    assert paths
    for path in paths:
        assert not open_to_others(path, swarm.root("m1") / "var/lib/shoal")


def test_a_full_disk_is_told_and_survived(swarm: Lab) -> None:
    """A daemon whose data root is full says so, keeps answering, and works again when there is room."""
    start = (
        "mkdir -p /tmp/small /tmp/small.run; mount -t tmpfs -o size=24m none /tmp/small; "
        "cd /; setsid /usr/local/bin/shoald -H unix:///tmp/small.sock --data-root /tmp/small --exec-root /tmp/small.run "
        "-p /tmp/small.pid >/tmp/small.log 2>&1 </dev/null & true"
    )
    swarm.inside("m2", start)
    docker = "docker -H unix:///tmp/small.sock"
    until_sync(lambda: worked(swarm, f"{docker} version"))
    try:
        swarm.inside("m2", f'tar -C /bin -c busybox | {docker} import -c \'CMD ["/busybox","true"]\' - small')
        swarm.inside("m2", f"{docker} run --name before small")
        swarm.inside("m2", "dd if=/dev/zero of=/tmp/small/filler bs=1M 2>/dev/null; true")
        for command in (
            "run small",
            "run --rm small",
            "create --name more small",
            "volume create full",
            "pull nosuch:1",
        ):
            with pytest.raises(Refused) as refused:
                swarm.inside("m2", f"{docker} {command}")
            text = str(refused.value)
            if "pull" not in command:
                assert "no space left on device" in text.lower(), text
        with pytest.raises(Refused) as refused:
            swarm.inside("m2", f"head -c 30000000 /dev/urandom >/tmp/big; tar -C /tmp -c big | {docker} import - big")
        assert "no space left on device" in str(refused.value).lower()
        assert "before" in swarm.inside("m2", f"{docker} ps -a")
        swarm.inside("m2", "rm /tmp/small/filler")
        for command in ("import - big", "load"):  # what has arrived of these is as much as there is room for
            with pytest.raises(Refused) as refused:
                swarm.inside("m2", f"tar -C /tmp -c big | {docker} {command}")
            assert "no space left on device" in str(refused.value).lower()
        assert swarm.inside("m2", "find /tmp/small/image/blobs/partial -type f") == ""
        swarm.inside("m2", f"{docker} run --rm small")
        assert swarm.inside("m2", f"{docker} ps -aq").count("\n") == 1
        assert "Traceback" not in swarm.inside("m2", "cat /tmp/small.log")
    finally:
        swarm.inside("m2", f"{docker} rm -f before; kill $(cat /tmp/small.pid)")
        until_sync(lambda: not (swarm.root("m2") / "tmp/small.pid").exists())
        swarm.inside("m2", "umount /tmp/small; rm -rf /tmp/small* /tmp/big")


def test_a_manager_on_a_full_disk_comes_back(swarm: Lab) -> None:
    """A manager whose disk is full keeps its containers running and its API answering; with room again, all it
    acknowledged is there, and what is wanted is reached."""
    swarm.create("m3")
    old = swarm.daemon("m3")
    swarm.inside("m3", "mount -t tmpfs -o size=300m none /var/lib/shoal")
    swarm.kill(old)
    until_sync((swarm.root("m3") / "var/lib/shoal/engine-id").exists)
    until_sync(lambda: worked(swarm, "docker version", "m3"))
    swarm.docker("m3", "swarm", "init", "--advertise-addr", swarm.ip("m3"))
    swarm.service("m3", "web", "--replicas", "2", "-p", "80:80")
    swarm.until_running("m3", "web", 2)
    before = set(swarm.containers("m3"))
    swarm.inside("m3", "dd if=/dev/zero of=/var/lib/shoal/filler bs=1M 2>/dev/null; true")
    possible = {2}
    for replicas in (3, 4, 3, 4):
        possible.add(replicas)  # what is refused may have happened all the same
        with suppress(Refused):
            swarm.docker("m3", "service", "scale", "--detach", f"web={replicas}")
            possible = {replicas}
        assert before <= set(swarm.containers("m3"))
    swarm.inside("m3", "rm /var/lib/shoal/filler")
    until_sync(lambda: worked(swarm, "docker service update --detach --label-add a=1 web", "m3"), 60, 0.2)
    replicas = swarm.inspect("m3", "service", "web")["Spec"]["Mode"]["Replicated"]["Replicas"]
    assert replicas in possible
    swarm.until_running("m3", "web", replicas)
    assert before <= set(swarm.containers("m3"))
    until_sync(lambda: len(swarm.answers("m3", 80, replicas)) == replicas)
    swarm.machine("rm", "-y", "-f", "m3")


def worked(swarm: Lab, script: str, name: str = "m2") -> bool:
    """Whether a script succeeds in a machine."""
    try:
        swarm.inside(name, script)
    except Refused:
        return False
    return True


def test_machines_with_running_services_leave_nothing() -> None:
    """`machine rm -f` of a swarm in full run leaves no namespace, mount, process, bridge, cgroup or table."""
    before = host()
    with lab(network=NETWORK) as made:
        made.create("m2")
        made.init("m1")
        made.join("m2", "m1")
        made.docker("m1", "network", "create", "-d", "overlay", "inner")
        made.service("m1", "web", "--replicas", "4", "-p", "80:80", "--network", "inner")
        made.until_running("m1", "web", 4)
        made.docker("m2", "run", "-d", "--name", "alone", "-p", "81:80", "-v", "data:/data", made.image)
        assert host() != before
    assert not host() - before


def host() -> set[str]:
    """What this computer has, of the kinds that machines make; of other tests running at the same time, nothing."""
    own = f"{NETWORK}.{os.getpid() % 250}"
    found = {line for line in _lines("ip", "-br", "address") if own in line}
    found |= {f"table {line}" for line in _lines("nft", "list", "tables") if "shoal" in line}
    found |= {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if own in line}
    found |= {str(path) for path in Path("/run/shoal-machines").glob(f"{own}*")}
    return found


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
