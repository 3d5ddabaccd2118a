"""`shoald`: wires networks, engine, node and API together, and ends them in the opposite order.

Containers outlive the daemon: a clean stop, a crash and an update all leave them running, and the next start finds
them again.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from shoal import __version__
from shoal.daemon_flags import Settings, parse
from shoal.kit.files import write_atomic
from shoal.model.errors import FailedPrecondition, InvalidArgument, ShoalError

if TYPE_CHECKING:
    from shoal.api.listen import TlsOptions

_log = logging.getLogger("shoald")

_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}


def main(arguments: Sequence[str] | None = None) -> None:
    """The program `shoald`. Exits 0 after SIGTERM or SIGINT, 1 with one sentence when it cannot start."""
    gc.disable()  # loading modules makes many objects and no garbage: a fifth of the start
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments)
        start_logging(settings.log_level)
        settings = settings.absolute()
        os.chdir("/")  # what the daemon starts must not keep, or litter, the directory it was started in
        with alone(settings):
            _check_machine(settings.data_root)
            _run(settings)
    except (ShoalError, OSError) as fault:
        print(f"shoald: {fault}", file=sys.stderr)
        raise SystemExit(1) from None


def start_logging(level: str) -> None:
    """One line per event on stderr: time, level, what."""
    logging.basicConfig(
        stream=sys.stderr,
        level=_LEVELS[level],
        format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        force=True,
    )
    for noisy in ("aiohttp", "asyncio", "grpclib", "h2", "hpack"):
        logging.getLogger(noisy).setLevel("ERROR")


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Hold the data root and the pid file while the daemon runs. Raises FailedPrecondition when another one does."""
    for directory, mode in ((settings.data_root, 0o711), (settings.exec_root, 0o711)):
        directory.mkdir(parents=True, exist_ok=True, mode=mode)
    settings.pidfile.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(settings.data_root / "shoald.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
            raise FailedPrecondition(
                f"another shoald (process {holder}) uses the data root {settings.data_root}: stop it, or choose "
                "another with --data-root"
            ) from None
        _check_pidfile(settings.pidfile)
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        settings.pidfile.write_text(f"{os.getpid()}\n")
        try:
            yield
        finally:
            settings.pidfile.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _check_pidfile(path: Path) -> None:
    try:
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if pid != os.getpid() and b"shoald" in command:
        raise FailedPrecondition(
            f"the pid file {path} belongs to a running shoald (process {pid}): give this one another with --pidfile"
        )


def _check_machine(data_root: Path) -> None:
    from shoal.engine import doctor

    for finding in doctor.quick(data_root):
        if finding.ok:
            continue
        if finding.fatal:
            raise FailedPrecondition(f"{finding.problem}: {finding.remedy} (`shoal doctor` tells more)")
        _log.warning("%s: %s", finding.problem, finding.remedy)


def _run(settings: Settings) -> None:
    try:
        import uvloop
    except ImportError:
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        try:
            runner.run(serve(settings))
        except BaseExceptionGroup as failures:
            first = _first(failures)
            if isinstance(first, ShoalError | OSError):
                raise first from None
            raise


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def serve(settings: Settings, stop: asyncio.Event | None = None) -> None:
    """Run a daemon until SIGTERM, SIGINT, or `stop`."""
    from shoal.api import server
    from shoal.api.context import Context
    from shoal.api.listen import listening
    from shoal.engine.engine import Engine
    from shoal.engine.options import EngineOptions
    from shoal.kit.clock import SystemClock
    from shoal.kit.ids import RandomIds
    from shoal.network.networks import Networks
    from shoal.node.node import Node

    stop = stop or asyncio.Event()
    _listen_to_signals(stop, settings)
    clock, ids = SystemClock(), RandomIds()
    options = EngineOptions(
        data_root=settings.data_root,
        exec_root=settings.exec_root,
        insecure_registries=settings.insecure_registries,
        registry_mirrors=settings.registry_mirrors,
        labels=settings.labels,
        log_driver=settings.log_driver,
        log_options=settings.log_options,
        cgroup_parent=settings.cgroup_parent,
    )
    tls = _tls(settings)
    if tls is not None:
        tls.context()  # a certificate that cannot be used is better told before anything was started
    async with AsyncExitStack() as parts:
        sockets = parts.enter_context(listening(settings.hosts, tls=tls is not None))
        networks = await parts.enter_async_context(
            Networks(settings.data_root / "network", settings.exec_root, clock=clock, ids=ids)
        )
        engine = await parts.enter_async_context(Engine(options, networks, clock, ids))
        node = await parts.enter_async_context(Node(settings.data_root / "swarm", engine, networks, clock, ids))
        context = Context(engine, networks, node, clock, ids, SystemRandom(), engine_id(settings.data_root))
        api = await parts.enter_async_context(server.serve(context))
        for listener in sockets:
            await api.listen(listener, tls)
        _log.info("Shoal %s is ready (process %d, data in %s)", __version__, os.getpid(), settings.data_root)
        gc.freeze()
        gc.enable()
        notify("READY=1")
        await stop.wait()
        notify("STOPPING=1")
        _log.info("stopping; containers keep running")


def engine_id(data_root: Path) -> str:
    """The id of the engine on this data root, made at its first start."""
    path = data_root / "engine-id"
    known = path.read_text().strip() if path.exists() else ""
    # A power cut may have left an empty file.
    if not known:
        known = str(uuid.uuid4())
        write_atomic(path, f"{known}\n".encode(), 0o644)
    return known


def _listen_to_signals(stop: asyncio.Event, settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _reload, settings.config_file)


def _reload(config_file: Path) -> None:
    """SIGHUP: take the log level from the configuration file again."""
    try:
        level = parse(["--config-file", str(config_file)] if config_file.exists() else []).log_level
    except InvalidArgument as fault:
        _log.error("not reloaded: %s", fault)
        return
    start_logging(level)
    _log.info("reloaded %s: log level %s", config_file, level)


def _tls(settings: Settings) -> TlsOptions | None:
    from shoal.api.listen import TlsOptions

    if not settings.tls:
        return None
    assert settings.tls_cert is not None and settings.tls_key is not None
    return TlsOptions(settings.tls_cert, settings.tls_key, settings.tls_ca, settings.tls_verify)


def notify(state: str) -> None:
    """Tell the service manager (systemd's NOTIFY_SOCKET) how far the daemon is; without one, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            link.sendto(state.encode(), address)
        except OSError as fault:
            _log.debug("service manager was not told: %s", fault)


if __name__ == "__main__":
    main()
