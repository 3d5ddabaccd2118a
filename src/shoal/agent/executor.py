"""What a runner needs to have done for a task. `containers` does it with the engine; tests have a fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from shoal.model.objects import ContainerStatus, Network, NodeDescription, PortStatus, Task
from shoal.model.service_logs import LogRequest, ServiceLogLine


class TemporaryError(Exception):
    """It did not work now, but may later: the runner tries again, the task's state stays."""


@dataclass(frozen=True)
class Exit:
    """How a container ended: its exit code, and the cause when it did not end by itself."""

    code: int
    cause: str = ""


class Controller(Protocol):
    """One task's container. Every method may be called again after it was cut short, also by another process."""

    async def prepare(self) -> None:
        """Networks, image, container: everything short of starting. Raises ShoalError when it can never work."""
        ...

    async def start(self) -> None:
        """Start the container and return once it is up: healthy, if it has a health check."""
        ...

    async def wait(self) -> Exit:
        """Wait until the container has ended, however."""
        ...

    async def shutdown(self) -> None:
        """Stop the container, with its grace period. Nothing to stop is fine."""
        ...

    async def remove(self) -> None:
        """Remove the container. Nothing to remove is fine."""
        ...

    async def container(self) -> ContainerStatus | None:
        """The container's id, process and exit code, None when there is none."""
        ...

    async def ports(self) -> PortStatus | None:
        """The host ports that were really bound, None without any."""
        ...


class Executor(Protocol):
    """A machine that runs tasks."""

    def describe(self) -> NodeDescription:
        """What this machine is and has."""
        ...

    def controller(self, task: Task, networks: Sequence[Network]) -> Controller:
        """For one task; `networks` came with it. Raises ShoalError when this machine can never run it."""
        ...

    def logs(self, task: Task, request: LogRequest) -> AsyncIterator[ServiceLogLine]:
        """The lines of a task's container. Raises ShoalError when there are none to be had."""
        ...

    async def remove_all(self) -> None:
        """Remove every container that any swarm has left here; one that cannot be removed is logged."""
        ...
