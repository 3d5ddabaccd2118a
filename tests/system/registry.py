"""A real registry (Debian's docker-registry) on a loopback port of its own, with or without a password."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt

from tests.waiting import until_sync


@contextmanager
def registry(folder: Path, user: str = "", password: str = "") -> Iterator[str]:
    """Run a registry that keeps its data in `folder`; yields its `host:port`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    lines = [
        "version: 0.1",
        "storage:",
        f"  filesystem: {{rootdirectory: {folder}/data}}",
        f"http: {{addr: '{host}'}}",
        "log: {level: error, accesslog: {disabled: true}}",
    ]
    if user:
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"{user}:{hashed}\n")
        lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    config = folder / "config.yml"
    config.write_text("\n".join(lines) + "\n")
    with subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL) as server:
        try:
            until_sync(lambda: _answers(host))
            yield host
        finally:
            server.terminate()


def _answers(host: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{host}/v2/", timeout=1).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
