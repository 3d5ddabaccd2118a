"""`stop`, `restart`, `kill`, `pause`, `unpause`, `rename`, `rm` and `wait`."""

from __future__ import annotations

from shoal.cli.command import CommandFault, Context, DaemonError, Options, command, text_of
from shoal.cli.container_common import path_of

_STOP = """
  -s, --signal string   Signal to send to the container
      --time int        hidden, deprecated, use --timeout instead
  -t, --timeout int     Seconds to wait before killing the container
"""
_MANY = "CONTAINER [CONTAINER...]"


def _post(context: Context, options: Options, verb: str, **query: object) -> int:
    def act(name: str) -> None:
        try:
            context.client.post(f"{path_of(name)}/{verb}", query)
        except DaemonError as fault:
            if fault.status != 304:  # it is so already
                raise

    return context.each(options.args, act)


def _stop(context: Context, options: Options, verb: str) -> int:
    given = [name for name in ("timeout", "time") if options.changed(name)]
    if len(given) > 1:
        raise CommandFault("conflicting options: cannot specify both --timeout and --time")
    timeout = options.number(given[0]) if given else None
    return _post(context, options, verb, signal=options.text("signal") or None, t=timeout)


@command("container stop", f"[OPTIONS] {_MANY}", args=(1, None), flags=_STOP)
def stop(context: Context, options: Options) -> int:
    """Ask containers to end, then make them."""
    return _stop(context, options, "stop")


@command("container restart", f"[OPTIONS] {_MANY}", args=(1, None), flags=_STOP)
def restart(context: Context, options: Options) -> int:
    """Stop and start."""
    return _stop(context, options, "restart")


@command(
    "container kill",
    f"[OPTIONS] {_MANY}",
    args=(1, None),
    flags="""
  -s, --signal string   Signal to send to the container
""",
)
def kill(context: Context, options: Options) -> int:
    """Send a signal, SIGKILL unless said otherwise."""
    return _post(context, options, "kill", signal=options.text("signal") or None)


@command("container pause", _MANY, args=(1, None))
def pause(context: Context, options: Options) -> int:
    """Freeze."""
    return _post(context, options, "pause")


@command("container unpause", _MANY, args=(1, None))
def unpause(context: Context, options: Options) -> int:
    """Thaw."""
    return _post(context, options, "unpause")


@command("container rename", "CONTAINER NEW_NAME", args=(2, 2))
def rename(context: Context, options: Options) -> None:
    """Another name."""
    old, new = (name.strip() for name in options.args)
    if not old or not new:
        raise CommandFault("Error: Neither old nor new names may be empty")
    context.client.post(f"{path_of(old)}/rename", {"name": new})


@command(
    "container rm",
    f"[OPTIONS] {_MANY}",
    args=(1, None),
    flags="""
  -f, --force     Force the removal of a running container (uses SIGKILL)
  -l, --link      Remove the specified link
  -v, --volumes   Remove anonymous volumes associated with the container
""",
)
def remove(context: Context, options: Options) -> int:
    """Remove containers; with --force it is no fault when there is none."""
    query = {"v": options.flag("volumes"), "link": options.flag("link"), "force": options.flag("force")}
    code = 0
    for name in options.args:
        bare = name.strip("/")
        if not bare:
            context.err("container name cannot be empty")
            code = 1
            continue
        try:
            context.client.delete(path_of(bare), query)
        except DaemonError as fault:
            context.err(text_of(fault))
            code = code if options.flag("force") and fault.status == 404 else 1
        else:
            context.out(name)
    return code


@command("container wait", _MANY, args=(1, None))
def wait(context: Context, options: Options) -> int:
    """Exit codes, as the containers end."""
    code = 0
    for name in options.args:
        try:
            context.out(str(context.client.post(f"{path_of(name)}/wait")["StatusCode"]))
        except DaemonError as fault:
            context.err(text_of(fault))
            code = 1
    return code
