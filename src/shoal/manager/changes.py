"""What a decision consists of: small frozen values, each with the reason in the words a user would use."""

from __future__ import annotations

from datetime import datetime

from shoal.model.base import Struct
from shoal.model.objects import Endpoint, Network, NetworkAttachment, Node, Service, Task
from shoal.model.states import TaskState
from shoal.model.swarm_spec import GenericResource


class CreateTask(Struct, frozen=True):
    """A new task for a slot."""

    task: Task
    because: str


class SetDesired(Struct, frozen=True):
    """Raise what a task should become; lowering it is ignored."""

    task_id: str
    state: TaskState
    because: str


class SetStatus(Struct, frozen=True):
    """Raise, or explain, what a task is; only for tasks that no agent reports on (yet or any more)."""

    task_id: str
    state: TaskState
    message: str
    because: str
    err: str = ""


class Equip(Struct, frozen=True):
    """Give a task its addresses and its service's endpoint: it becomes PENDING."""

    task_id: str
    attachments: list[NetworkAttachment]
    endpoint: Endpoint
    because: str


class Assign(Struct, frozen=True):
    """Give a task its node, and the generic resources that it claims there: it becomes ASSIGNED."""

    task_id: str
    node_id: str
    message: str
    because: str
    claimed: list[GenericResource] = []


class DeleteTask(Struct, frozen=True):
    """Forget a task."""

    task_id: str
    because: str


class Update(Struct, frozen=True):
    """Replace a service, node or network by this form of it."""

    thing: Service | Node | Network
    because: str


class Wake(Struct, frozen=True):
    """Nothing to do now; look at a service again at `at`."""

    at: datetime
    service_id: str
    because: str


Change = CreateTask | SetDesired | SetStatus | Equip | Assign | DeleteTask | Update
