"""What follows when a node is silent for long: after a day nobody waits for its tasks any more (semantics 14.3).

That its tasks run elsewhere long before is the orchestrators' doing: they replace what is on a node that is down.
"""

from __future__ import annotations

from datetime import timedelta

from shoal.manager.changes import SetStatus
from shoal.manager.draft import Draft
from shoal.model.objects import Node
from shoal.model.states import TaskState

ORPHAN_AFTER = timedelta(hours=24)


def orphan(draft: Draft, node: Node) -> None:
    """Declare the tasks of a node that is down for a day orphaned, which frees what they hold; or wake up then."""
    if node.status.state != "down" or node.down_since is None:
        return
    at = node.down_since + ORPHAN_AFTER
    if at > draft.now:
        draft.wake(at, node.id, "its tasks will be orphaned")
        return
    for task in draft.tasks_of_node(node.id):
        if TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
            message = "task belonged to a node that was down for a day"
            draft.do(SetStatus(task_id=task.id, state=TaskState.ORPHANED, message=message, because=message))
