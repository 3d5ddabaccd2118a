"""`images` and `history`."""

from __future__ import annotations

from datetime import datetime

from shoal.api.client import filters, quote
from shoal.cli.command import TABLE_FORMAT, CommandFault, Context, Options, command
from shoal.cli.printing import show
from shoal.cli.words import Json, cut, short, since_epoch
from shoal.kit.units import human_size

_COLUMNS = {
    "ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
}  # fmt: skip
_NONE = "<none>"


@command(
    "image ls",
    "[OPTIONS] [REPOSITORY[:TAG]]",
    args=(0, 1),
    flags=f"""
  -a, --all             Show all images (default hides intermediate images)
      --digests         Show digests
  -f, --filter filter   Filter output based on conditions provided
      --format string   {TABLE_FORMAT}
      --no-trunc        Don't truncate output
  -q, --quiet           Only show image IDs
""",
)
def listing(context: Context, options: Options) -> None:
    """The engine's images, a line for each tag."""
    wanted = options.filters()
    if options.args:
        wanted.setdefault("reference", []).append(options.args[0])
    found = context.client.get("/images/json", {"all": options.flag("all"), "filters": filters(wanted)})
    full, form = options.flag("no-trunc"), options.text("format") or context.config.default("imagesFormat")
    digests = options.flag("digests") or ".Digest" in form
    rows = [row for image in found for row in rows_of(image, full=full, digests=digests)]
    if options.flag("quiet") and not options.changed("format"):
        context.out("".join(row["ID"] + "\n" for row in rows), end="")
        return
    shown = ["Repository", "Tag", *(["Digest"] if options.flag("digests") else []), "ID", "CreatedSince", "Size"]
    show(context, rows, _COLUMNS, shown=shown, form=form, kind="formatter.imageContext")


def rows_of(image: Json, *, full: bool, digests: bool) -> list[Json]:
    """A line for each tag; with `digests` also for digests that have no tag."""
    by_repository: dict[str, list[str]] = {}
    for reference in image.get("RepoDigests") or []:
        repository, _, digest = reference.partition("@")
        by_repository.setdefault(repository, []).append(digest)
    names: list[tuple[str, str, str]] = []
    tagged = set()
    for reference in image.get("RepoTags") or []:
        head, slash, last = reference.rpartition("/")
        name, _, tag = last.rpartition(":")
        repository = f"{head}{slash}{name}"
        tagged.add(repository)
        found = by_repository.get(repository, []) if digests else []
        names += [(repository, tag, digest) for digest in found or [_NONE]]
    for repository, found in by_repository.items():
        if repository not in tagged:
            names += [(repository, _NONE, digest if digests else _NONE) for digest in (found if digests else found[:1])]
    common = _common(image, full)
    return [
        {**common, "Repository": repository, "Tag": tag, "Digest": digest}
        for repository, tag, digest in names or [(_NONE, _NONE, _NONE)]
    ]


def _common(image: Json, full: bool) -> Json:
    created = datetime.fromtimestamp(image["Created"]).astimezone()
    containers, shared = image.get("Containers", -1), image.get("SharedSize", -1)
    size = image.get("Size", 0)
    return {
        "ID": short(image["Id"], full),
        "CreatedSince": since_epoch(image["Created"]),
        "CreatedAt": f"{created:%Y-%m-%d %H:%M:%S %z} {created.tzname()}",
        "Size": human_size(size),
        "Containers": "N/A" if containers == -1 else str(containers),
        "VirtualSize": _four_digits(size),
        "SharedSize": "N/A" if shared == -1 else human_size(shared),
        "UniqueSize": "N/A" if shared == -1 else human_size(size - shared),
    }


def _four_digits(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.4g}{unit}"
        size /= 1000
    return f"{size:.4g}PB"


_HISTORY = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE",
    "Comment": "COMMENT",
}  # fmt: skip


@command(
    "image history",
    "[OPTIONS] IMAGE",
    args=(1, 1),
    flags=f"""
      --format string     {TABLE_FORMAT}
  -H, --human             Print sizes and dates in human readable format (default true)
      --no-trunc          Don't truncate output
      --platform string   Show history for the given platform. Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")
  -q, --quiet             Only show image IDs
""",
)
def history(context: Context, options: Options) -> None:
    """How an image was made, newest step first."""
    if options.changed("platform"):
        raise CommandFault("images here have one platform: --platform cannot be used")
    found = context.client.get(f"/images/{quote(options.args[0])}/history")
    full, human = options.flag("no-trunc"), options.flag("human")
    rows = [_step(item, full=full, human=human) for item in found]
    if options.flag("quiet"):
        context.out("".join(row["ID"] + "\n" for row in rows), end="")
        return
    shown = ["ID", "CreatedSince" if human else "CreatedAt", "CreatedBy", "Size", "Comment"]
    form = options.text("format")
    show(context, rows, _HISTORY, shown=shown, form=form, kind="formatter.historyContext")


def _step(item: Json, *, full: bool, human: bool) -> Json:
    line = item.get("CreatedBy", "").replace("\t", " ")
    created = datetime.fromtimestamp(item["Created"]).astimezone()
    stamp = created.isoformat().replace("+00:00", "Z")
    return {
        "ID": short(item["Id"], full) if item["Id"] != "<missing>" else "<missing>",
        "CreatedSince": (since_epoch(item["Created"]) if item["Created"] > 0 else "N/A") if human else stamp,
        "CreatedAt": stamp,
        "CreatedBy": line if full else cut(line, 45),
        "Size": human_size(item["Size"]) if human else str(item["Size"]),
        "Comment": item.get("Comment", ""),
    }
