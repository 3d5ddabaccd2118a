"""A virtual machine of a stand-in: QEMU, and a process that watches it and holds its places on networks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import lan

RUN = "run.json"
QEMU = "qemu-system-x86_64"


class VmError(Exception):
    """The machine could not be started, or does not answer."""


def card(number: int, model: str, mac: str, backend: str) -> list[str]:
    """QEMU's words for a network card; `model` is QEMU's."""
    rom = ",romfile=" if model == "virtio-net-pci" else ""
    return ["-netdev", f"{backend},id=net{number}", "-device", f"{model},netdev=net{number},mac={mac}{rom}"]


def start(folder: Path, words: list[str], networks: list[dict[str, Any]]) -> None:
    """Start QEMU with `words`; `{tap0}`, `{tap1}`... in them become the descriptors of places on `networks`.

    A network: `home`, `name`, `config` for `lan.join`. Raises VmError with QEMU's own words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    specification = json.dumps({"words": words, "networks": networks})
    with (folder / "qemu.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, __file__, str(folder), specification], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, start_new_session=True,
        )  # fmt: skip
    assert child.stdout is not None
    said = child.stdout.readline().decode().strip()
    if said != "started":
        raise VmError((folder / "qemu.log").read_text(errors="replace").strip()[-800:] or said or "QEMU did not start")


def running(folder: Path) -> bool:
    """Whether it runs; a stopped processor counts."""
    try:
        run = json.loads((folder / RUN).read_text())
    except (OSError, ValueError):
        return False
    return bool(_started(run["pid"]) == run["started"])


def paused(folder: Path) -> bool | None:
    """Whether its processor is stopped; None when the machine does not run, or ended while it was asked."""
    if not running(folder):
        return None
    try:
        (status,) = command(folder, "query-status")
    except VmError:
        status = None
    if status is None:
        if wait_for(lambda: not running(folder), 10):
            return None
        raise VmError("QEMU does not answer")
    return bool(status["status"] == "paused")


def since(folder: Path) -> float:
    """When it was started, in seconds since 1970."""
    return float(json.loads((folder / RUN).read_text())["at"])


def command(folder: Path, *names: str) -> list[Any]:
    """Give QEMU's monitor commands; what it returns to each. Raises VmError."""
    os.chdir(folder)  # The socket's full path may be too long for its 108 bytes.
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect("qmp")
            stream = connection.makefile("rw")
            stream.readline()
            return [_ask(stream, name) for name in ("qmp_capabilities", *names)][1:]
    except OSError as fault:
        raise VmError(f"QEMU does not answer: {fault}") from fault


def _answers(folder: Path) -> bool:
    try:
        return command(folder, "query-status") != [None]
    except VmError:
        return False


def _ask(stream: Any, name: str) -> Any:
    stream.write(json.dumps({"execute": name}) + "\n")
    stream.flush()
    while line := stream.readline():
        answer = json.loads(line)
        if "return" in answer:
            return answer["return"]
        if "error" in answer:
            raise VmError(answer["error"]["desc"])
    return None


def power_off(folder: Path) -> None:
    """End it at once."""
    with suppress(VmError):
        command(folder, "quit")
    if not wait_for(lambda: not running(folder), 10):
        with suppress(OSError, ValueError):
            os.kill(json.loads((folder / RUN).read_text())["pid"], signal.SIGKILL)
        wait_for(lambda: not running(folder), 10)


def wait_for(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll until it is true."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _started(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def watch(folder: Path, words: list[str], networks: list[dict[str, Any]]) -> None:
    """Be the process that watches: hold the places on networks, start QEMU, end with it."""
    places = [lan.join(Path(each["home"]), each["name"], each["config"]) for each in networks]
    taps = {f"tap{number}": place.tap(f"vm{os.getpid()}.{number}") for number, place in enumerate(places)}
    words = [word.format(**taps) if "{tap" in word else word for word in words]
    with suppress(FileNotFoundError):
        (folder / "qmp").unlink()
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *words, "-qmp", "unix:qmp,server=on,wait=off"], cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr,
        stderr=sys.stderr, pass_fds=list(taps.values()),
    )  # fmt: skip
    for tap in taps.values():
        os.close(tap)
    # The monitor's socket is there before the machine is: only an answer says that it could be made.
    if not wait_for(lambda: child.poll() is not None or _answers(folder), 20) or child.poll() is not None:
        raise VmError("QEMU ended")
    run = {"pid": child.pid, "started": _started(child.pid), "at": time.time()}
    (folder / "run.new").write_text(json.dumps(run))
    (folder / "run.new").replace(folder / RUN)
    sys.stdout.write("started\n")
    sys.stdout.flush()
    os.close(1)
    child.wait()
    with suppress(FileNotFoundError):
        if json.loads((folder / RUN).read_text()) == run:  # else the next one has been started
            (folder / RUN).unlink()


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    watch(Path(sys.argv[1]), given["words"], given["networks"])
