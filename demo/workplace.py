"""Where the tutorial happens: a folder of its own with commands, machines, credentials, and a private registry."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt

from demo.shell import Shell, Unexpected, clean_environment
from shoal.machine.subnet import Subnet, host_addresses

EXAMPLES = Path(__file__).parent.parent / "examples"
USER, PASSWORD = "me", "wave-after-wave"


def free_subnet(first: str) -> str:
    """The first network from `first` on (three numbers, as `192.168.99`) in which this computer has no address and no
    machine: another tool may be there, or what is left of a run that was killed. Raises Unexpected if all are used.
    """
    used = [address.network for _, address in host_addresses()]
    prefix, _, number = first.rpartition(".")
    for each in range(int(number), 256):
        subnet = Subnet(f"{prefix}.{each}.0/24")
        if not subnet.members() and not any(subnet.network.overlaps(other) for other in used):
            return f"{prefix}.{each}"
    raise Unexpected(f"each network from {first}.0/24 on is in use on this computer: choose another with --subnet")


@dataclass
class Workplace:
    """A temporary home with everything that the tutorial's commands use; nothing of the user's is touched.

    `driver` makes the tutorial's two machines. Those beside them ("your own computer", and the one that comes later)
    are local machines where those can be on one network with the driver's, else `driver`'s, too.
    """

    folder: Path
    subnet: str
    docker: str
    driver: str = "local"
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for the driver's options."""

    together: bool = False
    """Whether local machines are on one network with the driver's, although that is not its habit."""

    @property
    def beside(self) -> str:
        """The driver of the machines beside the two."""
        return "local" if self.together or self.driver in ("local", "qemu") else self.driver

    @property
    def chooses_addresses(self) -> bool:
        """Whether a machine can be told to come back at another address; else the network's DHCP server decides."""
        return self.driver != "hyperv"

    @property
    def patience(self) -> float:
        """How many times longer than on this computer itself things may take: virtual machines may be emulated."""
        return 1.0 if self.driver == "local" else 6.0

    @property
    def host(self) -> str:
        """This computer, as the machines see it."""
        return f"{self.subnet}.1"

    def shell(self, *, show: bool) -> Shell:
        """A terminal in which `docker` and `docker-machine` are what this run is about."""
        env = clean_environment(
            PATH=f"{self.folder}/bin:{clean_environment()['PATH']}",
            HOME=str(self.folder / "home"),
            MACHINE_STORAGE_PATH=str(self.folder / "machines"),
            DOCKER_CONFIG=str(self.folder / "docker"),
            MACHINE_LOCAL_SUBNET=f"{self.subnet}.0/24",
            QEMU_SUBNET=f"{self.subnet}.0/24",
            SHELL="/bin/bash",
            **self.settings,
            **({"MACHINE_LOCAL_DOCKER": self.docker} if self.docker else {}),
        )
        return Shell(env, self.folder / "app", show=show, patience=self.patience)


@contextmanager
def workplace(
    docker: str,
    subnet: str,
    driver: str = "local",
    settings: Mapping[str, str] | None = None,
    *,
    together: bool = False,
) -> Iterator[Workplace]:
    """A fresh workplace, removed at the end with every machine in it. `docker` names the command line to use
    (a path of the official one); empty means Shoal's own."""
    shoal = Path(sys.executable).parent / "shoal"
    folder = Path(tempfile.mkdtemp(prefix="shoal-tutorial-", dir="/var/tmp"))
    try:
        for name in ("bin", "home", "machines", "docker", "app"):
            (folder / name).mkdir()
        for name, target in (("shoal", shoal), ("docker-machine", shoal), ("docker", docker or shoal)):
            (folder / "bin" / name).symlink_to(target)
        shutil.copytree(EXAMPLES / "friendlyhello", folder / "app", dirs_exist_ok=True)
        shutil.copytree(EXAMPLES / "redis", folder / "app" / "redis")
        place = Workplace(folder, subnet, docker, driver, settings or {}, together)
        try:
            yield place
        finally:
            remove_machines(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_machines(place: Workplace) -> None:
    """Remove what machines are left, also after a failure."""
    shell = place.shell(show=False)
    names = shell.run("shoal machine ls -q", quiet=True).split()
    if names:
        shell.run(f"shoal machine rm -f -y {' '.join(names)}", quiet=True)


def bring_image(place: Workplace, shell: Shell, image: str) -> None:
    """The machine image that virtual machines boot: the file `image`, or made now."""
    if not image:
        shell.run("docker-machine image build")
        return
    cache = place.folder / "machines" / "cache"
    cache.mkdir(mode=0o700)
    shutil.copyfile(image, cache / "shoal.iso")


@contextmanager
def registry(place: Workplace) -> Iterator[str]:
    """A private registry with a user and a password on this computer's address that the machines reach."""
    folder = place.folder / "registry"
    folder.mkdir(mode=0o700)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()
    (folder / "htpasswd").write_text(f"{USER}:{hashed}\n")
    address = f"{place.host}:5000"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {folder}/data}}\nhttp: {{addr: '{address}'}}\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
        f"auth: {{htpasswd: {{realm: shoal, path: {folder}/htpasswd}}}}\n"
    )
    log = (folder / "log").open("w")
    with log, subprocess.Popen(["docker-registry", "serve", f"{folder}/config.yml"], stdout=log, stderr=log) as server:
        try:
            _wait(f"http://{address}/v2/")
            yield address
        finally:
            server.terminate()


def _wait(url: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"the registry does not answer at {url}")
