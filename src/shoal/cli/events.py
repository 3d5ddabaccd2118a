"""`events`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

from shoal.api.client import filters
from shoal.cli.command import OBJECT_FORMAT, CommandFault, Context, Options, command
from shoal.cli.words import when_query


@command(
    "system events",
    "[OPTIONS]",
    flags=f"""
  -f, --filter filter   Filter output based on conditions provided
      --format string   {OBJECT_FORMAT}
      --since string    Show all events created since timestamp
      --until string    Stream events until this timestamp
""",
)
def run(context: Context, options: Options) -> None:
    """What happens, as it happens, until ^C or --until."""
    from shoal.kit.gotemplate import Template, TemplateError

    form = options.text("format")
    try:
        times = {name: when_query(options.text(name)) for name in ("since", "until")}
        template = Template("{{json .}}" if form == "json" else form) if form else None
    except TemplateError as fault:
        raise CommandFault(f"Error parsing format: {fault}", 64) from fault
    except ValueError as fault:
        raise CommandFault(str(fault)) from fault
    query = {"filters": filters(options.filters()), **times}
    for event in context.client.objects("GET", "/events", query):
        try:
            line = template.render(event, missing="zero") if template else text(event)
        except TemplateError as fault:
            raise CommandFault(str(fault)) from fault
        context.out(line)
        sys.stdout.flush()


def text(event: dict[str, Any]) -> str:
    """`2026-01-02T03:04:05.000000006Z container start <id> (image=redis, name=web)`."""
    nanos = event.get("timeNano") or int(event.get("time", 0)) * 10**9
    moment = datetime.fromtimestamp(nanos // 10**9).astimezone()
    zone = f"{moment:%z}"
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    actor = event.get("Actor") or {}
    attributes = ", ".join(f"{key}={value}" for key, value in sorted((actor.get("Attributes") or {}).items()))
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{nanos % 10**9:09d}{zone}"
    line = f"{stamp} {event.get('Type', '')} {event.get('Action', '')} {actor.get('ID', '')}"
    return f"{line} ({attributes})" if attributes else line
