"""Services: list, create, inspect, update, remove, logs."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from shoal.api import convert, present
from shoal.api.call import Call, answer, nothing
from shoal.api.routing import Route
from shoal.api.swarm_logs import service_logs
from shoal.api.swarm_networks import usable_network_id
from shoal.model.errors import InvalidArgument
from shoal.model.filters import Filters, match_labels, match_prefix
from shoal.model.objects import Service
from shoal.model.service_logs import LogSelector
from shoal.model.swarm_spec import ServiceSpec

_ALLOWED = ("id", "label", "mode", "name", "runtime")
_MODES = {
    "replicated": "replicated",
    "global": "global_",
    "replicated-job": "replicated_job",
    "global-job": "global_job",
}


async def list_services(call: Call) -> web.Response:
    """GET /services; with `status`, each with its counts of tasks."""
    asked = call.filters(_ALLOWED)
    _check(asked)
    control = call.context.control
    rows = [service for service in control.list_services() if _wanted(service, asked)]
    if call.flag("status"):
        rows = [replace(row, service_status=control.service_status(row)) for row in rows]
    return answer([present.service(row) for row in rows])


def _check(asked: Filters) -> None:
    for mode in asked.get("mode", []):
        if mode not in _MODES:
            raise InvalidArgument(f"invalid filter 'mode={mode}'")


def _wanted(service: Service, asked: Filters) -> bool:
    modes = asked.get("mode")
    runtimes = asked.get("runtime", ["container"])
    return (
        match_prefix(asked, "id", service.id)
        and match_prefix(asked, "name", service.spec.name)
        and match_labels(asked, service.spec.labels)
        and (modes is None or any(getattr(service.spec.mode, _MODES[mode]) is not None for mode in modes))
        and (service.spec.task_template.runtime or "container") in runtimes
    )


async def inspect(call: Call) -> web.Response:
    """GET /services/{id}; with `insertDefaults`, what the swarm assumes is filled in."""
    service = call.context.control.get_service(call.params["id"])
    shown = present.service(service)
    if call.flag("insertDefaults"):
        shown["Spec"] = present.with_defaults(service.spec)
    return answer(shown)


async def create(call: Call) -> web.Response:
    """POST /services/create."""
    spec = await _spec(call)
    service = await call.context.control.create_service(
        spec, registry_auth=call.request.headers.get("X-Registry-Auth", "")
    )
    return answer({"ID": service.id, "Warnings": None}, 201)


async def _spec(call: Call) -> ServiceSpec:
    control = call.context.control
    return convert.service_spec(
        await call.body(ServiceSpec),
        call.version,
        call.context.rng,
        lambda name: usable_network_id(call, control, name),
    )


async def update(call: Call) -> web.Response:
    """POST /services/{id}/update: the body is the whole spec; `rollback=previous` takes the previous one instead."""
    control = call.context.control
    service = control.get_service(call.params["id"])
    given = await call.body(ServiceSpec)
    named = given if given.name else replace(given, name=service.spec.name)
    spec = convert.service_spec(
        named, call.version, call.context.rng, lambda name: usable_network_id(call, control, name)
    )
    rollback = call.query("rollback")
    if rollback not in ("", "none", "previous"):
        raise InvalidArgument(f'unrecognized rollback option "{rollback}"')
    await control.update_service(
        service.id,
        call.index(),
        spec,
        registry_auth=call.request.headers.get("X-Registry-Auth", ""),
        registry_auth_from=call.query("registryAuthFrom") or "spec",
        rollback=rollback == "previous",
    )
    return answer({"Warnings": None})


async def remove(call: Call) -> web.Response:
    """DELETE /services/{id}."""
    await call.context.control.remove_service(call.params["id"])
    return nothing(200)


async def logs(call: Call) -> web.StreamResponse:
    """GET /services/{id}/logs."""
    service = call.context.control.get_service(call.params["id"])
    container = service.spec.task_template.container_spec
    return await service_logs(call, LogSelector(service_ids=[service.id]), tty=bool(container and container.tty))


ROUTES = [
    Route("GET", "/services", list_services),
    Route("POST", "/services/create", create),
    Route("GET", "/services/{id}", inspect),
    Route("POST", "/services/{id}/update", update),
    Route("DELETE", "/services/{id}", remove),
    Route("GET", "/services/{id}/logs", logs),
]
