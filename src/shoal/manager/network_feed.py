"""The leader tells Shoal nodes who is where on the networks that they take part in, and knows who has heard it.

A node needs a network when it has an address of its own there (the allocator gives it one before it runs a task of
that network; of the ingress network every node has one). Nodes get one push at a time and acknowledge it once it is
applied, so a slow node gets fewer, newer pushes and holds up nobody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from shoal.kit.tasks import Bell, background
from shoal.manager.dispatcher.sessions import Session
from shoal.manager.network_state import snapshot, touched
from shoal.model.objects import Network, Node, Task
from shoal.store.view import Changed, View
from shoal.wire.pb import shoal_pb2


class _Subscriber:
    """A node that listens: what it was sent of each network and what it has applied, as touch numbers."""

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.sent: dict[str, int] = {}
        self.applied: dict[str, int] = {}
        self.sequence = 0
        self.acknowledged = 0


class NetworkFeed:
    """Derives network states from `view` as it changes, and pushes them. One per leadership.

    `settled` is called whenever a node has applied something.
    """

    def __init__(self, view: View, settled: Callable[[], None]) -> None:
        self._view = view
        self._settled = settled
        self._members: defaultdict[str, set[str]] = defaultdict(set)
        self._touches: dict[str, int] = {}
        self._touch = 0
        self._encoded: dict[str, tuple[int, msgspec.Raw]] = {}
        self._subscribers: dict[str, _Subscriber] = {}
        for task in view.all(Task):
            self._index(task)

    def _index(self, task: Task) -> None:
        for attachment in task.networks_attachments:
            self._members[attachment.network_id].add(task.id)

    def observe(self, changes: Sequence[Changed]) -> None:
        """The store changed. Cheap: networks are marked, and derived when they are sent."""
        wake: set[str] = set()
        for change in changes:
            if isinstance(change.new, Task):
                self._index(change.new)
            elif isinstance(change.old, Task):
                for attachment in change.old.networks_attachments:
                    self._members[attachment.network_id].discard(change.old.id)
            if isinstance(change.thing, Node):
                wake.add(change.thing.id)
        networks = touched(self._view, changes)
        if networks:
            self._touch += 1
            self._touches.update(dict.fromkeys(networks, self._touch))
        for node_id, subscriber in self._subscribers.items():
            if node_id in wake or networks & subscriber.sent.keys():
                subscriber.bell.ring()

    def has_settled(self, task: Task) -> bool:
        """Whether every listening node has applied the newest state of the task's networks."""
        return all(
            subscriber.applied.get(network_id, 0) >= self._touches.get(network_id, 0)
            for network_id in (held.network_id for held in task.networks_attachments)
            for subscriber in self._subscribers.values()
            if network_id in subscriber.sent
        )

    def needed(self, node_id: str) -> list[str]:
        """The networks that a node takes part in, by id."""
        node = self._view.get(Node, node_id)
        held = {held.network_id for held in node.attachments} if node else set()
        return sorted(id for id in held if self._view.get(Network, id) is not None)

    async def serve(self, session: Session, stream: Any) -> None:
        """Feed one node over its stream until either end closes it. Raises why the session ended."""
        subscriber = _Subscriber(session.open("networks"))
        self._subscribers[session.node_id] = subscriber
        try:
            async with background(self._listen(subscriber, stream)):
                while True:
                    session.check("networks", subscriber.bell)
                    if subscriber.acknowledged < subscriber.sequence or not await self._push(
                        session.node_id, subscriber, stream
                    ):
                        await subscriber.bell.wait()
        finally:
            if self._subscribers.get(session.node_id) is subscriber:
                del self._subscribers[session.node_id]
            self._settled()

    async def _listen(self, subscriber: _Subscriber, stream: Any) -> None:
        async for ack in stream:
            if ack.sequence == subscriber.sequence > subscriber.acknowledged:
                subscriber.acknowledged = ack.sequence
                subscriber.applied = dict(subscriber.sent)
                subscriber.bell.ring()
                self._settled()

    async def _push(self, node_id: str, subscriber: _Subscriber, stream: Any) -> bool:
        """Send what the node does not have yet; False when there is nothing."""
        needed = self.needed(node_id)
        fresh = [id for id in needed if subscriber.sent.get(id, -1) < self._touches.get(id, 0)]
        removed = sorted(subscriber.sent.keys() - set(needed))
        first = subscriber.sequence == 0
        if not (first or fresh or removed):
            return False
        update = {
            "Revision": self._view.revision,
            "Complete": first,
            "Snapshots": [self._encode(id) for id in fresh],
            "Removed": removed,
            "DataPathPort": self._view.cluster.data_path_port if self._view.cluster else 4789,
        }
        subscriber.sent = {id: self._touches.get(id, 0) for id in needed}
        subscriber.sequence += 1
        await stream.send_message(
            shoal_pb2.NetworkPush(sequence=subscriber.sequence, update=msgspec.json.encode(update))
        )
        return True

    def _encode(self, network_id: str) -> msgspec.Raw:
        """The snapshot of a network as JSON, made once for all nodes."""
        touch = self._touches.get(network_id, 0)
        known = self._encoded.get(network_id)
        if known is not None and known[0] == touch:
            return known[1]
        network = self._view.get(Network, network_id)
        assert network is not None
        tasks = [self._view.get(Task, id) for id in self._members[network_id]]
        found = snapshot(self._view, network, [task for task in tasks if task is not None])
        raw = msgspec.Raw(msgspec.json.encode(found))
        self._encoded[network_id] = (touch, raw)
        return raw
