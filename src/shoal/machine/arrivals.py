"""What of an imported record is not taken as it is: it may come from anybody. Pure but for `named_anew`."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

from msgspec.structs import replace

from shoal.machine.errors import MachineError
from shoal.machine.files import write_atomic
from shoal.machine.host import Say
from shoal.machine.record import Record

_PATH = re.compile(r"(/|\\|~|\.|[A-Za-z]:[/\\])")
_LAST = re.compile(r".*[/\\]", re.DOTALL)
_ADDRESS = re.compile(r"[A-Za-z0-9_.:%-]*")
_USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]*|")


def settled(record: Record, directory: Path, say: Say) -> Record:
    """`record` with nothing in its driver's data that leads out of the machine's directory.

    A path elsewhere names another computer's file at best: of a program's the name is kept, to be looked for here;
    other paths become empty. Raises MachineError for values that could be read as more than one setting.
    """
    driver = {key: _value(key, value, directory, say) for key, value in record.driver.items()}
    for key, form in (("IPAddress", _ADDRESS), ("SSHUser", _USER)):
        value = driver.get(key, "")
        if not isinstance(value, str) or not form.fullmatch(value) or value.startswith("-"):
            raise MachineError(f"its {key} is not taken: {value!r}")
    auth = record.host_options.auth_options
    if auth:
        auth = replace(
            auth, cert_dir=str(directory), store_path=str(directory), server_cert_sans=auth.server_cert_sans,
            ca_cert_path=str(directory / "ca.pem"), ca_private_key_path=str(directory / "ca-key.pem"),
            client_cert_path=str(directory / "cert.pem"), client_key_path=str(directory / "key.pem"),
            server_cert_path=str(directory / "server.pem"), server_key_path=str(directory / "server-key.pem"),
        )  # fmt: skip
    return replace(record, driver=driver, host_options=replace(record.host_options, auth_options=auth))


def _value(key: str, value: Any, directory: Path, say: Say) -> Any:
    if isinstance(value, dict):
        return {inner: _value(inner, item, directory, say) for inner, item in value.items()}
    if isinstance(value, list):
        return [_value(key, item, directory, say) for item in value]
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        raise MachineError(f"its {key} is not taken: {value!r}")
    # The store's own directory is no secret, and drivers keep it here.
    if not _PATH.match(value) or (key == "StorePath" and value == str(directory.parent.parent)):
        return value
    if _inside(value, directory):
        return value
    kept = "" if key.endswith("Path") else _LAST.sub("", value)
    say(f"Warning: {key} was {value}, which is not a file of the machine; it is {kept or 'empty'} now")
    return kept


def _inside(path: str, directory: PurePath) -> bool:
    found = type(directory)(path)
    return ".." not in found.parts and found.is_relative_to(directory)


def named_anew(directory: Path, old: str, new: str) -> None:
    """Let known_hosts in `directory` hold the machine's key under its new name."""
    path = directory / "known_hosts"
    if path.is_file():
        lines = [line.split(" ") for line in path.read_text(errors="replace").splitlines()]
        text = "".join(" ".join([new if line[0] == old else line[0], *line[1:]]) + "\n" for line in lines)
        write_atomic(path, text.encode(), 0o600)
