"""`attach`."""

from __future__ import annotations

from contextlib import nullcontext

from shoal.cli import streaming, terminal
from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.container_common import exit_code, path_of, resize


@command(
    "container attach",
    "[OPTIONS] CONTAINER",
    args=(1, 1),
    flags="""
      --detach-keys string   Override the key sequence for detaching a container
      --no-stdin             Do not attach STDIN
      --sig-proxy            Proxy all received signals to the process (default true)
""",
)
def run(context: Context, options: Options) -> int:
    """Stay with a running container until it ends; its exit code."""
    client, path = context.client, path_of(options.args[0])
    container = client.get(f"{path}/json")
    state, config = container["State"], container["Config"]
    if not state.get("Running"):
        raise CommandFault("cannot attach to a stopped container, start it first")
    if state.get("Paused"):
        raise CommandFault("cannot attach to a paused container, unpause it first")
    if state.get("Restarting"):
        raise CommandFault("cannot attach to a restarting container, wait until it is running")
    stdin = not options.flag("no-stdin") and config.get("OpenStdin", False)
    tty = config.get("Tty", False)
    if tty and stdin and not terminal.is_terminal(0):
        raise CommandFault("the input device is not a TTY")
    keys = (
        terminal.parse_detach_keys(options.text("detach-keys")) if options.changed("detach-keys") else terminal.DETACH
    )
    query = {
        "stream": True,
        "stdin": stdin,
        "stdout": True,
        "stderr": True,
        "detachKeys": options.text("detach-keys") or None,
    }
    waiting = context.another_client().stream("POST", f"{path}/wait")
    hijacked = client.hijack(f"{path}/attach", query)
    helper = context.another_client()
    active = options.flag("sig-proxy") and not tty
    with (
        streaming.proxied_signals(context.another_client(), container["Id"], active=active),
        terminal.raw() if tty and stdin else nullcontext(),
    ):
        try:
            streaming.run(
                hijacked, tty=tty, stdin=stdin, detach_keys=keys, resize=lambda h, w: resize(helper, path, h, w)
            )
        except streaming.Detached as fault:
            raise CommandFault("read escape sequence") from fault
    return exit_code(waiting)
