"""What is done to machines: create, start, stop, kill, restart, remove. Each holds the machine's lock.

Lines of progress are docker-machine's. A machine that is already in the wanted state is reported and is no failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from shoal.machine import certs, provision, provisioning, waits
from shoal.machine.driver import Context, State, built_in_drivers, driver_class, traits
from shoal.machine.errors import MachineError, NoSuchMachine, text_of
from shoal.machine.host import Host, Say, attach, open_host, silent
from shoal.machine.interrupts import undisturbed
from shoal.machine.record import AuthOptions, EngineOptions, HostOptions, Record, valid_name
from shoal.machine.store import Store

Now = Callable[[], datetime]


class Request(NamedTuple):
    """What `create` was asked for."""

    name: str
    driver: str
    engine: EngineOptions
    values: Mapping[str, Any]
    sans: tuple[str, ...] = ()
    authority: Mapping[str, Path] = {}
    """Other places than the store's own for `ca`, `ca-key`, `cert`, `key`."""


def create(store: Store, request: Request, say: Say, now: datetime) -> Host:
    """Make a machine and wait until its engine answers. Whatever fails, nothing of it stays."""
    driver_class(request.driver)
    if not valid_name(request.name):
        raise MachineError(
            "Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -"
        )
    with store.lock(request.name):
        if store.exists(request.name):
            raise MachineError(f'Docker machine "{request.name}" already exists')
        host = attach(store, _record(store, request), say)
        try:
            host.driver.configure(request.values)
        except MachineError as fault:
            raise MachineError(f"Error setting machine configuration from flags provided: {fault}") from fault
        provision.engine_environment(request.engine)
        certs.check_names(request.sans)
        auth = _auth(host)
        with store.lock():
            for what, path in provision.ensure_identities(auth, now).items():
                say(f"Creating {what}: {path}")
        say("Running pre-create checks...")
        host.driver.check()
        say("Creating machine...")
        try:
            _make(host, say, now)
        except BaseException as fault:
            _roll_back(host, say)
            if isinstance(fault, Exception):
                raise MachineError(f"Error creating machine: {text_of(fault)}") from fault
            raise
    if traits(host.driver).managed:
        say("Docker is up and running!")
    return host


def _make(host: Host, say: Say, now: datetime) -> None:
    host.save()
    if not traits(host.driver).managed:
        host.driver.create(provision.preparation(host.current, now))
        provision.copy_client_identity(_auth(host))
        return
    host.driver.create(provision.preparation(host.current, now, say))
    host.save()
    say("Waiting for machine to be running, this may take a few minutes...")
    waits.until_ssh(host, say)
    say("Checking connection to Docker...")
    waits.until_engine(host)


def start(store: Store, name: str, say: Say, now: datetime, *, new_address: bool = False) -> bool:
    """Start the machine and wait until its engine answers; False when it ran already."""
    with store.lock(name):
        host = open_host(store, name, say)
        if host.driver.state() is State.RUNNING:
            say(f'Machine "{name}" is already running.')
            return False
        say(f'Starting "{name}"...')
        if new_address:
            host.driver.new_address()
        try:
            host.driver.start(provision.preparation(host.current, now))
        finally:
            host.save()
        say(f'Machine "{name}" was started.')
        _until_usable(host, say, now)
    return True


def restart(store: Store, name: str, say: Say, now: datetime) -> bool:
    """Stop and start; a stopped machine is started."""
    with store.lock(name):
        host = open_host(store, name, say)
        say(f'Restarting "{name}"...')
        prepare = provision.preparation(host.current, now)
        try:
            (host.driver.restart if host.driver.state() is State.RUNNING else host.driver.start)(prepare)
        finally:
            host.save()
        _until_usable(host, say, now)
    return True


def _until_usable(host: Host, say: Say, now: datetime) -> None:
    waits.until_ssh(host, say)
    say("Detecting the provisioner...")
    provisioning.catch_up(host, say, now)
    waits.until_engine(host)


def stop(store: Store, name: str, say: Say) -> bool:
    """Shut the machine down; False when it was stopped already."""
    return _end(store, name, say, ("Stopping", "stopped"), lambda host: host.driver.stop())


def kill(store: Store, name: str, say: Say) -> bool:
    """Cut the machine's power; False when it was stopped already."""
    return _end(store, name, say, ("Killing", "killed"), lambda host: host.driver.kill())


def remove(store: Store, name: str, say: Say, *, force: bool = False) -> None:
    """Take the machine away. With `force` its directory goes however its driver fails; the failure is raised then."""
    if not store.exists(name):
        raise NoSuchMachine(name)
    with store.lock(name):
        trouble: MachineError | None = None
        try:
            open_host(store, name, say).driver.remove()
        except NoSuchMachine:
            raise
        except Exception as fault:
            # Whatever it is: a record that somebody edited fails in other ways than drivers do.
            trouble = MachineError(f'Error removing host "{name}": {text_of(fault)}')
            trouble.__cause__ = fault
            if not force:
                raise trouble from fault
            _abandon(store, name)
        try:
            store.delete(name)
        except OSError as fault:
            raise MachineError(f'Error removing host "{name}": {text_of(fault)}') from fault
    if trouble:
        raise trouble
    say(f"Successfully removed {name}")


def _abandon(store: Store, name: str) -> None:
    """Last resort, when a machine's record or driver does not do: what drivers find by themselves."""
    for driver in built_in_drivers():
        # One driver's trouble, of whatever kind, does not keep the others from looking.
        with contextlib.suppress(Exception):
            driver.abandon(Context(name, store.directory(name), store.root, silent))


def _end(store: Store, name: str, say: Say, words: tuple[str, str], act: Callable[[Host], None]) -> bool:
    with store.lock(name):
        host = open_host(store, name, say)
        if host.driver.state() is State.STOPPED:
            say(f'Machine "{name}" is already stopped.')
            # Also where it ended by itself and something of it is left.
            act(host)
            return False
        say(f'{words[0]} "{name}"...')
        act(host)
        say(f'Machine "{name}" was {words[1]}.')
    return True


def _roll_back(host: Host, say: Say) -> None:
    """Take away what create made; where that fails too the machine stays listed, for `rm` to try again."""
    try:
        with undisturbed():
            host.driver.remove()
            host.store.delete(host.name)
    except Exception as fault:
        say(f'Error removing host "{host.name}": {text_of(fault)}')


def _auth(host: Host) -> AuthOptions:
    auth = host.record.host_options.auth_options
    assert auth is not None
    return auth


def _record(store: Store, request: Request) -> Record:
    directory, certs = store.directory(request.name), store.certs
    given = {key: str(path) for key, path in request.authority.items()}
    auth = AuthOptions(
        cert_dir=str(certs),
        ca_cert_path=given.get("ca", str(certs / "ca.pem")),
        ca_private_key_path=given.get("ca-key", str(certs / "ca-key.pem")),
        client_cert_path=given.get("cert", str(certs / "cert.pem")),
        client_key_path=given.get("key", str(certs / "key.pem")),
        server_cert_path=str(directory / "server.pem"),
        server_key_path=str(directory / "server-key.pem"),
        server_cert_sans=list(request.sans),
        store_path=str(directory),
    )
    options = replace(HostOptions(), engine_options=request.engine, auth_options=auth)
    return Record(name=request.name, driver_name=request.driver, host_options=options)
