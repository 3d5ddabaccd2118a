"""What a node is told to do: the tasks assigned to it, first all of them, then what changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from shoal.model.objects import Network, Task
from shoal.model.states import TaskState
from shoal.store.view import View
from shoal.wire.convert_task import task_to_wire
from shoal.wire.pb import swarmkit_pb2 as pb

Hold = Callable[[Task], bool]
"""Whether a task's order to stop must wait, because other nodes still send it traffic."""


def assigned(task: Task, node_id: str) -> bool:
    """Whether the node is to know of the task."""
    return task.node_id == node_id and task.status.state >= TaskState.ASSIGNED


def essence(task: Task) -> tuple[Any, ...]:
    """What of a task concerns its agent and may change; its status, which the agent itself reports, does not."""
    return (task.desired_state, task.networks_attachments, task.endpoint, task.generic_resources, task.spec)


class Assignments:
    """One agent's stream: what it was told, and the messages that bring it up to date.

    `update` looks only at tasks that were marked by `touch`. A task that is to stop while `hold` says so stays marked
    and is left out.
    """

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self._told: dict[str, tuple[Any, ...]] = {}
        self._dirty: set[str] = set()
        self._sequence = 0

    def touch(self, task_ids: Iterable[str]) -> None:
        """These tasks may have changed."""
        self._dirty.update(task_ids)

    def complete(self, view: View) -> pb.AssignmentsMessage:
        """Everything: the first message of a stream."""
        self._dirty.clear()
        tasks = [task for task in view.tasks_of_node(self.node_id) if assigned(task, self.node_id)]
        self._told = {task.id: essence(task) for task in tasks}
        return self._message("COMPLETE", [self._change(view, task) for task in tasks])

    def update(self, view: View, hold: Hold) -> tuple[pb.AssignmentsMessage | None, set[str]]:
        """What changed since the last message, if anything; and the tasks whose order to stop is held."""
        changes: list[pb.AssignmentChange] = []
        held: set[str] = set()
        for task_id in sorted(self._dirty):
            task = view.get(Task, task_id)
            if task is None or not assigned(task, self.node_id):
                if self._told.pop(task_id, None) is not None:
                    gone = pb.Task(id=task_id)
                    changes.append(pb.AssignmentChange(assignment=pb.Assignment(task=gone), action="REMOVE"))
                continue
            if self._told.get(task_id) == essence(task):
                continue
            if self._is_order_to_stop(task) and hold(task):
                held.add(task_id)
                continue
            self._told[task_id] = essence(task)
            changes.append(self._change(view, task))
        self._dirty = set(held)
        return (self._message("INCREMENTAL", changes) if changes else None), held

    def _is_order_to_stop(self, task: Task) -> bool:
        told = self._told.get(task.id)
        return (
            told is not None
            and told[0] < TaskState.SHUTDOWN <= task.desired_state
            and task.status.state == TaskState.RUNNING
            and bool(task.networks_attachments)
        )

    def _change(self, view: View, task: Task) -> pb.AssignmentChange:
        wire = task_to_wire(task, lambda id: view.get(Network, id))
        return pb.AssignmentChange(assignment=pb.Assignment(task=wire), action="UPDATE")

    def _message(self, kind: str, changes: list[pb.AssignmentChange]) -> pb.AssignmentsMessage:
        before = str(self._sequence) if self._sequence else ""
        self._sequence += 1
        return pb.AssignmentsMessage(type=kind, applies_to=before, results_in=str(self._sequence), changes=changes)
