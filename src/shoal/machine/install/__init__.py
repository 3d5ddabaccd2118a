"""Puts Shoal on a machine that ssh reaches, and sees to it that its engine runs as it is set up to.

Reading order: `facts` (what the machine is and has), `family` (packages), `plan` (what is to be done: pure), `units`
(what starts the engine there), `bundle` (what the client carries), `apply` (runs on the machine), and here: the order
of things. Imports `machine.driver`, `machine.ssh`, `machine.files`, `machine.distributions`, `machine.errors`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shoal.machine import ssh
from shoal.machine.driver import EngineSetup, SshEndpoint
from shoal.machine.errors import MachineError
from shoal.machine.install import bundle, facts, family, plan

SURVEY_TIMEOUT = 60.0
PACKAGES_TIMEOUT = 900.0
APPLY_TIMEOUT = 300.0

Say = Callable[[str], None]


class Outcome(NamedTuple):
    """What `apply` came to: the files that were changed, and whether the engine was restarted."""

    changed: Sequence[str]
    restarted: bool


_RUNNER = "import sys;b=sys.stdin.buffer;exec(compile(b.read(int(b.readline())),'apply','exec'))"


def over_ssh(
    endpoint: SshEndpoint, setup: EngineSetup, say: Say, *, upgrade: bool = False, cache: Path | None = None
) -> None:
    """Bring the machine to `setup`: idempotent, restarts the engine only when something of it changed, waits nothing.

    Puts Shoal there unless it is (`upgrade`: unless it is this client's); neither the machine's host name nor anything
    else of it is changed. Bundles are kept in `cache` (the store's `cache/`; default: the default store's). Raises
    MachineError: what the machine lacks, who is in the way, or how ssh failed.
    """
    found = survey(endpoint)
    plan.check(found, endpoint.user, setup)
    if found.image:
        say("Provisioning with shoal...")
        _tell(carry_out(endpoint, found, plan.make(found, setup, "").order, b""), say)
        return
    known = family.choose(found.os)
    say(f"Provisioning with {known.name if known else found.os.get('ID', 'what is there')}...")
    wanted, data = "", b""
    if setup.install_url != "none":
        found = _supply(endpoint, found, known, say)
        wanted = found.installed
        if upgrade or not wanted or not found.ours:
            say("Installing Shoal...")
            target = bundle.Target(found.python_version[:2], found.machine, found.glibc)
            wanted, data = bundle.get(cache or _default_cache(), target)
            if wanted == found.installed:
                data = b""
    made = plan.make(found, setup, wanted)
    for note in made.notes:
        say(note)
    _tell(carry_out(endpoint, found, made.order, data), say)


def survey(endpoint: SshEndpoint) -> facts.Facts:
    """Ask the machine what it is. Raises SshError, or MachineError when it has no shell that answers."""
    answer = ssh.run(endpoint, f"sh -c {ssh.quote(facts.SURVEY)}", timeout=SURVEY_TIMEOUT)
    if answer.status:
        raise MachineError(f"the machine cannot be asked what it is: {answer.trouble}")
    return facts.parse(answer.output.decode(errors="replace"))


def carry_out(endpoint: SshEndpoint, found: facts.Facts, order: dict[str, Any], data: bytes) -> Outcome:
    """Have the order carried out there, by the machine's Python; everything goes through standard input."""
    program = Path(__file__).with_name("apply.py").read_bytes()
    text = json.dumps(order).encode()
    sent = b"%d\n%s%d\n%s%s" % (len(program), program, len(text), text, data)
    command = ssh.as_root(endpoint, f"exec {found.python or 'python3'} -I -c {ssh.quote(_RUNNER)}")
    answer = ssh.run(endpoint, command, input=sent, timeout=APPLY_TIMEOUT)
    if answer.status:
        raise MachineError(f"the machine could not be set up: {answer.trouble}")
    try:
        return Outcome(**json.loads(answer.output))
    except (ValueError, TypeError) as fault:
        raise MachineError(f"the machine could not be set up: it answers {answer.text[:200]!r}") from fault


def _tell(outcome: Outcome, say: Say) -> None:
    if outcome.restarted:
        say("Starting shoald there; containers that run are left alone...")
    elif not outcome.changed:
        say("Everything is as it should be already.")


def _supply(endpoint: SshEndpoint, found: facts.Facts, known: family.Family | None, say: Say) -> facts.Facts:
    """Have the missing packages installed. Raises MachineError when the machine cannot do without them."""
    needs = family.missing(found)
    if not needs:
        return found
    if known is None or known.tool not in found.has:
        if family.required(needs):
            raise family.refuse_unknown(found, needs)
        said = ""
    else:
        say(f"Installing {', '.join(family.words(needs))}...")
        script = ssh.as_root(endpoint, known.installer(needs, found))
        answer = ssh.run(endpoint, script, timeout=PACKAGES_TIMEOUT)
        said = answer.errors.decode(errors="replace")
        found = survey(endpoint)
        needs = family.missing(found)
        if known is not None and family.required(needs):
            raise family.refuse_offline(found, needs, known, said)
    for lack in family.spent_on(needs):
        say(lack)
    return found


def _default_cache() -> Path:
    from shoal.machine.store import Store

    return Store.default(os.environ).root / "cache"
