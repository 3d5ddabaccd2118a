"""Every failure a user can be told about: one small hierarchy with docker's wording.

Each class carries the HTTP status that the API answers and the gRPC code that SwarmKit uses for the same thing
(docker's daemon/server/httpstatus maps them so). They are mapped once, at the edge: `api` renders
`{"message": ...}`, the gRPC server renders the code.
"""

from __future__ import annotations


class ShoalError(Exception):
    """A failure with a message for the user. `status` is HTTP's, `code` is the gRPC code's name."""

    status = 500
    code = "Unknown"

    @property
    def message(self) -> str:
        """The sentence that the user reads."""
        return str(self)


class InvalidArgument(ShoalError):
    """What was asked makes no sense: 400."""

    status = 400
    code = "InvalidArgument"


class FailedPrecondition(ShoalError):
    """It makes sense, but not in the present state: 400, as docker does."""

    status = 400
    code = "FailedPrecondition"


class Unauthenticated(ShoalError):
    """No or wrong credentials: 401."""

    status = 401
    code = "Unauthenticated"


class PermissionDenied(ShoalError):
    """Known, and not allowed: 403."""

    status = 403
    code = "PermissionDenied"


class NotFound(ShoalError):
    """No such thing: 404."""

    status = 404
    code = "NotFound"


class Conflict(ShoalError):
    """The name is taken, or the thing is in use: 409."""

    status = 409
    code = "AlreadyExists"


class NotModified(ShoalError):
    """Already so: 304, without a body."""

    status = 304
    code = "OK"


class Unimplemented(ShoalError):
    """Not offered: 501."""

    status = 501
    code = "Unimplemented"


class Unavailable(ShoalError):
    """Not now, or not here: 503."""

    status = 503
    code = "Unavailable"


class OutOfSequence(ShoalError):
    """Somebody else changed the object first (semantics of every versioned update): 500, as docker answers."""

    def __init__(self) -> None:
        super().__init__("rpc error: code = Unknown desc = update out of sequence")


NOT_IN_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)
NOT_A_MANAGER = (
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this "
    "command on a manager node or promote the current node to a manager."
)
MANAGER_NOT_READY = (
    "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster."
)
ALREADY_IN_SWARM = (
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.'
)
NOT_PART_OF_SWARM = "This node is not part of a swarm"
NO_LEADER = (
    "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of "
    "the managers are online."
)
JOIN_TIMEOUT = (
    "Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "
    '"docker info" command to see the current swarm status of your node.'
)


def rpc(error: ShoalError) -> ShoalError:
    """The same error with the prefix that docker shows for failures that crossed its internal gRPC."""
    return type(error)(f"rpc error: code = {error.code} desc = {error.message}")
