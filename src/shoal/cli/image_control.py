"""`tag` and `rmi`."""

from __future__ import annotations

from shoal.api.client import quote
from shoal.cli.command import Context, DaemonError, Options, command, fail, text_of
from shoal.cli.image_digest import tagged


@command("image tag", "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", args=(2, 2))
def tag(context: Context, options: Options) -> None:
    """Another name for an image."""
    source, target = options.args
    head, slash, last = tagged(target).rpartition("/")
    name, _, label = last.partition(":")
    context.client.post(f"/images/{quote(source)}/tag", {"repo": f"{head}{slash}{name}", "tag": label})


@command(
    "image rm",
    "[OPTIONS] IMAGE [IMAGE...]",
    args=(1, None),
    flags="""
  -f, --force      Force removal of the image
      --no-prune   Do not delete untagged parents
""",
)
def remove(context: Context, options: Options) -> None:
    """Take names away, and the image with its last one."""
    query = {"force": options.flag("force"), "noprune": options.flag("no-prune")}
    faults: list[str] = []
    for name in options.args:
        try:
            for item in context.client.delete(f"/images/{quote(name)}", query) or []:
                for verb in ("Deleted", "Untagged"):
                    if item.get(verb):
                        context.out(f"{verb}: {item[verb]}")
        except DaemonError as fault:
            if not (options.flag("force") and fault.status == 404):
                faults.append(text_of(fault))
            else:
                context.err(text_of(fault))
    if faults:
        fail("\n".join(faults))
