"""Who is connected: one session per node; a newer one ends the older."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.kit.tasks import Bell
from shoal.model.errors import InvalidArgument, ShoalError, Unavailable


class Session:
    """An agent's session with its streams, one of each kind; a newer stream of a kind ends the older.

    Whoever serves a stream waits for its bell and then lets `check` say whether to go on.
    """

    def __init__(self, id: str, node_id: str, is_shoal: bool) -> None:
        self.id = id
        self.node_id = node_id
        self.is_shoal = is_shoal
        self.dirty: set[str] = set()
        """Tasks that changed since the assignments' stream last looked."""
        self._ended: ShoalError | None = None
        self._streams: dict[str, Bell] = {}

    def open(self, kind: str) -> Bell:
        """Begin a stream of this kind; returns its bell."""
        bell = Bell()
        older = self._streams.get(kind)
        self._streams[kind] = bell
        if older is not None:
            older.ring()
        return bell

    def ring(self, kind: str) -> None:
        """Something changed for the stream of this kind, if there is one."""
        if (bell := self._streams.get(kind)) is not None:
            bell.ring()

    def end(self, reason: ShoalError) -> None:
        """Close the session; its streams end with `reason`."""
        self._ended = self._ended or reason
        for bell in self._streams.values():
            bell.ring()

    def check(self, kind: str, bell: Bell) -> None:
        """Raise the reason when the session has ended, Unavailable when a newer stream took this one's place."""
        if self._ended is not None:
            raise self._ended
        if self._streams.get(kind) is not bell:
            raise Unavailable("a newer stream of the session took over")


class Sessions:
    """The open sessions by node."""

    def __init__(self) -> None:
        self._by_node: dict[str, Session] = {}

    def open(self, session: Session) -> None:
        """Add a session; the one that the node had ends."""
        self.close(session.node_id, Unavailable("the node has a newer session"))
        self._by_node[session.node_id] = session

    def close(self, node_id: str, reason: ShoalError) -> None:
        """End the session of a node, if it has one."""
        session = self._by_node.pop(node_id, None)
        if session is not None:
            session.end(reason)

    def close_all(self, reason: ShoalError) -> None:
        """End every session."""
        for node_id in list(self._by_node):
            self.close(node_id, reason)

    def find(self, node_id: str) -> Session | None:
        """The session of a node."""
        return self._by_node.get(node_id)

    def require(self, node_id: str, session_id: str) -> Session:
        """The session with this id. Raises InvalidArgument, at which an agent begins a new one."""
        session = self._by_node.get(node_id)
        if session is None or session.id != session_id:
            raise InvalidArgument("session invalid")
        return session

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_node.values()))
