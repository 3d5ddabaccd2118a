"""`pull` and `push`."""

from __future__ import annotations

import sys
from typing import TextIO

from shoal.api.client import quote
from shoal.cli.command import CommandFault, Context, Options, command
from shoal.cli.image_digest import registry_auth, tagged
from shoal.ui.progress import ProgressFault, show


@command(
    "image pull",
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    args=(1, 1),
    flags="""
  -a, --all-tags                Download all tagged images in the repository
      --disable-content-trust   Skip image verification (default true)
      --platform string         Set platform if server is multi-platform capable
  -q, --quiet                   Suppress verbose output
""",
)
def pull_command(context: Context, options: Options) -> None:
    """Get an image from its registry; prints the full name at the end."""
    name, everything = options.args[0], options.flag("all-tags")
    if everything and tagged(name) == name:
        raise CommandFault("tag can't be used with --all-tags/-a")
    image = name if everything else tagged(name)
    if image != name and not options.flag("quiet") and not everything:
        context.out("Using default tag: latest")
        sys.stdout.flush()
    pull(context, image, options.text("platform"), quiet=options.flag("quiet"), out=sys.stdout)
    context.out(full_name(image))


def pull(context: Context, image: str, platform: str, *, quiet: bool, out: TextIO) -> None:
    """Pull `image` (with tag or digest; without, all tags), showing the progress on `out`. Raises CommandFault."""
    name, _, digest = image.partition("@")
    repository, tag = (name, digest) if digest else _split(image)
    query = {"fromImage": full_name(repository), "tag": tag or None, "platform": platform or None}
    headers = {"X-Registry-Auth": registry_auth(context, image)}
    objects = context.client.objects("POST", "/images/create", query, headers=headers)
    try:
        if quiet:
            show((item for item in objects if "error" in item or "errorDetail" in item), out, terminal=False)
        else:
            show(objects, out, terminal=out.isatty())
    except ProgressFault as fault:
        raise CommandFault(str(fault)) from fault


def _split(image: str) -> tuple[str, str]:
    """Repository and tag."""
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag


def full_name(image: str) -> str:
    """`redis:7` as `docker.io/library/redis:7`."""
    head, slash, _ = image.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


@command(
    "image push",
    "[OPTIONS] NAME[:TAG]",
    args=(1, 1),
    flags="""
  -a, --all-tags                Push all tags of an image to the repository
      --disable-content-trust   Skip image signing (default true)
      --platform string         Push a platform-specific manifest as a single-platform image to the registry. Image
                                index won't be pushed, meaning that other manifests, including attestations won't be
                                preserved.
                                'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)
  -q, --quiet                   Suppress verbose output
""",
)
def push_command(context: Context, options: Options) -> None:
    """Send an image to its registry."""
    name = options.args[0]
    if options.flag("all-tags"):
        if tagged(name) == name:
            raise CommandFault("tag can't be used with --all-tags/-a")
        repository, tag = name, ""
    else:
        if tagged(name) != name and not options.flag("quiet"):
            context.out("Using default tag: latest")
            sys.stdout.flush()
        repository, tag = _split(tagged(name))
    query = {"tag": tag or None, "platform": options.text("platform") or None}
    headers = {"X-Registry-Auth": registry_auth(context, name)}
    objects = context.client.objects("POST", f"/images/{quote(repository)}/push", query, headers=headers)
    try:
        if options.flag("quiet"):
            show((item for item in objects if "error" in item or "errorDetail" in item), sys.stderr, terminal=False)
            context.out(full_name(tagged(name)))
        else:
            show(objects, sys.stdout, terminal=sys.stdout.isatty())
    except ProgressFault as fault:
        raise CommandFault(str(fault)) from fault
