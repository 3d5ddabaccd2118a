"""`prune` of containers, images, networks, volumes, and of all of them."""

from __future__ import annotations

from typing import Any

from shoal.api.client import filters
from shoal.cli.command import Context, Options, command, confirmed, fail
from shoal.kit.units import human_size

_FORCE = "  -f, --force           Do not prompt for confirmation"
_UNTIL = '      --filter filter   Provide filter values (e.g. "until=<timestamp>")'


def _ask(context: Context, options: Options, warning: str) -> bool:
    return confirmed(context, f"WARNING! {warning}\nAre you sure you want to continue?", options.flag("force"))


def _post(context: Context, kind: str, wanted: dict[str, list[str]]) -> Any:
    return context.client.post(f"/{kind}/prune", {"filters": filters(wanted)}) or {}


def _listed(context: Context, title: str, names: list[str] | None) -> None:
    if names:
        context.out("\n".join([f"{title}:", *names]) + "\n")


def _reclaimed(context: Context, size: int) -> None:
    context.out(f"Total reclaimed space: {human_size(size)}")


def _containers(context: Context, wanted: dict[str, list[str]]) -> int:
    answer = _post(context, "containers", wanted)
    _listed(context, "Deleted Containers", answer.get("ContainersDeleted"))
    return int(answer.get("SpaceReclaimed") or 0)


def _images(context: Context, wanted: dict[str, list[str]], *, every: bool) -> int:
    answer = _post(context, "images", {**wanted, "dangling": ["false" if every else "true"]})
    lines = [
        f"{verb.lower()}: {item[verb]}"
        for item in answer.get("ImagesDeleted") or []
        for verb in ("Untagged", "Deleted")
        if item.get(verb)
    ]
    _listed(context, "Deleted Images", lines)
    return int(answer.get("SpaceReclaimed") or 0)


def _volumes(context: Context, wanted: dict[str, list[str]]) -> int:
    answer = _post(context, "volumes", wanted)
    _listed(context, "Deleted Volumes", answer.get("VolumesDeleted"))
    return int(answer.get("SpaceReclaimed") or 0)


def _networks(context: Context, wanted: dict[str, list[str]]) -> None:
    _listed(context, "Deleted Networks", _post(context, "networks", wanted).get("NetworksDeleted"))


@command("container prune", "[OPTIONS]", flags=f"\n{_UNTIL}\n{_FORCE}\n")
def containers(context: Context, options: Options) -> None:
    """Remove containers that do not run."""
    if _ask(context, options, "This will remove all stopped containers."):
        _reclaimed(context, _containers(context, options.filters()))


@command(
    "image prune",
    "[OPTIONS]",
    flags=f"""
  -a, --all             Remove all unused images, not just dangling ones
{_UNTIL}
{_FORCE}
""",
)
def images(context: Context, options: Options) -> None:
    """Remove images that have no name, or that no container uses."""
    every = options.flag("all")
    warning = (
        "This will remove all images without at least one container associated to them."
        if every
        else "This will remove all dangling images."
    )
    if _ask(context, options, warning):
        _reclaimed(context, _images(context, options.filters(), every=every))


@command("network prune", "[OPTIONS]", flags=f"\n{_UNTIL}\n{_FORCE}\n")
def networks(context: Context, options: Options) -> None:
    """Remove networks that no container uses."""
    if _ask(context, options, "This will remove all custom networks not used by at least one container."):
        _networks(context, options.filters())


@command(
    "volume prune",
    "[OPTIONS]",
    flags=f"""
  -a, --all             Remove all unused volumes, not just anonymous ones
      --filter filter   Provide filter values (e.g. "label=<label>")
{_FORCE}
""",
)
def volumes(context: Context, options: Options) -> None:
    """Remove volumes that no container uses."""
    every = options.flag("all")
    kind = "" if every else "anonymous "
    if _ask(context, options, f"This will remove {kind}local volumes not used by at least one container."):
        wanted = options.filters() | ({"all": ["true"]} if every else {})
        _reclaimed(context, _volumes(context, wanted))


@command(
    "system prune",
    "[OPTIONS]",
    flags="""
  -a, --all             Remove all unused images not just dangling ones
      --filter filter   Provide filter values (e.g. "label=<key>=<value>")
  -f, --force           Do not prompt for confirmation
      --volumes         Prune anonymous volumes
""",
)
def system(context: Context, options: Options) -> None:
    """Remove everything that nothing uses."""
    every, with_volumes, wanted = options.flag("all"), options.flag("volumes"), options.filters()
    if with_volumes and "until" in wanted:
        fail('The "until" filter is not supported with "--volumes"')
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if with_volumes:
        lines.append("all anonymous volumes not used by at least one container")
    lines.append("all images without at least one container associated to them" if every else "all dangling images")
    if not _ask(context, options, "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)):
        return
    size = _containers(context, wanted)
    _networks(context, wanted)
    if with_volumes:
        size += _volumes(context, wanted)
    size += _images(context, wanted, every=every)
    _reclaimed(context, size)
