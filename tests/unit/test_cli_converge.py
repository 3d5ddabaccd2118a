"""Waiting for a service: what counts as running, what is drawn, when it ends."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.api.client import Address, Client
from shoal.ui.converge import NotConverged, look, wait
from shoal.ui.progress import Board, ProgressFault, show
from shoal.ui.tables import aligned
from tests.fakedaemon import fake_daemon
from tests.samples import NODES, ROUTES, WEB, task


def service(replicas: int | None) -> dict[str, Any]:
    found = copy.deepcopy(WEB)
    found["Spec"]["Mode"] = {"Global": {}} if replicas is None else {"Replicated": {"Replicas": replicas}}
    found["UpdateStatus"] = None
    return found


ALIVE = [{**NODES[0]}, {**NODES[1], "Status": {"State": "ready"}}]


def test_cli_converge_counts_slots() -> None:
    """A replicated service counts running tasks by slot; a slot without a task is waited for."""
    tasks = [task(1, 1, 0, "running", "running"), task(2, 3, 1, "preparing", "running")]
    seen = look(service(3), tasks, ALIVE)
    assert (seen.running, seen.total, list(seen.rows)) == (1, 3, ["1/3", "2/3", "3/3"])
    assert not seen.done


def test_cli_converge_newest_task_of_a_slot_counts() -> None:
    """Of two tasks in a slot the newer one counts."""
    tasks = [task(2, 1, 0, "starting", "running"), task(1, 1, 0, "running", "running")]
    assert look(service(1), tasks, ALIVE).running == 0


def test_cli_converge_ignores_lost_nodes() -> None:
    """A task on a node that is down does not count, whatever it last said."""
    assert look(service(1), [task(1, 1, 1, "running", "running")], NODES).running == 0


def test_cli_converge_global() -> None:
    """A global service counts a task for each node that has one."""
    tasks = [task(1, 0, 0, "running", "running"), task(2, 0, 1, "running", "running")]
    assert look(service(None), tasks, ALIVE).done
    assert not look(service(None), [], ALIVE).done


def test_cli_converge_zero_replicas() -> None:
    """A service of no replicas has converged as it is."""
    assert look(service(0), [], ALIVE).done


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(tmp_path: Path, replicas: int, states: list[list[str]], **more: Any) -> tuple[str, float]:
    """What `wait` draws, and how long it took, while the tasks go through `states` (one list per look)."""
    looks = iter(states)
    last: list[list[str]] = [[]]

    def tasks(_: object) -> Any:
        last[0] = next(looks, last[0])
        return [task(n, n, 0, state, "running") for n, state in enumerate(last[0], 1)]

    found = service(replicas) | more
    found["Spec"]["UpdateConfig"]["Monitor"] = 2 * 10**9
    out, time = io.StringIO(), Time()
    routes = {**ROUTES, "GET /tasks": tasks, "GET /services/.*": found}
    with fake_daemon(tmp_path / "s", routes) as fake:
        client = Client(Address(fake.url))
        wait(client, "id", "web", Board(out, terminal=False), clock=time.clock, sleep=time.sleep)
    return out.getvalue(), time.now


def test_cli_converge_waits_for_stability(tmp_path: Path) -> None:
    """Converged is running for the update's monitor time; in a pipe each line is printed once."""
    text, took = waited(tmp_path, 2, [["new"], ["starting"], ["running"], ["running", "running"]])
    assert text.splitlines() == [
        "overall progress: 0 out of 2 tasks",
        "overall progress: 1 out of 2 tasks",
        "overall progress: 2 out of 2 tasks",
        "verify: Waiting 2 seconds to verify that tasks are stable...",
        "verify: Waiting 1 seconds to verify that tasks are stable...",
        "verify: Service web converged",
    ]
    assert 2.4 <= took <= 3.1


def test_cli_converge_starts_over_after_a_failure(tmp_path: Path) -> None:
    """A task that fails while stability is verified starts the waiting over."""
    steady = [["running"]] * 5
    _, took = waited(tmp_path, 1, [*steady, ["failed"], ["running"]])
    assert took >= 3.0


def test_cli_converge_pause(tmp_path: Path) -> None:
    """A paused update ends the wait with its reason."""
    with pytest.raises(NotConverged, match="service update paused: because"):
        waited(tmp_path, 1, [["running"]], UpdateStatus={"State": "paused", "Message": "because"})


def test_cli_board_redraws_on_a_terminal() -> None:
    """On a terminal a line is replaced where it stands."""
    out = io.StringIO()
    board = Board(out, terminal=True)
    board.set("a", "1")
    board.set("b", "1")
    board.set("a", "2")
    assert out.getvalue() == "a: 1\nb: 1\n\x1b[2A\x1b[2K\ra: 2\x1b[2B\r"


def test_cli_progress_in_a_pipe() -> None:
    """In a pipe states are printed, bars are not; what `aux` carries is returned."""
    out = io.StringIO()
    carried = show(
        [
            {"status": "Pulling from x", "id": "latest"},
            {"status": "Downloading", "id": "abc", "progressDetail": {"current": 1, "total": 10}},
            {"status": "Pull complete", "id": "abc", "progressDetail": {}},
            {"stream": "Loaded\n"},
            {"aux": {"Digest": "sha256:1"}},
            {"status": "Status: done"},
        ],
        out,
        terminal=False,
    )
    assert out.getvalue() == "latest: Pulling from x\nabc: Pull complete\nLoaded\nStatus: done\n"
    assert carried == [{"Digest": "sha256:1"}]
    with pytest.raises(ProgressFault, match="denied"):
        show([{"error": "denied"}], out, terminal=False)


CELL = st.text(alphabet="ab \u00e9", max_size=12)


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_cli_tables_line_up(rows: list[list[str]]) -> None:
    """Every cell of a column begins in the same place, three blanks after the widest before it, ten at least."""
    lines = aligned(["\t".join(row) for row in rows]).split("\n")[:-1]
    start = 0
    for column in range(len(rows[0])):
        for line, row in zip(lines, rows, strict=True):
            assert line[start:].startswith(row[column])
        start += max(10, *(len(row[column]) + 3 for row in rows))
