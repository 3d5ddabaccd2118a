"""`import`, `load` and `save`: images as files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from shoal.api.client import quote
from shoal.cli import terminal
from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.image_digest import tagged
from shoal.ui.progress import ProgressFault, show

_CHUNK = 1 << 18


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


@command(
    "image import",
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    args=(1, 2),
    flags="""
  -c, --change list       Apply Dockerfile instruction to the created image
  -m, --message string    Set commit message for imported image
      --platform string   Set platform if server is multi-platform capable
""",
)
def import_command(context: Context, options: Options) -> None:
    """A file system as an image; prints its id."""
    source = options.args[0]
    remote = source.startswith(("http://", "https://"))
    query: dict[str, object] = {
        "fromSrc": source if remote else "-",
        "message": options.text("message") or None,
        "changes": options.many("change"),
        "platform": options.text("platform") or None,
    }
    if len(options.args) > 1:
        head, slash, last = tagged(options.args[1]).rpartition("/")
        name, _, tag = last.partition(":")
        query |= {"repo": f"{head}{slash}{name}", "tag": tag}
    file = None if remote else sys.stdin.buffer if source == "-" else open(source, "rb")  # noqa: SIM115
    try:
        body = _pieces(file) if file else None
        objects = context.client.objects("POST", "/images/create", query, body=body)
        show(objects, sys.stdout, terminal=False)
    except ProgressFault as fault:
        raise CommandFault(str(fault)) from fault
    finally:
        if file and source != "-":
            file.close()


@command(
    "image load",
    "[OPTIONS]",
    flags="""
  -i, --input string   Read from tar archive file, instead of STDIN
  -q, --quiet          Suppress the load output
""",
)
def load(context: Context, options: Options) -> None:
    """The images in a file that `save` made."""
    path = options.text("input")
    if not path and terminal.is_terminal(0):
        raise CommandFault("requested load from stdin, but stdin is empty")
    quiet = options.flag("quiet") or not sys.stdout.isatty()
    file = open(path, "rb") if path else sys.stdin.buffer  # noqa: SIM115
    try:
        headers = {"Content-Type": "application/x-tar"}
        query = {"quiet": quiet}
        objects = context.client.objects("POST", "/images/load", query, body=_pieces(file), headers=headers)
        show(objects, sys.stdout, terminal=sys.stdout.isatty())
    except ProgressFault as fault:
        raise CommandFault(str(fault)) from fault
    finally:
        if path:
            file.close()


@command(
    "image save",
    "[OPTIONS] IMAGE [IMAGE...]",
    args=(1, None),
    flags="""
  -o, --output string   Write to a file, instead of STDOUT
""",
)
def save(context: Context, options: Options) -> None:
    """Images as one file."""
    path, names = options.text("output"), options.args
    if not path and sys.stdout.isatty():
        raise CommandFault("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    one = len(names) == 1
    target = f"/images/{quote(names[0])}/get" if one else "/images/get"
    with context.client.stream("GET", target, None if one else {"names": names}) as response:
        if not path:
            for chunk in response.chunks():
                sys.stdout.buffer.write(chunk)
            return
        partial = f"{path}.part"
        try:
            with open(partial, "wb") as file:
                os.chmod(partial, 0o600)  # what is in an image may be nobody else's business
                for chunk in response.chunks():
                    file.write(chunk)
            os.replace(partial, path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)
