"""Tasks: list, inspect, logs."""

from __future__ import annotations

from aiohttp import web

from shoal.api import present
from shoal.api.call import Call, answer
from shoal.api.routing import Route
from shoal.api.swarm_logs import service_logs
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.model.filters import Filters, match_labels, match_prefix, truth
from shoal.model.names import task_name
from shoal.model.objects import Task
from shoal.model.service_logs import LogSelector
from shoal.model.states import TaskState

_ALLOWED = ("_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service")


async def list_tasks(call: Call) -> web.Response:
    """GET /tasks. `node` and `service` may be names; `label` means the service's labels."""
    asked = dict(call.filters(_ALLOWED))
    control = call.context.control
    states = [_state(word) for word in asked.get("desired-state", [])]
    for key, find in (("service", control.get_service), ("node", control.get_node)):
        if key in asked:
            asked[key] = [_id_or_itself(find, value) for value in asked[key]]
    rows = [task for task in control.list_tasks() if _wanted(task, asked, states)]
    if "_up-to-date" in asked and truth(asked["_up-to-date"][0]):
        rows = [task for task in rows if control.is_up_to_date(task)]
    network_of = present.networks_in_tasks(control.network_of)
    return answer([present.task(row, network_of) for row in rows])


def _state(word: str) -> TaskState:
    try:
        return TaskState.parse(word)
    except ValueError:
        raise InvalidArgument(f"invalid filter 'desired-state={word}'") from None


def _id_or_itself(find: object, value: str) -> str:
    assert callable(find)
    try:
        found: str = find(value).id
    except ShoalError:
        return value
    return found


def _wanted(task: Task, asked: Filters, states: list[TaskState]) -> bool:
    return (
        match_prefix(asked, "id", task.id)
        and ("service" not in asked or task.service_id in asked["service"])
        and ("node" not in asked or task.node_id in asked["node"])
        and (not states or task.desired_state in states)
        and ("name" not in asked or any(task_name(task).startswith(name) for name in asked["name"]))
        and match_labels(asked, task.service_labels)
        and ("runtime" not in asked or (task.spec.runtime or "container") in asked["runtime"])
    )


async def inspect(call: Call) -> web.Response:
    """GET /tasks/{id}."""
    control = call.context.control
    return answer(present.task(control.get_task(call.params["id"]), present.networks_in_tasks(control.network_of)))


async def logs(call: Call) -> web.StreamResponse:
    """GET /tasks/{id}/logs."""
    task = call.context.control.get_task(call.params["id"])
    container = task.spec.container_spec
    return await service_logs(call, LogSelector(task_ids=[task.id]), tty=bool(container and container.tty))


ROUTES = [
    Route("GET", "/tasks", list_tasks),
    Route("GET", "/tasks/{id}", inspect),
    Route("GET", "/tasks/{id}/logs", logs),
]
