"""Whether KVM works, and QEMU's monitor."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.machine.driver import State
from shoal.machine.errors import MachineError
from shoal.machine.qemu import accel
from shoal.machine.qemu.life import STATES
from shoal.machine.qemu.qmp import Lines, Monitor, MonitorError

# --- KVM ---


@pytest.mark.parametrize(
    ("wanted", "trouble", "expected"),
    [
        ("auto", "", accel.Choice("kvm")),
        ("auto", "broken", accel.Choice("tcg", "broken")),
        ("kvm", "", accel.Choice("kvm")),
        ("tcg", "", accel.Choice("tcg")),
        ("tcg", "broken", accel.Choice("tcg")),
    ],
)
def test_kvm_is_used_where_it_works(wanted: str, trouble: str, expected: accel.Choice) -> None:
    """`auto` falls back and knows why; `tcg` does not even try."""
    assert accel.choose(wanted, lambda: trouble) == expected


def test_kvm_demanded_in_vain_is_an_error() -> None:
    """`--qemu-accel kvm` where it does not work is refused with the reason."""
    with pytest.raises(MachineError, match="KVM cannot be used: broken"):
        accel.choose("kvm", lambda: "broken")


def test_a_trial_is_remembered_until_something_changes(tmp_path: Path) -> None:
    """The same question is answered from the file; another kernel, QEMU or boot is tried anew; damage is no answer."""
    answers = iter(["broken", "", "torn"])
    path = tmp_path / "cache" / "kvm.json"
    ask = lambda key: accel.remembered(path, key, lambda: next(answers))  # noqa: E731
    assert [ask([1, "a"]), ask([1, "a"]), ask([2, "a"]), ask([2, "a"])] == ["broken", "broken", "", ""]
    path.write_text("{")
    assert ask([2, "a"]) == "torn"


def test_a_trial_without_an_end_is_not_remembered(tmp_path: Path) -> None:
    """On a busy computer nothing may come in time: that is believed for this once, and tried anew."""
    path, answers = tmp_path / "cache" / "kvm.json", iter([("exec sleep 100", 0.3), ("echo 'Kernel panic'", 60)])

    def trial() -> str:
        text, limit = next(answers)
        binary = program(tmp_path, text)
        return accel.remembered(path, 1, lambda: accel.trial_trouble(binary, tmp_path, "kvm", timeout=limit))

    assert accel.choose("auto", trial) == accel.Choice("tcg", "a trial machine did nothing within 0 s")
    assert accel.choose("auto", trial) == accel.Choice("kvm")
    with pytest.raises(MachineError, match="KVM cannot be used: busy"):
        accel.choose("kvm", lambda: _undecided("busy"))


def _undecided(reason: str) -> str:
    raise accel.Undecided(reason)


def program(folder: Path, text: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "trouble", "limit"),
    [
        ("echo 'Kernel panic - not syncing: VFS'", "", 60),
        ("echo 'x: warning: x' >&2; echo 'x: failed to set MSR 0x10a' >&2; exit 134", "failed to set MSR 0x10a", 60),
        ("exit 0", "ended at once", 60),
        ("echo 'Kernel panic'; exec sleep 100", "", 2),
    ],
)
def test_only_a_kernel_that_runs_proves_kvm(tmp_path: Path, text: str, trouble: str, limit: float) -> None:
    """A QEMU that aborts or ends without a word is no working KVM; a kernel's last words prove it."""
    said = accel.trial_trouble(program(tmp_path, text), tmp_path / "kernel", "kvm", timeout=limit)
    assert trouble in said
    assert bool(said) == bool(trouble)


def test_a_kernel_of_which_nothing_comes_proves_nothing(tmp_path: Path) -> None:
    """Firmware alone is no working KVM; but who knows what would have come."""
    binary = program(tmp_path, "echo SeaBIOS; exec sleep 100")
    with pytest.raises(accel.Undecided, match="did nothing within"):
        accel.trial_trouble(binary, tmp_path / "kernel", "kvm", timeout=0.3)


def test_kvm_without_its_device_is_not_tried(tmp_path: Path) -> None:
    """Where there is no device, nothing is started."""
    assert "there is no" in accel.kvm_trouble(program(tmp_path, "touch started"), tmp_path, tmp_path / "kvm")
    assert not (tmp_path / "started").exists()


# --- the monitor ---

GREETING = {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers())), st.integers(1, 30))
def test_objects_are_found_however_the_stream_is_cut(objects: list[dict[str, int]], size: int) -> None:
    """One JSON object a line, whatever the pieces in which lines arrive."""
    stream = b"".join(json.dumps(value).encode() + b"\r\n" for value in objects)
    lines, found = Lines(), []
    for start in range(0, len(stream), size):
        found += lines.feed(stream[start : start + size])
    assert found == objects


@pytest.mark.parametrize("data", [b"hello\n", b"[1]\n", b"\xff\n"])
def test_what_is_no_monitor_is_refused(data: bytes) -> None:
    """Whatever else listens there is told apart from QEMU."""
    with pytest.raises(MonitorError, match="said"):
        list(Lines().feed(data))


@contextmanager
def qemu(path: Path, *answers: object, greeting: object = GREETING) -> Iterator[list[Any]]:
    """A monitor that says `answers`, one after each command; what it was asked."""
    asked: list[Any] = []
    old = os.getcwd()
    os.chdir(path.parent)
    try:
        server = socket.socket(socket.AF_UNIX)
        server.bind(path.name)
    finally:
        os.chdir(old)
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as stream:
            for answer in (greeting, {"return": {}}, *answers):
                if answer is not greeting:
                    if not (line := stream.readline()):
                        return
                    asked.append(json.loads(line))
                for message in answer if isinstance(answer, list) else [answer]:
                    stream.write(json.dumps(message).encode() + b"\r\n")
                stream.flush()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        thread.join(5)
        server.close()


def test_commands_are_answered_between_events(tmp_path: Path) -> None:
    """After the greeting capabilities are settled; events before an answer are passed over; arguments are sent."""
    event = {"event": "STOP", "timestamp": {}}
    answer = [event, event, {"return": {"status": "paused"}}]
    with qemu(tmp_path / "qmp", answer) as asked, Monitor(tmp_path / "qmp") as monitor:
        assert monitor.execute("query-status", detail=1) == {"status": "paused"}
    assert asked == [{"execute": "qmp_capabilities"}, {"execute": "query-status", "arguments": {"detail": 1}}]


def test_a_refusal_is_told_in_qemus_words(tmp_path: Path) -> None:
    """An error's description is the message."""
    answer = {"error": {"class": "GenericError", "desc": "no such thing"}}
    with qemu(tmp_path / "qmp", answer), Monitor(tmp_path / "qmp") as monitor, pytest.raises(MonitorError) as said:
        monitor.execute("x")
    assert "no such thing" in str(said.value)


def test_a_monitor_that_hangs_up_is_no_crash(tmp_path: Path) -> None:
    """QEMU ends in the middle of an answer to `quit`."""
    with qemu(tmp_path / "qmp"), Monitor(tmp_path / "qmp") as monitor, pytest.raises(MonitorError):
        monitor.execute("quit")


def test_who_does_not_greet_is_no_qemu(tmp_path: Path) -> None:
    """The greeting tells QEMU from others."""
    asking = pytest.raises(MonitorError, match="greet")
    with qemu(tmp_path / "qmp", greeting={"hello": 1}), asking, Monitor(tmp_path / "qmp"):
        pass


def test_a_monitor_that_is_silent_or_absent_is_said_so(tmp_path: Path) -> None:
    """A stuck QEMU costs its time limit and no more; a missing socket costs nothing."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with pytest.raises(MonitorError, match="no answer"), Monitor(tmp_path / "s", timeout=0.1):
            pass
    with pytest.raises(MonitorError, match="no such file"), Monitor(tmp_path / "nowhere"):
        pass


def test_sockets_are_found_however_long_their_path(tmp_path: Path) -> None:
    """A store may lie deeper than a socket's address is long."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with qemu(deep / "qmp", {"return": 7}), Monitor(deep / "qmp") as monitor:
        assert monitor.execute("x") == 7


def test_states_are_docker_machines() -> None:
    """QEMU's words become the words that `ls` prints."""
    assert (STATES["running"], STATES["paused"], STATES["shutdown"]) == (State.RUNNING, State.PAUSED, State.STOPPING)
    assert "io-error" not in STATES
