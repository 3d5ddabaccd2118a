"""ls, active, ip, url, status, inspect, version."""

from __future__ import annotations

import os
import sys
from typing import Any

from shoal.cli.machine_command import Session, UsageFault
from shoal.machine import probe, table
from shoal.machine.errors import MachineError
from shoal.machine.host import Say, open_host
from shoal.machine.record import render_record

_TIMEOUT = 10

_LS = f"""
      --filter list     Filter output based on conditions provided
  -f, --format string   Pretty-print machines using a Go template
  -q, --quiet           Enable quiet mode
  -t, --timeout int     Timeout in seconds (default {_TIMEOUT})
"""


def ls(session: Session, words: list[str]) -> int:
    """List machines."""
    given = session.options(words, _LS)
    filters = table.parse_filters(given.many("filter"))
    quiet, timeout = given.flag("quiet"), float(given.number("timeout"))
    if quiet and not filters:
        sys.stdout.write("".join(f"{name}\n" for name in session.store.names()))
        return 0
    rows = [row for row in table.rows(session.store, os.environ, timeout, versions=not quiet)
            if table.matches(row, filters)]  # fmt: skip
    if quiet:
        sys.stdout.write("".join(f"{name}\n" for name in sorted(row.name for row in rows)))
    else:
        sys.stdout.write(_rendered(rows, given.text("format")))
    return 0


def _rendered(rows: list[table.Row], form: str) -> str:
    from shoal.ui.tables import aligned

    fields = [row.fields() for row in rows]
    if not form or form == "table":
        lines = ["\t".join(table.COLUMNS[name] for name in table.DEFAULT)]
        lines += ["\t".join(str(row[name]) for name in table.DEFAULT) for row in fields]
        return aligned(lines, width=5)
    if form == "json":
        from shoal.kit.gotemplate_values import json

        return "".join(json(row) + "\n" for row in fields)
    return _templated(fields, form)


def _templated(fields: list[Any], form: str) -> str:
    from shoal.kit.gotemplate import Template, TemplateError
    from shoal.ui.tables import aligned

    with_heading = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
        lines = [template.render(row, kind="commands.HostListItem") for row in fields]
        if with_heading:
            lines.insert(0, template.render(table.COLUMNS))
    except TemplateError as fault:
        raise MachineError(f"Template parsing error: {fault}") from fault
    return aligned(lines, width=5) if with_heading or "\t" in text else "".join(f"{line}\n" for line in lines)


def active(session: Session, words: list[str]) -> int:
    """Print the machine that DOCKER_HOST points to."""
    given = session.options(words, f"  -t, --timeout int   Timeout in seconds (default {_TIMEOUT})", "")
    if given.args:
        raise UsageFault("Error: Too many arguments given", session.typed)
    rows = table.rows(session.store, os.environ, float(given.number("timeout")), versions=False)
    for row in rows:
        if row.active or row.swarm_active:
            session.say(row.name)
            return 0
    if any(row.state == "Timeout" for row in rows):
        raise MachineError("Error getting active host: timeout")
    raise MachineError("No active host found")


def ip(session: Session, words: list[str]) -> int:
    """Print addresses, in the order of the names."""
    names = session.names(session.options(words, arguments="[NAME...]").args)
    found: dict[str, str] = {}

    def ask(name: str, _: Say) -> None:
        try:
            found[name] = open_host(session.store, name).driver.address()
        except MachineError as fault:
            raise MachineError(f"Error getting IP address: {fault}") from fault

    try:
        session.each(names, ask, quiet=True)
    finally:
        for name in names:
            if name in found:
                session.say(found[name])
    return 0


def url(session: Session, words: list[str]) -> int:
    """Print where the Engine API is."""
    session.say(open_host(session.store, session.name(session.options(words).args)).driver.url())
    return 0


def status(session: Session, words: list[str]) -> int:
    """Print the state."""
    name = session.name(session.options(words).args)
    try:
        state = open_host(session.store, name).driver.state()
    except MachineError as fault:
        raise MachineError(f"error getting state for host {name}: {fault}") from fault
    session.say(str(state))
    return 0


def inspect(session: Session, words: list[str]) -> int:
    """Print what the store knows of a machine."""
    given = session.options(words, "  -f, --format string   Format the output using the given Go template")
    record = session.store.load(session.name(given.args))
    text = render_record(record)
    form = given.text("format")
    if not form:
        sys.stdout.write(text.decode())
        return 0
    import msgspec

    from shoal.kit.gotemplate import Template, TemplateError
    from shoal.kit.gotemplate_values import json

    functions = {"prettyjson": lambda value: msgspec.json.format(json(value), indent=4)}
    try:
        output = Template(form, functions).render(msgspec.json.decode(text), missing="zero")
    except TemplateError as fault:
        raise MachineError(f"template parsing error: {fault}") from fault
    session.say(output)
    return 0


def version(session: Session, words: list[str]) -> int:
    """Print our version, or that of a machine's engine."""
    from shoal.cli.machine import version_line

    given = session.options(words)
    if not given.args:
        sys.stdout.write(version_line(session.program))
        return 0
    host = open_host(session.store, session.name(given.args))
    session.say(probe.version(host.driver.url(), host.name, host.directory))
    return 0


RUN = {"ls": ls, "active": active, "ip": ip, "url": url, "status": status, "inspect": inspect, "version": version}
