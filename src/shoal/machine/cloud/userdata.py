"""What cloud-init is told at a machine's first boot: the key that its sshd is to have, and the user's own data.

The host key makes the first connection one that can be checked. Any process of the machine may read user-data from the
provider's metadata service, so `access.renew_host_key` replaces that key by one made on the machine as soon as the
first connection stands.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from shoal.machine.errors import MachineError
from shoal.machine.keys import KeyPair

_KINDS = {
    "#cloud-config": "cloud-config", "#!": "x-shellscript", "#include": "x-include-url",
    "#cloud-boothook": "cloud-boothook", "## template: jinja": "jinja2", "#part-handler": "part-handler",
    "#cloud-config-archive": "cloud-config-archive",
}  # fmt: skip
"""How a part begins, and its MIME type: cloud-init's own list."""


def compose(host: KeyPair, *own: str) -> str:
    """The user-data of a machine with the host key `host`; `own` are further parts, of any kind cloud-init knows."""
    settings = cloud_config(host)
    parts = [("cloud-config", settings), *((kind(text), text) for text in own if text.strip())]
    if len(parts) == 1:
        return settings
    # Not random: the same machine asked for twice is the same request (EC2's client token demands it).
    boundary = "=" * 12 + hashlib.sha256("".join(text for _, text in parts).encode()).hexdigest()[:24]
    lines = ["MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{boundary}"', ""]
    for subtype, text in parts:
        body = base64.encodebytes(text.encode()).decode().rstrip("\n")
        lines += [f"--{boundary}", f'Content-Type: text/{subtype}; charset="utf-8"',
                  "Content-Transfer-Encoding: base64", "", body, ""]  # fmt: skip
    return "\n".join([*lines, f"--{boundary}--", ""])


def cloud_config(host: KeyPair) -> str:
    """A `#cloud-config` that gives sshd the key `host` and makes no other. JSON is YAML."""
    settings = {"ssh_keys": {"ed25519_private": host.private, "ed25519_public": host.public.strip()}}
    return "#cloud-config\n" + json.dumps(settings, indent=1) + "\n"


def kind(text: str) -> str:
    """The MIME subtype of a user's data, by its first line. Raises MachineError for what is no user-data."""
    for start in sorted(_KINDS, key=len, reverse=True):
        if text.startswith(start):
            return _KINDS[start]
    raise MachineError(
        "the user-data begins with none of " + ", ".join(_KINDS) + ": cloud-init would not know what to do with it"
    )


def read(path: str, flag: str) -> str:
    """The text of the file that `--flag` names, empty for none. Raises MachineError."""
    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise MachineError(f"unable to read --{flag} file {path}: {fault}") from fault
    kind(text)
    return text
