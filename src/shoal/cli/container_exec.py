"""`exec`."""

from __future__ import annotations

import os
from contextlib import nullcontext

from shoal.cli import streaming, terminal
from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.container_common import path_of, resize
from shoal.cli.words import Json, read_environment


@command(
    "container exec",
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    args=(2, None),
    interspersed=False,
    flags="""
  -d, --detach               Detached mode: run command in the background
      --detach-keys string   Override the key sequence for detaching a container
  -e, --env list             Set environment variables
      --env-file list        Read in a file of environment variables
  -i, --interactive          Keep STDIN open even if not attached
      --privileged           Give extended privileges to the command
  -t, --tty                  Allocate a pseudo-TTY
  -u, --user string          Username or UID (format: "<name|uid>[:<group|gid>]")
  -w, --workdir string       Working directory inside the container
""",
)
def run(context: Context, options: Options) -> int:
    """Run a command in a running container; its exit code."""
    client, detached, tty = context.client, options.flag("detach"), options.flag("tty")
    stdin = options.flag("interactive") and not detached
    if tty and stdin and not terminal.is_terminal(0):
        raise CommandFault("the input device is not a TTY")
    request: Json = {
        "User": options.text("user"),
        "Privileged": options.flag("privileged"),
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Detach": detached,
        "DetachKeys": options.text("detach-keys"),
        "Env": _environment(options),
        "WorkingDir": options.text("workdir"),
        "Cmd": options.args[1:],
    }
    console = {"ConsoleSize": list(terminal.size())} if tty and not detached else {}
    identifier = client.post(f"{path_of(options.args[0])}/exec", body=request | console)["Id"]
    path = f"/exec/{identifier}"
    if detached:
        client.post(f"{path}/start", body={"Detach": True, "Tty": tty})
        return 0
    keys = (
        terminal.parse_detach_keys(options.text("detach-keys")) if options.changed("detach-keys") else terminal.DETACH
    )
    hijacked = client.hijack(f"{path}/start", body={"Detach": False, "Tty": tty} | console)
    helper = context.another_client()
    with terminal.raw() if tty and stdin else nullcontext():
        try:
            streaming.run(
                hijacked, tty=tty, stdin=stdin, detach_keys=keys, resize=lambda h, w: resize(helper, path, h, w)
            )
        except streaming.Detached as fault:
            raise CommandFault("read escape sequence") from fault
    return int(client.get(f"{path}/json").get("ExitCode") or 0)


def _environment(options: Options) -> list[str]:
    try:
        return read_environment(options.many("env"), options.many("env-file"), os.environ)
    except ValueError as fault:
        raise CommandFault(str(fault)) from fault
