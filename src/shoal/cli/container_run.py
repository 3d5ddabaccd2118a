"""`run` and `create`."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext

from shoal.cli import streaming, terminal
from shoal.cli.command import CommandFault, Context, DaemonError, Options, RunFault, ShoalFault, command, text_of
from shoal.cli.container_common import exit_code, resize
from shoal.cli.container_flags import CREATE, RUN
from shoal.cli.container_spec import body
from shoal.cli.image_digest import tagged
from shoal.cli.words import Json

_USAGE = "[OPTIONS] IMAGE [COMMAND] [ARG...]"


@command("container create", _USAGE, args=(1, None), flags=CREATE, interspersed=False)
def create_command(context: Context, options: Options) -> None:
    """Create a container and print its id."""
    try:
        spec = body(options, os.environ, attached=True)
    except (ValueError, OSError) as fault:
        raise RunFault(text_of(fault)) from fault
    context.out(create(context, options, spec)["Id"])


@command("container run", _USAGE, args=(1, None), flags=RUN, interspersed=False)
def run_command(context: Context, options: Options) -> int:
    """Create, start, and unless detached stay with a container; its exit code."""
    detached = options.flag("detach")
    if detached and options.changed("attach"):
        raise CommandFault("conflicting options: cannot specify both --attach and --detach")
    try:
        spec = body(options, os.environ, attached=not detached)
        if detached:
            spec["StdinOnce"] = False
        keys = terminal.DETACH
        if options.changed("detach-keys"):
            keys = terminal.parse_detach_keys(options.text("detach-keys"))
    except (ValueError, OSError) as fault:
        raise RunFault(text_of(fault)) from fault
    if spec["Tty"] and spec["AttachStdin"] and not terminal.is_terminal(0):
        raise CommandFault("the input device is not a TTY")
    if spec["Tty"] and not detached:
        spec["HostConfig"]["ConsoleSize"] = list(terminal.size())
    try:
        identifier = str(create(context, options, spec)["Id"])
    except ShoalFault as fault:
        raise RunFault(text_of(fault)) from fault
    except CommandFault as fault:
        raise fault if isinstance(fault, RunFault) else RunFault(str(fault)) from fault
    if not any(spec[name] for name in ("AttachStdin", "AttachStdout", "AttachStderr")):
        _start(context, identifier)
        context.out(identifier)
        return 0
    return _attached(context, options, spec, identifier, keys)


def create(context: Context, options: Options, spec: Json) -> Json:
    """Create the container, pulling its image where --pull says. Raises DaemonError, CommandFault."""
    path = options.text("cidfile")
    if path and os.path.exists(path):
        raise CommandFault(f"container ID file found, make sure the other container isn't running or delete {path}")
    query = {"name": options.text("name") or None, "platform": options.text("platform") or None}
    pull, image = options.text("pull"), tagged(spec["Image"])
    if pull not in ("always", "missing", "never"):
        raise RunFault(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')
    if pull == "always":
        _pull(context, options, image)
    try:
        created: Json = context.client.post("/containers/create", query, body=spec)
    except DaemonError as fault:
        if fault.status != 404 or pull != "missing" or "o such image" not in fault.message:
            raise
        if not options.flag("quiet"):
            context.err(f"Unable to find image '{image}' locally")
        _pull(context, options, image)
        created = context.client.post("/containers/create", query, body=spec)
    context.warnings(created.get("Warnings"))
    if path:
        with open(path, "x", encoding="utf-8") as file:
            file.write(created["Id"])
    return created


def _pull(context: Context, options: Options, image: str) -> None:
    from shoal.cli.image_registry import pull

    pull(context, image, options.text("platform"), quiet=options.flag("quiet"), out=sys.stderr)


def _start(context: Context, identifier: str) -> None:
    try:
        context.client.post(f"/containers/{identifier}/start")
    except DaemonError as fault:
        raise RunFault(text_of(fault), _start_code(fault.message)) from fault


def _start_code(message: str) -> int:
    """The shell's habit: 127 for what is not there, 126 for what may not be run, 125 for all else."""
    if any(
        words in message for words in ("executable file not found", "no such file or directory", "not found in $PATH")
    ):
        return 127
    if any(words in message for words in ("permission denied", "is a directory")):
        return 126
    return 125


def _attached(context: Context, options: Options, spec: Json, identifier: str, keys: bytes) -> int:
    client = context.client
    streams = {name: spec[f"Attach{name.title()}"] for name in ("stdin", "stdout", "stderr")}
    helper = context.another_client()
    query = {"stream": True, **streams, "detachKeys": options.text("detach-keys") or None}
    hijacked = client.hijack(f"/containers/{identifier}/attach", query)
    condition = "removed" if spec["HostConfig"]["AutoRemove"] else "next-exit"
    waiting = context.another_client().stream("POST", f"/containers/{identifier}/wait", {"condition": condition})
    tty = spec["Tty"]
    with streaming.proxied_signals(context.another_client(), identifier, active=options.flag("sig-proxy") and not tty):
        _start(context, identifier)
        with terminal.raw() if tty and streams["stdin"] else nullcontext():
            try:
                streaming.run(
                    hijacked,
                    tty=tty,
                    stdin=streams["stdin"],
                    detach_keys=keys,
                    resize=lambda h, w: resize(helper, f"/containers/{identifier}", h, w),
                )
            except streaming.Detached:
                return 0
        return exit_code(waiting)
