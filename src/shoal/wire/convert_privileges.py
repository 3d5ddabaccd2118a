"""Privileges and the references to secrets and configs, wire <-> model; references are the API's JSON there."""

from __future__ import annotations

from typing import Any

from shoal.model.privileges import AppArmor, CredentialSpec, Privileges, Seccomp, SELinuxContext
from shoal.wire.basics import from_enum, to_enum
from shoal.wire.pb import swarmkit_pb2 as pb


def privileges_to_wire(privileges: Privileges | None) -> pb.Privileges | None:
    """The security context of a ContainerSpec."""
    if privileges is None:
        return None
    credential, selinux = privileges.credential_spec, privileges.selinux_context
    seccomp, apparmor = privileges.seccomp, privileges.apparmor
    return pb.Privileges(
        credential_spec=_credential_to_wire(credential) if credential else None,
        selinux_context=(
            pb.Privileges.SELinuxContext(
                disable=selinux.disable, user=selinux.user, role=selinux.role, type=selinux.type, level=selinux.level
            )
            if selinux
            else None
        ),
        seccomp=(
            pb.Privileges.SeccompOpts(mode=to_enum(seccomp.mode, "default"), profile=seccomp.profile)
            if seccomp
            else None
        ),
        apparmor=pb.Privileges.AppArmorOpts(mode=to_enum(apparmor.mode, "default")) if apparmor else None,
        no_new_privileges=privileges.no_new_privileges,
    )


def _credential_to_wire(credential: CredentialSpec) -> pb.Privileges.CredentialSpec:
    if credential.config:
        return pb.Privileges.CredentialSpec(config=credential.config)
    if credential.file:
        return pb.Privileges.CredentialSpec(file=credential.file)
    return pb.Privileges.CredentialSpec(registry=credential.registry)


def privileges_from_wire(privileges: pb.Privileges) -> Privileges:
    """The counterpart of `privileges_to_wire`."""
    credential, selinux = privileges.credential_spec, privileges.selinux_context
    seccomp, apparmor = privileges.seccomp, privileges.apparmor
    return Privileges(
        credential_spec=(
            CredentialSpec(config=credential.config, file=credential.file, registry=credential.registry)
            if privileges.HasField("credential_spec")
            else None
        ),
        selinux_context=(
            SELinuxContext(
                disable=selinux.disable, user=selinux.user, role=selinux.role, type=selinux.type, level=selinux.level
            )
            if privileges.HasField("selinux_context")
            else None
        ),
        seccomp=(
            Seccomp(mode=from_enum(pb.Privileges.SeccompOpts.SeccompMode, seccomp.mode), profile=seccomp.profile)
            if privileges.HasField("seccomp")
            else None
        ),
        apparmor=(
            AppArmor(mode=from_enum(pb.Privileges.AppArmorOpts.AppArmorMode, apparmor.mode))
            if privileges.HasField("apparmor")
            else None
        ),
        no_new_privileges=privileges.no_new_privileges,
    )


def secret_reference_to_wire(reference: dict[str, Any]) -> pb.SecretReference:
    """One of a ContainerSpec's `Secrets`."""
    file = reference.get("File")
    return pb.SecretReference(
        secret_id=reference.get("SecretID", ""),
        secret_name=reference.get("SecretName", ""),
        file=_file_to_wire(file) if file else None,
    )


def secret_reference_from_wire(reference: pb.SecretReference) -> dict[str, Any]:
    """The counterpart of `secret_reference_to_wire`."""
    found: dict[str, Any] = {"SecretID": reference.secret_id, "SecretName": reference.secret_name}
    if reference.HasField("file"):
        found["File"] = _file_from_wire(reference.file)
    return found


def config_reference_to_wire(reference: dict[str, Any]) -> pb.ConfigReference:
    """One of a ContainerSpec's `Configs`."""
    file = reference.get("File")
    return pb.ConfigReference(
        config_id=reference.get("ConfigID", ""),
        config_name=reference.get("ConfigName", ""),
        file=_file_to_wire(file) if file else None,
        runtime=pb.RuntimeTarget() if not file and reference.get("Runtime") is not None else None,
    )


def config_reference_from_wire(reference: pb.ConfigReference) -> dict[str, Any]:
    """The counterpart of `config_reference_to_wire`."""
    found: dict[str, Any] = {"ConfigID": reference.config_id, "ConfigName": reference.config_name}
    if reference.HasField("file"):
        found["File"] = _file_from_wire(reference.file)
    elif reference.HasField("runtime"):
        found["Runtime"] = {}
    return found


def _file_to_wire(file: dict[str, Any]) -> pb.FileTarget:
    return pb.FileTarget(
        name=file.get("Name", ""), uid=file.get("UID", ""), gid=file.get("GID", ""), mode=file.get("Mode", 0)
    )


def _file_from_wire(file: pb.FileTarget) -> dict[str, Any]:
    return {"Name": file.name, "UID": file.uid, "GID": file.gid, "Mode": file.mode}
