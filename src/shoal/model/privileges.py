"""A service's security context, as the Engine API's JSON has it (ContainerSpec.Privileges)."""

from __future__ import annotations

from msgspec import field

from shoal.model.base import Struct


class CredentialSpec(Struct, frozen=True):
    """A Windows container's gMSA credentials: exactly one says where they are."""

    config: str = ""
    file: str = ""
    registry: str = ""


class SELinuxContext(Struct, frozen=True):
    """The SELinux label, or none."""

    disable: bool = False
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class Seccomp(Struct, frozen=True):
    """`mode` is default, unconfined or custom; custom has a `profile`, JSON as `docker run` reads it from a file."""

    mode: str = ""
    profile: bytes = b""


class AppArmor(Struct, frozen=True):
    """`mode` is default or disabled."""

    mode: str = ""


class Privileges(Struct, frozen=True):
    """What a service's containers may do beyond or below the defaults."""

    credential_spec: CredentialSpec | None = None
    selinux_context: SELinuxContext | None = field(name="SELinuxContext", default=None)
    seccomp: Seccomp | None = None
    apparmor: AppArmor | None = field(name="AppArmor", default=None)
    no_new_privileges: bool = False
