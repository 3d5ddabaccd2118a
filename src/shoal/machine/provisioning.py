"""What is done to machines that exist: set up again, certificates renewed, Shoal brought up to date.

None of it touches data, and nothing but the engine is ever restarted: containers go on. (Not those of a Docker that
docker-machine set up.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit

from shoal.machine import certs, install, probe, provision, waits
from shoal.machine.driver import Moves, Provisions, Restarts, State, Upgrades, traits
from shoal.machine.errors import MachineError, NotRunning
from shoal.machine.host import Host, Say, open_host
from shoal.machine.install import renew
from shoal.machine.record import AuthOptions
from shoal.machine.store import Store

TAKEN_UP_TIMEOUT = 5.0
"""Seconds in which an engine must show its new certificate; one that does not is restarted."""


def reprovision(store: Store, name: str, say: Say, now: datetime, *, address: str = "") -> None:
    """Bring the machine to what its record says: a machine that is so already is not touched.

    `address`: where the host is now, for drivers that cannot know it.
    """
    with store.lock(name):
        host = _managed(store, name, say)
        if address:
            if not isinstance(host.driver, Moves):
                raise MachineError(f'the driver "{host.record.driver_name}" knows the addresses of its machines itself')
            host.driver.move(address)
        _ensure_identities(host, say, now)
        waits.until_ssh(host, say)
        if address:
            host.save()
        say("Detecting the provisioner...")
        _provision(host, now, say)
        host.save()
        say("Checking connection to Docker...")
        waits.until_engine(host)
        _see_that_it_is_shown(host, say)
    say("Docker is up and running!")


def regenerate(store: Store, name: str, say: Say, now: datetime) -> None:
    """A new server certificate for the machine, and nothing else. The engine takes it up without a restart.

    Docker, where docker-machine set the machine up, is restarted: it does not read certificates again.
    """
    with store.lock(name):
        host = _managed(store, name, say)
        _ensure_identities(host, say, now)
        _renew(host, say, now, fresh=True)


def replace_identities(store: Store, names: Iterable[str], say: Say, now: datetime) -> None:
    """A new authority and client identity for these machines; each learns of them by `regenerate`.

    Others of the same authority go on with the old ones until their next start or `env`. Raises MachineError, before
    anything is replaced, when one of these machines could not be told.
    """
    found = [_auth(_reached(store, name, say)) for name in names]
    say("Regenerating local certificates")
    done = set()
    for auth in found:
        if auth.ca_cert_path not in done:
            done.add(auth.ca_cert_path)
            with store.lock():
                for what, path in provision.replace_identities(auth, now).items():
                    say(f"Creating {what}: {path}")


def keep_valid(host: Host, url: str, say: Say, now: datetime) -> None:
    """Renew the machine's certificates where they are about to expire or do not name its address (any more).

    For commands that hand an address to docker's own client, which checks it. What cannot be renewed is told to `say`
    and no failure: the command's own check says what is wrong.
    """
    auth = host.record.host_options.auth_options
    if auth is None or not traits(host.driver).managed or not provision.has_authority(auth):
        return
    address, usable = urlsplit(url).hostname or "", False
    try:
        try:
            shown = probe.certificate(url, host.name, host.directory)
            if certs.serves(shown, address, now) and provision.is_current(auth):
                return
            why = "is about to expire, or does not name its address"
            usable = certs.serves(shown, address, now - probe.RENEW_BEFORE)
        except probe.ProbeError as fault:
            if fault.cause not in (probe.Cause.EXPIRED, probe.Cause.WRONG_HOST):
                return
            why = "has expired" if fault.cause is probe.Cause.EXPIRED else "does not name its address"
        what = f'The certificate of "{host.name}" {why}'
        restarts = renew.check(host.driver.ssh(), provision.REMOTE).restart
        if restarts and usable:
            # Nobody's containers are ended before they have to be.
            say(f"{what}: `regenerate-certs {host.name}` renews it, and restarts Docker there.")
            return
        say(f"{what}: it is renewed; {'Docker is restarted for that' if restarts else 'containers go on'}.")
        with host.store.lock(host.name):
            _ensure_identities(host, say, now)
            _renew(host, lambda line: None, now, fresh=False)
    except MachineError as fault:
        say(f'The certificate of "{host.name}" could not be renewed: {fault}')


def catch_up(host: Host, say: Say, now: datetime) -> None:
    """Of a machine that docker-machine made and that just started, renew a certificate that does not fit (any more).

    Others get theirs when they start. The caller holds the machine's lock. Raises MachineError.
    """
    auth = host.record.host_options.auth_options
    if auth is None or not traits(host.driver).managed or not provision.has_authority(auth):
        return
    pair, authority = provision.server_pair(auth), provision.authority_pair(auth)
    if certs.is_fit(pair, authority, [host.driver.address()], now):
        return
    if renew.check(host.driver.ssh(), provision.REMOTE).restart:
        _ensure_identities(host, say, now)
        _renew(host, say, now, fresh=False)


def upgrade(store: Store, name: str, say: Say, now: datetime) -> None:
    """Bring this client's Shoal to the machine. Containers go on, unless the machine is one whose image is replaced."""
    with store.lock(name):
        host = _managed(store, name, say, stopped=True)
        prepare = provision.preparation(host.current, now)
        _ensure_identities(host, say, now)
        if host.driver.state() is not State.RUNNING:
            say("Starting machine so machine can be upgraded...")
            host.driver.start(prepare)
            host.save()
            waits.until_usable(host, say)
        say("Upgrading docker...")
        if isinstance(host.driver, Upgrades):
            host.driver.upgrade(prepare)
        elif install.survey(host.driver.ssh()).image:
            _boot_again(host, say, now)
        else:
            setup = prepare(host.driver.address())
            cache = store.root / "cache"
            install.over_ssh(host.driver.ssh(), setup, say, upgrade=True, cache=cache)
        host.save()
        waits.until_usable(host, say)


def _boot_again(host: Host, say: Say, now: datetime) -> None:
    """A machine of our image has the Shoal of the image that it boots."""
    say("Stopping machine to do the upgrade...")
    host.driver.stop()
    say(f'Upgrading machine "{host.name}"...')
    say("Starting machine back up...")
    host.driver.start(provision.preparation(host.current, now))


def _provision(host: Host, now: datetime, say: Say) -> None:
    prepare = provision.preparation(host.current, now, say)
    if isinstance(host.driver, Provisions):
        host.driver.provision(prepare)
        return
    setup = prepare(host.driver.address())
    install.over_ssh(host.driver.ssh(), setup, say, cache=host.store.root / "cache")


def _renew(host: Host, say: Say, now: datetime, *, fresh: bool) -> None:
    place = renew.check(host.driver.ssh(), provision.REMOTE)
    setup = provision.preparation(host.current, now, say, fresh=fresh)(host.driver.address())
    if not place.restart:
        renew.hand_over(host.driver.ssh(), setup.files)
        _see_that_it_is_shown(host, say)
        return
    say("Restarting Docker there, which reads its certificate only when it starts...")
    renew.hand_to_docker(host.driver.ssh(), place, setup.files)
    waits.until_engine(host)
    shown = probe.certificate(host.driver.url(), host.name, host.directory)
    if not certs.is_same(provision.server_pair(_auth(host)), shown):
        raise MachineError(f"Docker was restarted there, but does not have its certificate from {place.folder}")


def _see_that_it_is_shown(host: Host, say: Say) -> None:
    """shoald reads its certificate again by itself; an engine that does not has to be restarted."""
    pair = provision.server_pair(_auth(host))
    deadline = time.monotonic() + TAKEN_UP_TIMEOUT
    while time.monotonic() < deadline:
        try:
            if certs.is_same(pair, probe.certificate(host.driver.url(), host.name, host.directory)):
                return
        except probe.ProbeError as fault:
            if fault.cause in (probe.Cause.REFUSED, probe.Cause.TIMEOUT):
                # Not running: whatever starts it will read the new one.
                return
        time.sleep(0.2)
    say("The engine does not take its new certificate up by itself: restarting it. Containers keep running.")
    if isinstance(host.driver, Restarts):
        host.driver.restart_engine()
    else:
        renew.restart(host.driver.ssh())
    waits.until_engine(host)


def _managed(store: Store, name: str, say: Say, *, stopped: bool = False) -> Host:
    host = open_host(store, name, say)
    if not traits(host.driver).managed:
        raise MachineError(f'"{name}" is only an address: its engine is not ours to set up')
    if not stopped and not isinstance(host.driver, Moves) and host.driver.state() in (State.STOPPED, State.NONE):
        raise NotRunning
    return host


def _reached(store: Store, name: str, say: Say) -> Host:
    """The machine, to which new certificates can be handed over. Raises MachineError that names it."""
    try:
        host = _managed(store, name, say)
        renew.check(host.driver.ssh(), provision.REMOTE)
    except MachineError as fault:
        raise MachineError(f"Nothing was replaced, because of {name}: {fault}") from fault
    return host


def _ensure_identities(host: Host, say: Say, now: datetime) -> None:
    with host.store.lock():
        for what, path in provision.ensure_identities(_auth(host), now).items():
            say(f"Creating {what}: {path}")


def _auth(host: Host) -> AuthOptions:
    auth = host.record.host_options.auth_options
    if auth is None:
        raise MachineError(f"{host.name} has no AuthOptions in its config.json")
    return auth
