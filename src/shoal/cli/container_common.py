"""What the commands for single containers share: paths, sizes, exit codes."""

from __future__ import annotations

import json

from shoal.api.client import Client, DaemonError, Response, quote
from shoal.cli.command import RunFault


def path_of(name: str) -> str:
    """The API path of a container."""
    return f"/containers/{quote(name)}"


def resize(client: Client, path: str, height: int, width: int) -> None:
    """Tell a container or an exec the terminal's size; failure does not matter."""
    try:
        client.post(f"{path}/resize", {"h": height, "w": width})
    except DaemonError:
        pass  # it has ended, or has not begun


def exit_code(waiting: Response) -> int:
    """The code in the answer of `wait`, which comes when the container ends. Raises RunFault."""
    with waiting:
        answer = json.loads(waiting.read())
    if answer.get("Error"):
        raise RunFault(answer["Error"].get("Message", ""), hint=False)
    return int(answer["StatusCode"])
