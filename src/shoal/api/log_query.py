"""What a request for logs asks for; the same parameters for containers, services and tasks."""

from __future__ import annotations

from shoal.api.call import Call
from shoal.model.errors import InvalidArgument
from shoal.model.service_logs import LogRequest


def log_request(call: Call) -> LogRequest:
    """The query of a request for logs. Raises InvalidArgument when it wants neither stream."""
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    return LogRequest(
        follow=call.flag("follow"),
        tail=tail_of(call.query("tail")),
        since=call.moment("since"),
        stdout=stdout,
        stderr=stderr,
    )


def tail_of(text: str) -> int | None:
    """How many lines: None for `all`, nothing, or anything that is no number of lines that can be, as in docker."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if 0 <= number < 2**31 else None
