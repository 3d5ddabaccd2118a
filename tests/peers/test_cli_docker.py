"""The same command given to docker's own command line and to ours, against the same daemon: the same output, the same
exit code, the same requests."""

from __future__ import annotations

import copy
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakedaemon import Request, fake_daemon
from tests.samples import ROUTES

OURS = [sys.executable, "-c", "import sys; from shoal.cli.main import main; sys.exit(main(program='docker'))"]


def major() -> int:
    """The major version of the docker command line here; 0 when there is none."""
    try:
        said = subprocess.run(["docker", "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    return int(said.split()[2].split(".")[0]) if said.startswith("Docker version") else 0


pytestmark = pytest.mark.skipif(major() < 28, reason="docker's command line 28 is not here (Debian 12 has 20.10)")
COMMANDS = (Path(__file__).parent / "cli_commands.txt").read_text().splitlines()


def normal(value: Any) -> Any:
    """A body without what means nothing: nulls, zeros, empty things, the order of lists of objects."""
    if isinstance(value, dict):
        kept = {key: normal(item) for key, item in value.items() if (key, item) != ("MemorySwappiness", -1)}
        if "Env" in kept:
            kept["Env"] = sorted(kept["Env"] or [])  # docker's own order is random after an update
        return {key: item for key, item in kept.items() if item not in (None, {}, [], False, "", 0, [0, 0])}
    if isinstance(value, list):
        items = [normal(item) for item in value]
        return (
            sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
            if items and isinstance(items[0], dict)
            else items
        )
    return value


def changes(requests: list[Request]) -> list[str]:
    """The requests that change something, in a form that can be compared. Waiting is not asking for anything."""
    found = []
    for request in requests:
        if request.method in ("GET", "HEAD") or request.path.endswith("/wait"):
            continue
        query = {key: "1" if value == "true" else value for key, value in request.query.items() if value != "false"}
        found.append(json.dumps([request.method, request.path, query, normal(request.body)], sort_keys=True))
    return sorted(found)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line and not line.startswith("#")])
def test_cli_does_as_docker_does(line: str, tmp_path: Path) -> None:
    """A command line means to us what it means to docker."""
    results = []
    for name, program in (("docker", ["docker"]), ("ours", OURS)):
        with fake_daemon(tmp_path / name, copy.deepcopy(ROUTES)) as fake:
            done = subprocess.run(
                [*program, *shlex.split(line)],
                env={**os.environ, "DOCKER_HOST": fake.url, "DOCKER_CONFIG": str(tmp_path), "HOME": "/root"},
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            results.append((done.returncode, done.stdout, done.stderr, changes(fake.requests)))
    assert results[1] == results[0]
