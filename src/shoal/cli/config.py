"""The user's `config.json`: registry credentials, in docker's own place and shape, readable by nobody else.

Credential helpers (`credsStore`, `credHelpers`) are programs of other systems: what they hold is not used, and what is
stored here goes into the file itself.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from typing import Any

from shoal.cli.command import CommandFault

DEFAULT_REGISTRY = "https://index.docker.io/v1/"
"""Under which docker files the Hub's credentials."""

_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"}


class ConfigFault(CommandFault):
    """The file is there and cannot be read as what it should be."""


class ConfigFile:
    """The file at `path`; an absent one is empty. Other programs' settings in it are kept."""

    def __init__(self, path: str) -> None:
        """Raises ConfigFault."""
        self.path = path
        self._data: dict[str, Any] = {}
        try:
            with open(path, encoding="utf-8") as file:
                self._data = json.load(file)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as fault:
            raise ConfigFault(f"Error loading config file: {path}: {fault}") from fault

    def credentials(self, registry: str) -> dict[str, str]:
        """What is stored for `registry` (`docker.io`, `host:port`), as X-Registry-Auth wants it; empty when nothing."""
        stored = self._data.get("auths") or {}
        key = DEFAULT_REGISTRY if registry in _HUB else registry
        entry = stored.get(key) or next((value for name, value in stored.items() if _host(name) == _host(key)), None)
        if not entry:
            return {}
        found = {"serveraddress": key}
        if entry.get("auth"):
            try:
                user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
            except ValueError as fault:
                raise ConfigFault(f"Error loading config file: {self.path}: {fault}") from fault
            found |= {"username": user, "password": password.strip("\0")}
        if entry.get("identitytoken"):
            found["identitytoken"] = entry["identitytoken"]
        return found

    def store(self, registry: str, username: str, password: str, identity_token: str = "") -> None:
        """Keep credentials; a token stands in for the password where the registry gave one."""
        key = DEFAULT_REGISTRY if registry in _HUB else registry
        secret = f"{username}:" if identity_token else f"{username}:{password}"
        entry = {"auth": base64.b64encode(secret.encode()).decode()}
        if identity_token:
            entry["identitytoken"] = identity_token
        self._data.setdefault("auths", {})[key] = entry
        self._save()

    def erase(self, registry: str) -> bool:
        """Forget credentials; False when there were none."""
        key = DEFAULT_REGISTRY if registry in _HUB else registry
        stored = self._data.get("auths") or {}
        names = [name for name in stored if name == key or _host(name) == _host(key)]
        for name in names:
            del stored[name]
        if names:
            self._save()
        return bool(names)

    def default(self, name: str) -> str:
        """A setting such as `psFormat` or `detachKeys`; "" when it is not set."""
        value = self._data.get(name)
        return value if isinstance(value, str) else ""

    def _save(self) -> None:
        """Replace the file at once, never readable by others. Raises OSError."""
        path = os.path.realpath(self.path)
        directory = os.path.dirname(path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".config-")  # mkstemp makes it 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self._data, file, indent="\t")
                file.write("\n")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def _host(name: str) -> str:
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def registry_of(image: str) -> str:
    """The registry that an image's name means: `docker.io` unless its first part is a host."""
    head, slash, _ = image.partition("/")
    is_host = slash and ("." in head or ":" in head or head == "localhost" or head != head.lower())
    return head if is_host else "docker.io"


def auth_header(credentials: dict[str, str]) -> str:
    """Credentials as X-Registry-Auth carries them."""
    return base64.urlsafe_b64encode(json.dumps(credentials).encode()).decode()
