"""`logs` of containers."""

from __future__ import annotations

import sys

from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.container_common import path_of
from shoal.cli.words import when_query


@command(
    "container logs",
    "[OPTIONS] CONTAINER",
    args=(1, 1),
    flags="""
      --details        Show extra details provided to logs
  -f, --follow         Follow log output
      --since string   Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
  -n, --tail string    Number of lines to show from the end of the logs (default "all")
  -t, --timestamps     Show timestamps
      --until string   Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative
                       (e.g. "42m" for 42 minutes)
""",
)
def run(context: Context, options: Options) -> None:
    """What a container wrote, each stream to its own."""
    try:
        times = {name: when_query(options.text(name)) for name in ("since", "until")}
    except ValueError as fault:
        raise CommandFault(f"invalid value for {fault}") from fault
    switches = {name: options.flag(name) for name in ("details", "follow", "timestamps")}
    query = {"stdout": True, "stderr": True, "tail": options.text("tail"), **times, **switches}
    for stream, payload in context.client.frames(f"{path_of(options.args[0])}/logs", query):
        out = sys.stderr.buffer if stream == 2 else sys.stdout.buffer
        out.write(payload)
        out.flush()
