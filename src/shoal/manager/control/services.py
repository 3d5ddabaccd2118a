"""Commands on services and tasks: create, update, roll back, remove, and what people ask about them."""

from __future__ import annotations

from collections.abc import Collection

from msgspec.structs import replace

from shoal.agent.templates import expanded, facts_of
from shoal.kit.ids import Ids
from shoal.manager.allocator.allocate import ingress_of, networks_of, wants_ingress
from shoal.manager.allocator.ports import in_use
from shoal.manager.control.commit import across_the_wire, check_version, commit_newest
from shoal.manager.control.validate import check_service
from shoal.manager.orchestrator.replicated import replicas
from shoal.manager.slots import differs, wanted
from shoal.model import names
from shoal.model.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unimplemented
from shoal.model.objects import Network, Node, NodeDescription, Service, ServiceStatus, Task, UpdateStatus
from shoal.model.states import TaskState
from shoal.model.swarm_spec import EndpointSpec, PortConfig, ServiceMode, ServiceSpec
from shoal.store.base import Delete, Put, Store, Write
from shoal.store.view import View


class Services:
    """Services of the swarm, as users see and change them."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store, self._ids = store, ids

    # --- asking -------------------------------------------------------------------------------------------------------

    def every(self) -> list[Service]:
        """Every service, by id."""
        return self._store.view.all(Service)

    def get(self, wanted: str) -> Service:
        """By id, name, or beginning of an id. Raises NotFound, InvalidArgument when ambiguous."""
        found = self._store.view.get(Service, wanted)
        return found or names.find("service", self.every(), wanted, "spec.name")

    def status(self, service: Service) -> ServiceStatus:
        """How many tasks run and should. Tasks that a silent node ran last do not count."""
        view = self._store.view
        tasks = view.tasks_of_service(service.id)
        running = sum(task.status.state == TaskState.RUNNING and _visible(view, task) for task in tasks)
        if service.spec.mode.global_ is None:
            return ServiceStatus(running_tasks=running, desired_tasks=replicas(service))
        return ServiceStatus(running_tasks=running, desired_tasks=sum(wanted(task) for task in tasks))

    def tasks(self, service_ids: Collection[str] | None = None) -> list[Task]:
        """Every task, or those of some services, by id."""
        view = self._store.view
        if service_ids is None:
            return view.all(Task)
        found = [task for id in set(service_ids) for task in view.tasks_of_service(id)]
        return sorted(found, key=lambda task: task.id)

    def task(self, wanted: str) -> Task:
        """By id or beginning of an id. Raises NotFound, InvalidArgument when ambiguous."""
        return self._store.view.get(Task, wanted) or names.find("task", self.tasks(), wanted)

    def is_up_to_date(self, task: Task) -> bool:
        """Whether a task is what its service asks for now: the question of progress bars."""
        view = self._store.view
        service = view.get(Service, task.service_id)
        return service is not None and not differs(service, task, view.get(Node, task.node_id))

    # --- doing --------------------------------------------------------------------------------------------------------

    async def create(self, spec: ServiceSpec, registry_auth: str) -> Service:
        """A new service. Raises InvalidArgument, NotFound, PermissionDenied, FailedPrecondition, Conflict."""
        id = self._ids.object_id()
        with across_the_wire():
            spec = self._checked(spec)
            _check_ports(self._store.view, id, spec.endpoint_spec)
            await self._store.commit([Put(thing=Service(id=id, spec=spec, registry_auth=registry_auth))])
        return self._stored(id)

    async def update(
        self, wanted: str, version: int, spec: ServiceSpec, *, registry_auth: str, registry_auth_from: str
    ) -> Service:
        """Replace the spec; the old one is kept for a rollback.

        Raises what `create` does, NotFound, Unimplemented for another name or mode, OutOfSequence.
        """
        service_id = self.get(wanted).id

        def decide() -> list[Write]:
            service, checked = self.get(service_id), self._checked(spec)
            if checked.endpoint_spec != service.spec.endpoint_spec:
                _check_ports(self._store.view, service_id, checked.endpoint_spec)
            check_version(service, version)
            if checked.name != service.spec.name:
                raise Unimplemented("renaming services is not supported")
            if _kind(checked.mode) != _kind(service.spec.mode):
                raise Unimplemented("service mode change is not allowed")
            updated = replace(
                service,
                spec=checked,
                spec_version=service.version.index,
                registry_auth=registry_auth or _auth_from(service, registry_auth_from),
                previous_spec=service.spec,
                previous_spec_version=service.spec_version,
                previous_registry_auth=service.registry_auth,
                update_status=None,
            )
            return [Put(thing=updated)]

        with across_the_wire():
            await commit_newest(self._store, decide)
        return self._stored(service_id)

    async def roll_back(self, wanted: str, version: int) -> Service:
        """Swap the spec with the one before. Raises FailedPrecondition when there is none, OutOfSequence."""
        service_id = self.get(wanted).id

        def decide() -> list[Write]:
            service = self.get(service_id)
            check_version(service, version)
            if service.previous_spec is None:
                raise FailedPrecondition(f"service {service_id} does not have a previous spec")
            _check_ports(self._store.view, service_id, service.previous_spec.endpoint_spec)
            status = UpdateStatus(state="rollback_started", message="manually requested rollback")
            swapped = replace(
                service,
                spec=service.previous_spec,
                spec_version=service.previous_spec_version,
                registry_auth=service.previous_registry_auth,
                previous_spec=service.spec,
                previous_spec_version=service.spec_version,
                previous_registry_auth=service.registry_auth,
                update_status=status,
            )
            return [Put(thing=swapped)]

        with across_the_wire():
            await commit_newest(self._store, decide)
        return self._stored(service_id)

    async def remove(self, wanted: str) -> None:
        """Remove a service; its tasks follow. Raises NotFound."""
        service = self.get(wanted)

        def decide() -> list[Write]:
            newest = self._store.view.get(Service, service.id)
            return [Delete(thing=newest)] if newest is not None else []

        with across_the_wire():
            await commit_newest(self._store, decide)

    def _stored(self, id: str) -> Service:
        """What was just written; by now somebody may have removed it."""
        return self.get(id)

    def _checked(self, spec: ServiceSpec) -> ServiceSpec:
        """`spec` with its networks by id. Raises whatever is wrong with it."""
        check_service(spec)
        _try_templates(spec)
        if spec.mode.replicated_job is not None or spec.mode.global_job is not None:
            raise Unimplemented("jobs are not supported by this version of Shoal: they come in a later version")
        if wants_ingress(spec.endpoint_spec) and ingress_of(self._store.view.all(Network)) is None:
            raise FailedPrecondition("service needs ingress network, but no ingress network is present")
        targets = [replace(one, target=self._network(one.target).id) for one in networks_of(spec)]
        return replace(spec, task_template=replace(spec.task_template, networks=targets), networks=[])

    def _network(self, wanted: str) -> Network:
        view = self._store.view
        network = view.get(Network, wanted) or names.find("network", view.all(Network), wanted, "spec.name")
        if network.spec.ingress:
            raise InvalidArgument(f'Service cannot be explicitly attached to the ingress network "{network.spec.name}"')
        if network.spec.scope not in ("", "swarm"):
            raise PermissionDenied(
                f"The network {wanted} cannot be used with services. Only networks scoped to the swarm can be used, "
                "such as those created with the overlay driver."
            )
        return network


def _try_templates(spec: ServiceSpec) -> None:
    """Expand the templates of a spec for a task that might be, so that a wrong one is refused now and not on a node."""
    task = Task(
        id="taskid",
        slot=1,
        service_id="serviceid",
        node_id="nodeid",
        service_name=spec.name,
        service_labels=spec.labels,
    )
    if spec.task_template.container_spec is not None:
        expanded(spec.task_template.container_spec, facts_of(task, NodeDescription(hostname="hostname")))


def _visible(view: View, task: Task) -> bool:
    if wanted(task):
        return True
    node = view.get(Node, task.node_id)
    return node is not None and node.status.state != "down"


def _kind(mode: ServiceMode) -> str:
    return "global" if mode.global_ is not None else "replicated"


def _auth_from(service: Service, source: str) -> str:
    """The credentials that an update without any of its own keeps."""
    if source in ("", "spec"):
        return service.registry_auth
    if source != "previous-spec":
        raise InvalidArgument("unsupported registryAuthFrom value")
    if service.previous_spec is None:
        raise FailedPrecondition(f"service {service.id} does not have a previous spec")
    return service.previous_registry_auth


def _check_ports(view: View, service_id: str, spec: EndpointSpec | None) -> None:
    """No port may be published twice through the mesh, nor on a node and through the mesh (as SwarmKit checks)."""
    asked = [port for port in (spec or EndpointSpec()).ports if port.published_port]
    if not asked:
        return
    for service in view.all(Service):
        if service.id == service_id:
            continue
        for theirs in _published(service):
            for mine in asked:
                same = (mine.protocol, mine.published_port) == (theirs.protocol, theirs.published_port)
                if same and "ingress" in (mine.publish_mode, theirs.publish_mode):
                    how = "an ingress port" if theirs.publish_mode == "ingress" else "a host-published port"
                    raise InvalidArgument(in_use(mine.published_port, service, how))


def _published(service: Service) -> list[PortConfig]:
    spec = service.spec.endpoint_spec or EndpointSpec()
    return [port for port in [*spec.ports, *service.endpoint.ports] if port.published_port]
