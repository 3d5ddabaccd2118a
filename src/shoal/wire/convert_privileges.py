"""Privileges and the references to secrets and configs, wire <-> model; the model keeps these as the API's JSON."""

from __future__ import annotations

import base64
from typing import Any

from shoal.wire.basics import from_enum, to_enum
from shoal.wire.pb import swarmkit_pb2 as pb


def privileges_to_wire(privileges: dict[str, Any] | None) -> pb.Privileges | None:
    """The `Privileges` of a ContainerSpec in the Engine API."""
    if privileges is None:
        return None
    credential, selinux = privileges.get("CredentialSpec"), privileges.get("SELinuxContext")
    seccomp, apparmor = privileges.get("Seccomp"), privileges.get("AppArmor")
    return pb.Privileges(
        credential_spec=_credential_to_wire(credential) if credential else None,
        selinux_context=(
            pb.Privileges.SELinuxContext(
                disable=bool(selinux.get("Disable")),
                user=selinux.get("User", ""),
                role=selinux.get("Role", ""),
                type=selinux.get("Type", ""),
                level=selinux.get("Level", ""),
            )
            if selinux
            else None
        ),
        seccomp=(
            pb.Privileges.SeccompOpts(
                mode=to_enum(seccomp.get("Mode", ""), "default"),
                profile=base64.b64decode(seccomp.get("Profile") or ""),
            )
            if seccomp
            else None
        ),
        apparmor=pb.Privileges.AppArmorOpts(mode=to_enum(apparmor.get("Mode", ""), "default")) if apparmor else None,
        no_new_privileges=bool(privileges.get("NoNewPrivileges")),
    )


def _credential_to_wire(credential: dict[str, Any]) -> pb.Privileges.CredentialSpec:
    for key in ("Config", "File", "Registry"):
        if credential.get(key):
            return pb.Privileges.CredentialSpec(**{key.lower(): credential[key]})
    return pb.Privileges.CredentialSpec()


def privileges_from_wire(privileges: pb.Privileges) -> dict[str, Any]:
    """The counterpart of `privileges_to_wire`; what is not set is left out."""
    found: dict[str, Any] = {}
    if privileges.HasField("credential_spec"):
        source = privileges.credential_spec.WhichOneof("source")
        found["CredentialSpec"] = (
            {str(source).capitalize(): getattr(privileges.credential_spec, source)} if source else {}
        )
    if privileges.HasField("selinux_context"):
        selinux = privileges.selinux_context
        found["SELinuxContext"] = _set(
            Disable=selinux.disable, User=selinux.user, Role=selinux.role, Type=selinux.type, Level=selinux.level
        )
    if privileges.HasField("seccomp"):
        seccomp = privileges.seccomp
        found["Seccomp"] = _set(
            Mode=from_enum(pb.Privileges.SeccompOpts.SeccompMode, seccomp.mode),
            Profile=base64.b64encode(seccomp.profile).decode(),
        )
    if privileges.HasField("apparmor"):
        found["AppArmor"] = {"Mode": from_enum(pb.Privileges.AppArmorOpts.AppArmorMode, privileges.apparmor.mode)}
    if privileges.no_new_privileges:
        found["NoNewPrivileges"] = True
    return found


def _set(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


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
