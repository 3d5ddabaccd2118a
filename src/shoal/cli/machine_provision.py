"""provision, regenerate-certs, upgrade."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from shoal.cli.machine_command import Session
from shoal.machine import provisioning
from shoal.machine.errors import MachineError

_PROVISION = """
      --address string   Where the host is now (drivers that cannot know, such as generic; one machine)
"""


def provision(session: Session, words: list[str]) -> int:
    """Set machines up again; one that is as it should be is not touched."""
    given = session.options(words, _PROVISION, "[NAME...]")
    names, address = session.names(given.args), given.text("address")
    if address and len(names) != 1:
        raise MachineError("Error: Expected one machine name as an argument")
    session.each(
        names,
        lambda name, say: provisioning.reprovision(session.store, name, say, datetime.now(UTC), address=address),
    )
    return 0


_REGENERATE = """
      --client-certs   Also regenerate client certificates and CA
  -f, --force          Force rebuild and do not prompt
"""


def regenerate_certs(session: Session, words: list[str]) -> int:
    """Replace machines' certificates; engines go on, and so do their containers."""
    given = session.options(words, _REGENERATE, "[NAME...]")
    names = session.names(given.args)
    if not given.flag("force") and not _agreed():
        return 0
    now = datetime.now(UTC)
    if given.flag("client-certs"):
        provisioning.replace_identities(session.store, names, session.say, now)
    session.say("Regenerating TLS certificates")
    session.each(names, lambda name, say: provisioning.regenerate(session.store, name, say, now))
    return 0


def _agreed() -> bool:
    sys.stdout.write("Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stdout.write("\n")
        raise MachineError("EOF")
    return answer.strip().lower().startswith("y")


def upgrade(session: Session, words: list[str]) -> int:
    """Bring this client's Shoal to machines."""
    given = session.options(words, arguments="[NAME...]")
    names = session.names(given.args)
    session.each(names, lambda name, say: provisioning.upgrade(session.store, name, say, datetime.now(UTC)))
    return 0


RUN = {"provision": provision, "regenerate-certs": regenerate_certs, "upgrade": upgrade}
