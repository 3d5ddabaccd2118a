"""Hosts for the generic driver: a computer of one's own with a real sshd, without any engine, and nothing of ours on it.

A host is a local machine (namespaces, a root directory of its own) whose pid 1 starts what its /etc/init.d has, and sshd.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.machine import ssh
from shoal.machine.driver import Context, EngineSetup, SshEndpoint
from shoal.machine.local import disk
from shoal.machine.local.driver import LocalDriver

SHOAL = Path(sys.executable).with_name("shoal")

_BOOT = """
for script in /etc/init.d/*; do grep -q "Made by shoal machine" "$script" && "$script" start; done
exec /usr/sbin/sshd -D -e -f /etc/ssh/sshd_config
"""
_SYSTEMD_BOOT = """
[ -e /etc/systemd/system/lab.target ] || rm -rf /etc/systemd/system/*.wants/*
mkdir -p /etc/systemd/system
printf '[Unit]\\nDefaultDependencies=no\\nWants=lab-sshd.service multi-user.target\\n' >/etc/systemd/system/lab.target
printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nRuntimeDirectory=sshd\\nExecStart=/usr/sbin/sshd -D -e -f \\
/etc/ssh/sshd_config\\nKillMode=process\\n' >/etc/systemd/system/lab-sshd.service
export container=other
exec unshare --pid --fork --kill-child --mount --mount-proc /lib/systemd/systemd --system --unit=lab.target
"""
"""With systemd as the host's first process, and none of this computer's services."""
_SHUTDOWN = "#!/bin/sh\nkill $(pgrep -o -x sshd)\n"
"""pid 1 starts sshd again, with what goes before it: as near to a reboot as it gets without systemd."""


class _Computer(LocalDriver):
    """A local machine without an engine, and without the host's Shoal in it."""

    def _services(self, setup: EngineSetup) -> list[dict[str, Any]]:
        boots = _SYSTEMD_BOOT if self.data.get("Systemd") else _BOOT
        return [{"name": "sshd", "argv": ["/bin/sh", "-c", boots], "environment": disk.environment()}]

    def _binds(self) -> list[tuple[str, str, bool]]:
        # Its pid 1 runs on this Python; neither Shoal nor what it needs is in there.
        base = os.path.realpath(sys.base_prefix)
        return [] if base.split("/")[1] in disk.LAYERED else [(base, sys.base_prefix, True)]

    def _boot_files(self, address: str, gateway: str) -> list[disk.File]:
        files = disk.boot_files(self.context.name, address, gateway, docker=False)
        own = [file for file in files if not file[0].startswith("/usr/local/bin/")]
        return own if self.data.get("Systemd") else [*own, ("/usr/local/sbin/shutdown", 0o755, _SHUTDOWN)]


@dataclass
class SshHost:
    """One host. `run` is a command on it as root."""

    folder: Path
    subnet: str
    name: str = "host"
    systemd: bool = False

    def __post_init__(self) -> None:
        directory = self.folder / "machines" / self.name
        directory.mkdir(parents=True, exist_ok=True)
        self.driver = _Computer(Context(self.name, directory, self.folder, lambda line: None), {})

    def create(self) -> None:
        """Switch it on for the first time."""
        self.driver.configure({"local-subnet": self.subnet})
        self.driver.data["Systemd"] = self.systemd
        self.driver.create(lambda address: EngineSetup({}, [], {}))
        ssh.wait_for_banner(self.endpoint, 30)

    def start(self) -> None:
        """Switch it on."""
        self.driver.start(lambda address: EngineSetup({}, [], {}))

    def stop(self) -> None:
        """Cut its power."""
        self.driver.kill()

    def remove(self) -> None:
        """Take it away, whole."""
        self.driver.remove()

    @property
    def endpoint(self) -> SshEndpoint:
        """Its sshd, for root."""
        return self.driver.ssh()

    @property
    def address(self) -> str:
        """Where it is."""
        return str(self.driver.data["IPAddress"])

    @property
    def key(self) -> Path:
        """The key that it lets in."""
        return Path(self.driver.data["SSHKeyPath"])

    def run(self, command: str, input: bytes = b"") -> str:
        """The output of a command that must succeed, as root."""
        result = ssh.run(self.endpoint, command, input=input)
        assert result.status == 0, result.trouble
        return result.text

    def snapshot(self, *, without: str = "shoal|/etc/init.d/.depend") -> str:
        """Every file that differs from a fresh host, with its digest: what somebody changed."""
        return self.run(
            "(find /etc /var/lib/docker -type f -exec md5sum {} + ; ls -d /usr/local/bin/* /usr/local/sbin/* /opt/*) "
            f"2>/dev/null | grep -Ev '{without}' | sort; hostname"
        )


@dataclass
class Shop:
    """A store and its `shoal machine` command line."""

    store: Path

    def run(self, *words: str, stdin: str = "", timeout: float = 170, **environment: str) -> Any:
        """Run `shoal machine WORDS...`."""
        return subprocess.run([SHOAL, "machine", *words], input=stdin, capture_output=True, text=True, check=False,
                              timeout=timeout, env={**self.environment, **environment})  # fmt: skip

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of its commands."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "MACHINE_"))}
        return {**clean, "MACHINE_STORAGE_PATH": str(self.store)}

    def ok(self, *words: str, **environment: str) -> str:
        """The output of a command that must succeed."""
        result = self.run(*words, **environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return str(result.stdout)
