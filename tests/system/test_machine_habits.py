"""What people did with docker-machine, on real machines: mounts, copies, asyncssh, scripts, passing machines on."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machines import SHOAL, Shop, shop

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Two machines, m1 and m2, that the tests of this file share."""
    made = shop(tmp_path_factory.mktemp("habits"), f"10.198.{os.getpid() % 250}")
    try:
        made.ok("create", "--driver", "local", "m1", "m2")
        yield made
    finally:
        names = made.ok("ls", "-q").split()
        if names:
            made.run("rm", "-f", *names)
        assert made.traces() == []


def test_several_names_in_one_command(place: Shop) -> None:
    """Both machines were made by one command; `ip` names them in the order asked; stop and start take what ls -q prints."""
    assert place.ok("ip", "m2", "m1").split() == [f"{place.prefix}.{last}" for last in _lasts(place, "m2", "m1")]
    script = f"{SHOAL} machine stop $({SHOAL} machine ls -q) && {SHOAL} machine start $({SHOAL} machine ls -q)"
    done = subprocess.run(["bash", "-c", script], env=place.environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("was stopped.") == done.stdout.count("was started.") == 2
    assert done.stdout.splitlines()[-1].startswith("Started machines may have new IP addresses.")


def _lasts(place: Shop, *names: str) -> list[str]:
    return [place.ok("inspect", "-f", "{{.Driver.IPAddress}}", name).strip().rpartition(".")[2] for name in names]


def test_a_directory_is_mounted(place: Shop, tmp_path: Path) -> None:
    """`mount` shows a machine's directory here, files go both ways, and `mount -u` ends it."""
    here = tmp_path / "here"
    here.mkdir()
    place.ok("ssh", "m1", "mkdir -p /srv/shown; echo from the machine >/srv/shown/a")
    place.ok("mount", "m1:/srv/shown", str(here))
    try:
        assert (here / "a").read_text() == "from the machine\n"
        (here / "b").write_text("from here\n")
        assert place.ok("ssh", "m1", "cat /srv/shown/b") == "from here\n"
    finally:
        place.ok("mount", "--unmount", "m1:/srv/shown", str(here))
    assert list(here.iterdir()) == []


def test_differences_are_copied(place: Shop, tmp_path: Path) -> None:
    """`scp -d` copies by rsync, directories with -r; between machines it says that it cannot."""
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/e/f").write_text("x" * 100_000)
    place.ok("scp", "-r", "-d", str(tmp_path / "d"), "m1:/tmp")
    assert place.ok("ssh", "m1", "wc -c </tmp/d/e/f").strip() == "100000"
    place.ok("scp", "-q", "-d", "m1:/tmp/d/e/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "x" * 100_000
    assert "not between machines" in place.run("scp", "-d", "m1:/tmp/d/e/f", "m2:/tmp").stderr


def test_ssh_without_openssh(place: Shop) -> None:
    """--native-ssh and MACHINE_NATIVE_SSH give input, output and status; so does a computer that has no ssh program."""
    assert place.run("--native-ssh", "ssh", "m1", "echo out; echo err >&2; exit 7").returncode == 7
    assert place.run("--native-ssh", "ssh", "m1", "cat; hostname", stdin="in\n").stdout == "in\nm1\n"
    assert place.run("ssh", "m1", "hostname", MACHINE_NATIVE_SSH="1").stdout == "m1\n"
    assert place.run("ssh", "m1", "hostname", PATH=str(place.store)).stdout == "m1\n"


def test_a_colleague_gets_access(place: Shop, tmp_path: Path) -> None:
    """Who imports an access file reaches engine and ssh with keys of their own, and by removing it harms nothing."""
    file = tmp_path / "access"
    place.ok("export", "--access", "--output", str(file), "m1", MACHINE_PASSPHRASE="unused")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    theirs = Shop(tmp_path / "theirs", place.prefix)
    theirs.ok("import", "--name", "shared", str(file))
    assert theirs.ok("version", "shared") == "1.2.3\n"
    assert theirs.ok("ssh", "shared", "hostname") == "m1\n"
    theirs.ok("scp", str(file), "shared:/tmp/copied")
    own, key = (
        store / "machines" / name / "id_ed25519" for store, name in ((place.store, "m1"), (theirs.store, "shared"))
    )
    assert own.read_bytes() != key.read_bytes()
    admitted = place.ok("ssh", "m1", "cat .ssh/authorized_keys").splitlines()
    assert len(admitted) == 2
    assert " shoal-access-to-m1-" in admitted[1]
    theirs.ok("rm", "-y", "shared")
    assert place.ok("status", "m1") == "Running\n"
    assert place.ok("version", "m1") == "1.2.3\n"


def test_a_local_machine_stays(place: Shop) -> None:
    """A machine that is this computer's own files cannot be moved, and the refusal says what can be done."""
    refused = place.run("export", "-o", str(place.store.parent / "whole"), "m1")
    assert refused.returncode == 1
    assert "--access" in refused.stderr
    assert not (place.store.parent / "whole").exists()
