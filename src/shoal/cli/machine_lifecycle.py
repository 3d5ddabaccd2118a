"""start, stop, restart, kill, rm."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from shoal.cli.machine_command import Failed, Session, UsageFault
from shoal.cli.machine_several import Act
from shoal.machine import actions
from shoal.machine.errors import MachineError

_START = """
      --new-address   Come back with another address (drivers that choose addresses themselves)
"""


def start(session: Session, words: list[str]) -> int:
    """Start machines."""
    given = session.options(words, _START, "[NAME...]")
    fresh = given.flag("new-address")
    return _with_new_addresses(
        session,
        given.args,
        "Started",
        lambda name, say: actions.start(session.store, name, say, datetime.now(UTC), new_address=fresh),
    )


def restart(session: Session, words: list[str]) -> int:
    """Stop and start machines."""
    return _with_new_addresses(
        session,
        session.options(words, arguments="[NAME...]").args,
        "Restarted",
        lambda name, say: actions.restart(session.store, name, say, datetime.now(UTC)),
    )


def _with_new_addresses(session: Session, given: list[str], what: str, act: Act) -> int:
    hint = f"{what} machines may have new IP addresses. You may need to re-run the `{session.program} env` command."
    try:
        session.each(session.names(given), act)
    except Failed as fault:
        if fault.done:
            session.say(hint)
        raise
    session.say(hint)
    return 0


def stop(session: Session, words: list[str]) -> int:
    """Shut machines down."""
    given = session.options(words, arguments="[NAME...]")
    session.each(session.names(given.args), lambda name, say: actions.stop(session.store, name, say))
    return 0


def kill(session: Session, words: list[str]) -> int:
    """Cut machines' power."""
    given = session.options(words, arguments="[NAME...]")
    session.each(session.names(given.args), lambda name, say: actions.kill(session.store, name, say))
    return 0


_REMOVE = """
  -f, --force   Remove local configuration even if machine cannot be removed, also implies an automatic yes (`-y`)
  -y            Assumes automatic yes to proceed with remove, without prompting further user confirmation
"""


def remove(session: Session, words: list[str]) -> int:
    """Take machines away; what remains of one makes the exit status 1."""
    given = session.options(words, _REMOVE.replace("-y            ", "-y, --yes     "), "NAME [NAME...]")
    names, force = list(dict.fromkeys(given.args)), given.flag("force")
    if not names:
        raise UsageFault("Error: Expected to get one or more machine names as arguments", session.typed)
    session.say(f"About to remove {', '.join(names)}")
    session.say("WARNING: This action will delete both local reference and remote instance.")
    if not (force or given.flag("yes")) and not _agreed():
        return 1
    session.each(names, lambda name, say: actions.remove(session.store, name, say, force=force))
    return 0


def _agreed() -> bool:
    sys.stdout.write("Are you sure? (y/n): ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stdout.write("\n")
        raise MachineError("nobody answered; use -y to remove without being asked")
    return answer.strip().lower().startswith("y")


RUN = {"start": start, "restart": restart, "stop": stop, "kill": kill, "rm": remove}
