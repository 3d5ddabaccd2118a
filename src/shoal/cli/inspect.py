"""`inspect` of anything, and of containers, images, networks and volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shoal.api.client import Client, quote
from shoal.cli.command import OBJECT_FORMAT, CommandFault, Context, DaemonError, Options, command, fail
from shoal.cli.printing import inspect

_FORMAT = f"""
  -f, --format string   {OBJECT_FORMAT}
"""
_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
    "service": "/services/{}",
    "task": "/tasks/{}",
    "node": "/nodes/{}",
}
"""In the order in which a name is tried."""
_SIZE = "  -s, --size            Display total file sizes"


def _one(client: Client, kind: str, **query: object) -> Callable[[str], Any]:
    return lambda name: client.get(_PATHS[kind].format(quote(name)), query)


@command(
    "inspect",
    "[OPTIONS] NAME|ID [NAME|ID...]",
    args=(1, None),
    flags=f"""{_FORMAT.rstrip()}
{_SIZE} if the type is container
      --type string     Only inspect objects of the given type
""",
)
def anything(context: Context, options: Options) -> int:
    """Whatever has the name: containers first, then images, networks, volumes, and what the swarm has."""
    kind, size = options.text("type"), options.flag("size")
    if options.changed("type") and kind not in _PATHS:
        known = ", ".join(f'"{name}"' for name in sorted(_PATHS))
        fail(f'unknown type: "{kind}": must be one of {known}' if kind else "type is empty: must be one of " + known)

    def find(name: str) -> Any:
        for candidate in [kind] if kind else _PATHS:
            query = {"size": True} if size and candidate == "container" else {}
            try:
                return _one(context.client, candidate, **query)(name)
            except DaemonError as fault:
                if kind or not (fault.status == 404 or _no_swarm(fault)):
                    raise
        raise CommandFault(f"Error: No such object: {name}")

    return inspect(context, options.args, find, options.text("format"))


def _no_swarm(fault: DaemonError) -> bool:
    """A daemon that is no manager knows no services: not a reason to stop looking."""
    return fault.status in (400, 406, 503) and "swarm" in fault.message


@command(
    "container inspect", "[OPTIONS] CONTAINER [CONTAINER...]", args=(1, None), flags=f"{_FORMAT.rstrip()}\n{_SIZE}\n"
)
def container(context: Context, options: Options) -> int:
    """Containers by id or name."""
    find = _one(context.client, "container", size=options.flag("size"))
    return inspect(context, options.args, find, options.text("format"))


@command("image inspect", "[OPTIONS] IMAGE [IMAGE...]", args=(1, None), flags=_FORMAT)
def image(context: Context, options: Options) -> int:
    """Images by id or name."""
    return inspect(context, options.args, _one(context.client, "image"), options.text("format"))


@command(
    "network inspect",
    "[OPTIONS] NETWORK [NETWORK...]",
    args=(1, None),
    flags=f"""{_FORMAT.rstrip()}
  -v, --verbose         Verbose output for diagnostics
""",
)
def network(context: Context, options: Options) -> int:
    """Networks by id or name."""
    find = _one(context.client, "network", verbose=options.flag("verbose"))
    return inspect(context, options.args, find, options.text("format"))


@command("volume inspect", "[OPTIONS] VOLUME [VOLUME...]", args=(1, None), flags=_FORMAT)
def volume(context: Context, options: Options) -> int:
    """Volumes by name."""
    return inspect(context, options.args, _one(context.client, "volume"), options.text("format"))
