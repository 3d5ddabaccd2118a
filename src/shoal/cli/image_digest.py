"""Pinning an image to what its registry has now, so that every node runs the same."""

from __future__ import annotations

from shoal.api.client import Client, ConnectionFault, DaemonError, quote
from shoal.cli.command import Context
from shoal.cli.config import auth_header, registry_of
from shoal.cli.words import Json


def tagged(image: str) -> str:
    """The image's name, with `:latest` where it has neither tag nor digest."""
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def registry_auth(context: Context, image: str) -> str:
    """X-Registry-Auth for the image's registry: what `login` stored, or an empty object."""
    return auth_header(context.config.credentials(registry_of(image)))


def resolve(client: Client, image: str, auth: str) -> tuple[str, list[Json]]:
    """`image@digest` and the platforms it is for; the image as it is, and none, when the registry does not say."""
    if "@" in image:
        return image, []
    found = _asked(client, image, auth)
    digest = (found.get("Descriptor") or {}).get("digest", "") if found else ""
    if not found or not digest:
        return image, []
    platforms = [
        {"Architecture": platform.get("architecture", ""), "OS": platform.get("os", "")}
        for platform in found.get("Platforms") or []
    ]
    return f"{image}@{digest}", platforms


def _asked(client: Client, image: str, auth: str) -> Json | None:
    import json

    try:
        with client.stream("GET", f"/distribution/{quote(image)}/json", headers={"X-Registry-Auth": auth}) as response:
            found: Json = json.loads(response.read())
            return found
    except (DaemonError, ConnectionFault, ValueError):
        return None


def unresolved(image: str) -> str:
    """What is said when the registry could not be asked."""
    return (
        f"image {image} could not be accessed on a registry to record\n"
        f"its digest. Each node will access {image} independently,\n"
        "possibly leading to different nodes running different\n"
        "versions of the image.\n"
    )


def pin(context: Context, spec: Json, *, auth: str = "") -> None:
    """Replace the image in a service's spec by the pinned one, or say that it could not be."""
    template = spec["TaskTemplate"]
    image = tagged(template["ContainerSpec"]["Image"])
    pinned, platforms = resolve(context.client, image, auth or registry_auth(context, image))
    template["ContainerSpec"]["Image"] = pinned
    if "@" not in pinned:
        context.err(unresolved(image))
    elif platforms:
        template.setdefault("Placement", {})["Platforms"] = platforms
