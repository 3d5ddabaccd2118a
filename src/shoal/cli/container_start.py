"""`start`."""

from __future__ import annotations

from contextlib import nullcontext

from shoal.cli import streaming, terminal
from shoal.cli.command import CommandFault, Context, DaemonError, Options, command
from shoal.cli.container_common import exit_code, path_of, resize


@command(
    "container start",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    args=(1, None),
    flags="""
  -a, --attach                  Attach STDOUT/STDERR and forward signals
      --detach-keys string      Override the key sequence for detaching a container
  -i, --interactive             Attach container's STDIN
""",
)
def run(context: Context, options: Options) -> int:
    """Start containers; with --attach or --interactive one, staying with it."""
    if not (options.flag("attach") or options.flag("interactive")):
        return _start(context, options.args)
    if len(options.args) > 1:
        raise CommandFault("you cannot start and attach multiple containers at once")
    return _attached(context, options)


def _start(context: Context, names: list[str]) -> int:
    def start(name: str) -> None:
        try:
            context.client.post(f"{path_of(name)}/start")
        except DaemonError as fault:
            if fault.status != 304:
                raise

    code = context.each(names, start)
    if code:
        raise CommandFault(f"Error: failed to start containers: {', '.join(names)}" if len(names) == 1 else "")
    return code


def _attached(context: Context, options: Options) -> int:
    client, path = context.client, path_of(options.args[0])
    container = client.get(f"{path}/json")
    config, identifier = container["Config"], container["Id"]
    stdin = options.flag("interactive") and config.get("OpenStdin", False)
    tty = config.get("Tty", False)
    keys = (
        terminal.parse_detach_keys(options.text("detach-keys")) if options.changed("detach-keys") else terminal.DETACH
    )
    query = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True}
    hijacked = client.hijack(f"{path}/attach", query)
    condition = "removed" if container["HostConfig"].get("AutoRemove") else "next-exit"
    waiting = context.another_client().stream("POST", f"{path}/wait", {"condition": condition})
    helper = context.another_client()
    with streaming.proxied_signals(context.another_client(), identifier, active=not tty):
        client.post(f"{path}/start")
        with terminal.raw() if tty and stdin else nullcontext():
            try:
                streaming.run(
                    hijacked, tty=tty, stdin=stdin, detach_keys=keys, resize=lambda h, w: resize(helper, path, h, w)
                )
            except streaming.Detached:
                return 0
        return exit_code(waiting)
