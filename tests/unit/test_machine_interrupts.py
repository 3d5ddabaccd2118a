"""Ctrl-C while several machines are worked on: what is taken back is taken back whole, and nobody is deaf to it."""

from __future__ import annotations

import io
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shoal.cli.machine_several import Lines, _Crew, run
from shoal.machine import actions, files
from shoal.machine.driver import Prepare, register
from shoal.machine.errors import MachineError
from shoal.machine.files import locked
from shoal.machine.interrupts import interrupt, undisturbed
from shoal.machine.record import EngineOptions
from shoal.machine.store import Store
from tests.machine_fake import FakeDriver


class Scene:
    """Ctrl-C comes while somebody is `inside`; he goes on once it was `passed_on` to all threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside, self.passed_on = threading.Event(), threading.Event()
        wait, came = _Crew.wait, threading.Event()

        def waiting(crew: _Crew) -> None:
            if not came.is_set():
                came.set()
                assert self.inside.wait(10)
                raise KeyboardInterrupt
            self.passed_on.set()
            wait(crew)

        monkeypatch.setattr(_Crew, "wait", waiting)

    def ctrl_c(self) -> None:
        """Here it comes."""
        self.inside.set()
        assert self.passed_on.wait(10)

    def play(self, act: Any) -> None:
        """Do it to one machine by a thread."""
        with pytest.raises(KeyboardInterrupt):
            run(["m1"], act, Lines(["m1"], io.StringIO(), terminal=False))


def test_a_roll_back_is_not_cut_in_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a thread takes back a machine that could not be made: it is taken back to the end."""
    scene = Scene(monkeypatch)

    class Fails(FakeDriver):
        def create(self, prepare: Prepare) -> None:
            raise MachineError("create fails")

        def remove(self) -> None:
            scene.ctrl_c()
            (self.context.directory / "removed").touch()

    register("fails", Fails)
    store, said, faults = Store(tmp_path), list[str](), list[str]()
    request = actions.Request("m1", "fails", EngineOptions(), {})

    def create(name: str, say: Any) -> None:
        try:
            actions.create(store, request, said.append, datetime.now(UTC))
        except MachineError as fault:
            faults.append(str(fault))

    scene.play(create)
    assert faults == ["Error creating machine: create fails"]
    assert store.names() == []


def test_an_interruption_reaches_those_who_may_be_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is only working is interrupted, also after a scope in which that was not possible."""
    scene, went_on = Scene(monkeypatch), list[str]()

    def act(name: str, say: Any) -> None:
        with undisturbed(), undisturbed():
            pass
        scene.ctrl_c()
        went_on.append(name)

    scene.play(act)
    assert went_on == []


def test_an_inner_scope_does_not_end_the_outer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scopes can be nested."""
    scene, went_on = Scene(monkeypatch), list[str]()

    def act(name: str, say: Any) -> None:
        with undisturbed():
            with undisturbed():
                pass
            scene.ctrl_c()
            went_on.append(name)

    scene.play(act)
    assert went_on == ["m1"]


def test_who_waits_for_a_lock_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for a lock that another process may hold for long ends when it is interrupted."""
    waits, ended, pause = threading.Event(), list[type[BaseException]](), time.sleep

    def sleep(seconds: float) -> None:
        waits.set()
        pause(seconds)

    def work() -> None:
        try:
            with locked(tmp_path / "lock"):
                pass
        except KeyboardInterrupt as fault:
            ended.append(type(fault))

    monkeypatch.setattr(files.time, "sleep", sleep)
    with locked(tmp_path / "lock"):
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        assert waits.wait(10)
        interrupt(worker.ident or 0)
        worker.join(10)
        assert not worker.is_alive()
    assert ended == [KeyboardInterrupt]


def test_a_free_lock_is_taken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sleeps for a lock that nobody has."""
    monkeypatch.setattr(files.time, "sleep", lambda seconds: pytest.fail("slept"))
    for _ in range(2):
        with locked(tmp_path / "lock"):
            pass
