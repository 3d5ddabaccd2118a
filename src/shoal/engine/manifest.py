"""Image manifests and configs (OCI image specification; Docker image manifest V2, schema 2): parsing and making.

Pure: bytes in, values out. Unknown fields of what was parsed are not lost: the original bytes are kept as blobs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from shoal.kit.clock import ZERO_TIME
from shoal.model.base import Struct, decode, encode
from shoal.model.container import ContainerConfig
from shoal.model.engine import Image
from shoal.model.errors import InvalidArgument, NotFound

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
ACCEPT = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX)
"""What this engine can read, for the Accept header."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


class ManifestPlatform(Struct, frozen=True, rename="lower"):
    """Which computers a manifest of a list is for."""

    architecture: str = ""
    os: str = ""
    variant: str = ""


class Descriptor(Struct, frozen=True, rename="camel"):
    """A blob that a manifest names."""

    media_type: str = ""
    digest: str = ""
    size: int = 0
    platform: ManifestPlatform | None = None


class Manifest(Struct, frozen=True, rename="camel", omit_defaults=False):
    """One image: its config and its layers, lowest first."""

    schema_version: int = 2
    media_type: str = DOCKER_MANIFEST
    config: Descriptor = Descriptor()
    layers: list[Descriptor] = []


class Index(Struct, frozen=True, rename="camel"):
    """Manifests of one name for several platforms."""

    manifests: list[Descriptor] = []


class _RootFS(Struct, frozen=True):
    type: str = field(name="type", default="layers")
    diff_ids: list[str] = field(name="diff_ids", default_factory=list)


class ImageConfig(Struct, frozen=True, rename="lower"):
    """The config blob of an image."""

    created: datetime = ZERO_TIME
    author: str = ""
    comment: str = ""
    architecture: str = ""
    variant: str = ""
    os: str = "linux"
    config: ContainerConfig = ContainerConfig()
    rootfs: _RootFS = _RootFS()
    history: list[dict[str, Any]] = []


def is_index(media_type: str, data: bytes) -> bool:
    """Whether `data` is a list of manifests; old registries send no useful media type."""
    return media_type in (DOCKER_LIST, OCI_INDEX) or (media_type not in ACCEPT and b'"manifests"' in data)


def parse_manifest(data: bytes) -> Manifest:
    """Raises InvalidArgument for anything but a schema 2 or OCI image manifest."""
    manifest = decode(data, Manifest)
    if manifest.schema_version != 2 or not manifest.config.digest:
        raise InvalidArgument("unsupported manifest format: only schema version 2 can be pulled")
    return manifest


def choose(index: Index, machine: str, wanted: str = "") -> Descriptor:
    """The manifest for `wanted` (`os/arch[/variant]`), else for this kind of `machine` (`uname -m`).

    Raises NotFound in docker's words.
    """
    system, _, rest = (wanted or f"linux/{architecture(machine)}").partition("/")
    arch, _, variant = rest.partition("/")
    for entry in index.manifests:
        platform = entry.platform or ManifestPlatform()
        if (platform.os, platform.architecture) == (system, arch) and (not variant or platform.variant == variant):
            return entry
    raise NotFound(f"no matching manifest for {system}/{rest} in the manifest list entries")


def architecture(machine: str) -> str:
    """Go's name for what `uname -m` prints."""
    return _ARCHITECTURES.get(machine, machine)


def image_of(config_digest: str, config: bytes, size: int) -> Image:
    """The image that a config blob describes. Raises InvalidArgument."""
    parsed = decode(config, ImageConfig)
    return Image(
        id=config_digest,
        created=parsed.created,
        author=parsed.author,
        comment=parsed.comment,
        config=parsed.config,
        architecture=parsed.architecture,
        variant=parsed.variant,
        os=parsed.os,
        size=size,
        layers=parsed.rootfs.diff_ids,
        history=parsed.history,
    )


def make_config(config: ContainerConfig, diff_ids: list[str], machine: str, now: datetime, comment: str) -> bytes:
    """The config blob of a new image of one or more layers."""
    return encode(
        ImageConfig(
            created=now,
            comment=comment,
            architecture=architecture(machine),
            config=config,
            rootfs=_RootFS(diff_ids=diff_ids),
            history=[{"created": now, "comment": comment}],
        )
    )


def make_manifest(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """The manifest of a new image."""
    return encode(Manifest(config=config, layers=layers))
