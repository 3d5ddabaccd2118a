"""What every group of operations on containers starts from: the shared parts, and finding a container."""

from __future__ import annotations

from shoal.engine.context import Context
from shoal.engine.records import Entry
from shoal.model.errors import Conflict


class ContainerAccess:
    """Finds containers by what people type. Raises NotFound `No such container: x`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def _find(self, wanted: str) -> Entry:
        return self._context.records.find(wanted)

    def _check_running(self, entry: Entry) -> None:
        if not self._context.running(entry):
            raise Conflict(f"container {entry.id} is not running")
