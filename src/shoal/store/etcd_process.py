"""etcd as a private child: started, watched, started again when it dies, stopped with its parent.

Clients reach it through a unix socket in a 0700 directory, so only this user can; peers through mutual TLS, and only
with a certificate that names `swarm-manager`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shoal.ca.files import CertificateFiles
from shoal.kit.backoff import backoff
from shoal.kit.tasks import background
from shoal.model.errors import FailedPrecondition, ShoalError
from shoal.store.etcd_client import EtcdClient, EtcdError
from shoal.store.etcd_names import TOOLS, with_names

logger = logging.getLogger(__name__)

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0
STABLE = 30.0
"""A process that lived this many seconds is started again at once when it dies."""

_TUNING = (
    "--logger=zap",
    "--log-level=error",
    "--log-outputs=stderr",
    "--max-txn-ops=10000",
    "--max-request-bytes=16777216",
    "--auto-compaction-mode=revision",
    "--auto-compaction-retention=10000",
    # Its check wants every member connected for five seconds before another may come: a third manager would wait, and
    # none could join while one is down. Members join as learners, which cannot cost the quorum, and `node.membership`
    # looks at it before one leaves.
    "--strict-reconfig-check=false",
)
_NORMAL = ("--heartbeat-interval=100", "--election-timeout=1000")
_HASTY = ("--heartbeat-interval=30", "--election-timeout=300", "--unsafe-no-fsync")


class MemberRemoved(Exception):
    """etcd ended because the other members removed this one."""


@dataclass(frozen=True)
class EtcdOptions:
    """How to run one member."""

    name: str
    """The node's id."""
    directory: Path
    """Holds `data`, `run` (the socket), `etc` (the names of its peers, see `etcd_names`) and `etcd.log`."""
    certificates: CertificateFiles
    """Certificate, key and root for its peers."""
    listen_url: str
    """`https://0.0.0.0:2378`"""
    peer_url: str
    """What the other members dial, for ever the same: `https://etcd-<node id>:2378`."""
    cluster_token: str
    """The swarm's id."""
    initial_cluster: str = ""
    """`name=url,...` of all members, this one included, when it joins others; empty for a new cluster."""
    force_new_cluster: bool = False
    """Drop all other members and keep the data. Once only, so a process that is started again does not do it again."""
    quota: int = 8 * 2**30
    """Bytes that the data may take; see `upkeep`."""
    hasty: bool = False
    """No fsync and short elections, for tests: data does not survive a power cut."""


class EtcdProcess:
    """One etcd, made by `run_etcd`."""

    def __init__(self, options: EtcdOptions) -> None:
        self.options = options
        self.socket = options.directory / "run" / "etcd:0"
        self.log = options.directory / "etcd.log"
        self.pid = 0
        """Of the running process, 0 between two."""

    async def supervise(self) -> None:
        """Run it for ever, starting it again when it dies. Raises MemberRemoved when it was removed."""
        waits, force = backoff(0.1, 5.0), self.options.force_new_cluster
        await asyncio.to_thread(end_stray, self.options.directory)
        while True:
            started = time.monotonic()
            process = self._spawn(force)
            force = False
            self.pid = process.pid
            try:
                code = await _exit_code(process)
            finally:
                self.pid = 0
                if process.returncode is None:
                    await asyncio.shield(_stop(process))
            if code == 0:
                raise MemberRemoved
            if time.monotonic() - started > STABLE:
                waits = backoff(0.1, 5.0)
            logger.warning("etcd ended with %s, starting it again: %s", code, self._last_words())
            await asyncio.sleep(next(waits))

    async def ready(self, client: EtcdClient, timeout: float | None = READY_TIMEOUT) -> None:
        """Wait until it answers. ShoalError, with etcd's last words, after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                for wait in backoff(0.02, 0.2):
                    try:
                        await client.status()
                        return
                    except (ShoalError, EtcdError):
                        await asyncio.sleep(wait)
        except TimeoutError as fault:
            raise ShoalError(f"the swarm's store did not start: {self._last_words()}") from fault

    def command(self, force: bool) -> list[str]:
        """The command line; it holds paths and addresses, nothing secret."""
        options, files = self.options, self.options.certificates
        etcd = [
            "etcd",
            f"--name={options.name}",
            _data_flag(options.directory),
            "--listen-client-urls=unix://etcd:0",  # a file of that name in the working directory
            "--advertise-client-urls=unix://etcd:0",
            f"--listen-peer-urls={options.listen_url}",
            f"--initial-advertise-peer-urls={options.peer_url}",
            f"--initial-cluster={options.initial_cluster or f'{options.name}={options.peer_url}'}",
            f"--initial-cluster-state={'existing' if options.initial_cluster else 'new'}",
            f"--initial-cluster-token={options.cluster_token}",
            f"--peer-cert-file={files.certificate.absolute()}",
            f"--peer-key-file={files.key.absolute()}",
            f"--peer-trusted-ca-file={files.root.absolute()}",
            "--peer-client-cert-auth",
            "--peer-cert-allowed-hostname=swarm-manager",
            # It would ask that names resolve to where a peer calls from, which they do not when it has just moved.
            "--experimental-peer-skip-client-san-verification",
            f"--quota-backend-bytes={options.quota}",
            *_TUNING,
            *(_HASTY if options.hasty else _NORMAL),
            *(["--force-new-cluster"] if force else []),
        ]
        return ["setpriv", "--pdeathsig", "TERM", "--", *with_names(options.directory, etcd)]

    def make_directories(self) -> None:
        """The member's directories, for this user only."""
        for directory in (self.options.directory, self.socket.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)

    def _spawn(self, force: bool) -> subprocess.Popen[bytes]:
        for tool in ("setpriv", "etcd", *TOOLS):
            if shutil.which(tool) is None:
                raise FailedPrecondition(f"a manager needs {tool}, which is not installed (run `shoal doctor`)")
        self.socket.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if not _misleads(name)}
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            # Not in a thread, although it blocks for a millisecond or two: the death signal is sent when the thread
            # that made the child ends, and a pool's threads may end before the daemon does.
            process = subprocess.Popen(
                self.command(force),
                cwd=self.socket.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                process_group=0,  # a terminal's interrupt is for the daemon, which then stops etcd
            )
            _pid_file(self.options.directory).write_text(str(process.pid))
            return process
        finally:
            os.close(descriptor)

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1][-500:] if lines else ""


@asynccontextmanager
async def run_etcd(
    options: EtcdOptions, timeout: float | None = READY_TIMEOUT
) -> AsyncIterator[tuple[EtcdProcess, EtcdClient]]:
    """A member that answers, and a client of it, for the length of the scope.

    A member that starts again answers only once there is a quorum: give it no `timeout`. MemberRemoved comes out of
    the scope when the other members remove this one.
    """
    process = EtcdProcess(options)
    process.make_directories()
    async with background(process.supervise()), EtcdClient(process.socket) as client:
        await process.ready(client, timeout)
        yield process, client


def end_stray(directory: Path) -> None:
    """End the etcd that a killed daemon left in `directory`: without peers it may wait in vain for one of them to
    lead, and has the port. Blocks, for `STOP_TIMEOUT` at most."""
    try:
        pid = int(_pid_file(directory).read_text())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return
    try:
        if _data_flag(directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], STOP_TIMEOUT)
    except OSError:
        return  # it has just ended by itself
    finally:
        os.close(descriptor)


def _pid_file(directory: Path) -> Path:
    return directory / "run" / "pid"


def _data_flag(directory: Path) -> str:
    return f"--data-dir={directory.absolute() / 'data'}"


def _misleads(variable: str) -> bool:
    """Whether etcd would take options from it, or go to its peers through a proxy."""
    return variable.startswith("ETCD_") or variable.lower().endswith("_proxy")


async def _exit_code(process: subprocess.Popen[bytes]) -> int:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    descriptor = os.pidfd_open(process.pid)
    try:
        loop.add_reader(descriptor, ended.cancel)
        await asyncio.wait([ended])
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


async def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await _exit_code(process)
    except TimeoutError:
        process.kill()
        process.wait()
