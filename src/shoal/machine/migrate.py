"""Older shapes of config.json, brought to that of ConfigVersion 3; and where the store lay that wrote it. Pure.

0 (docker-machine 0.1)   certificates and classic Swarm at top level
1                        nested; AuthOptions.PrivateKeyPath
2                        CaPrivateKeyPath, CertDir; the driver does not know the store
3                        Driver.StorePath; 0.5.0 and 0.5.1 wrote the driver as base64 in RawDriver
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = 3

_AUTH_OF_0 = ("CaCertPath", "ServerCertPath", "ServerKeyPath", "ClientCertPath", "ClientKeyPath")
_MACHINE_DIRECTORY = re.compile(r"[/\\]machines[/\\][^/\\]+[/\\]*$")
_CERTS = re.compile(r"[/\\]certs[/\\]*$")
_LAST = re.compile(r"[/\\][^/\\]*$")


def is_old(data: bytes) -> bool:
    """Whether this config.json has an older shape, of which a copy is to be kept when it is rewritten."""
    try:
        raw = msgspec.json.decode(data)
    except ValueError:
        return False
    return isinstance(raw, dict) and (_version(raw) < VERSION or "RawDriver" in raw)


def migrated(raw: Mapping[str, Any]) -> dict[str, Any]:
    """`raw`, a config.json of any version, in the shape of version 3. Raises ValueError for one from the future."""
    version = _version(raw)
    if version > VERSION:
        raise ValueError("config version is from the future -- you should upgrade your Docker Machine client")
    result = dict(raw)
    driver = _driver(raw)
    options = dict(_mapping(raw.get("HostOptions")))
    auth = dict(_mapping(options.get("AuthOptions")))
    if version == 0:
        auth = {**{key: raw[key] for key in _AUTH_OF_0 if raw.get(key)}, **auth}
        swarm = {"Host": raw.get("SwarmHost"), "Master": raw.get("SwarmMaster"), "Discovery": raw.get("SwarmDiscovery")}
        options.setdefault("SwarmOptions", {key: value for key, value in swarm.items() if value})
    if version < VERSION:
        key = auth.pop("PrivateKeyPath", None) or raw.get("PrivateKeyPath")
        if key:
            auth.setdefault("CaPrivateKeyPath", key)
        if raw.get("StorePath"):
            auth.setdefault("StorePath", raw["StorePath"])
        root = recorded_root(driver, auth)
        if root:
            auth.setdefault("CertDir", _joined(root, "certs"))
            driver.setdefault("StorePath", root)
    if auth:
        options["AuthOptions"] = auth
    result.pop("RawDriver", None)
    return {**result, "ConfigVersion": VERSION, "Driver": driver, "HostOptions": options}


def recorded_root(driver: Mapping[str, Any], auth: Mapping[str, Any]) -> str:
    """The store's directory when the record was written, with the separators of that computer; empty when not told."""
    for path in (driver.get("StorePath"), auth.get("StorePath")):
        if isinstance(path, str) and _MACHINE_DIRECTORY.search(path):
            return _MACHINE_DIRECTORY.sub("", path)
    if isinstance(driver.get("StorePath"), str) and driver["StorePath"]:
        return str(driver["StorePath"]).rstrip("/\\")
    for path in (auth.get("CertDir"), _LAST.sub("", str(auth.get("CaCertPath") or ""))):
        if isinstance(path, str) and _CERTS.search(path):
            return _CERTS.sub("", path)
    return ""


def _version(raw: Mapping[str, Any]) -> int:
    version = raw.get("ConfigVersion") or 0
    if not isinstance(version, int):
        raise ValueError(f"ConfigVersion is not a number: {version!r}")
    return version


def _driver(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's object. Where there is a RawDriver it is the true one: what stands beside it is a remainder."""
    encoded = raw.get("RawDriver")
    if isinstance(encoded, str) and encoded:
        try:
            decoded = msgspec.json.decode(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError) as fault:
            raise ValueError(f"RawDriver cannot be read: {fault}") from fault
        if isinstance(decoded, dict):
            return decoded
    driver = raw.get("Driver")
    if driver is not None and not isinstance(driver, dict):
        raise ValueError("Driver is not an object")
    return dict(driver or {})


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError("HostOptions is not an object")
    return value or {}


def _joined(root: str, name: str) -> str:
    return root + ("\\" if "\\" in root and "/" not in root else "/") + name
