"""Log selectors, requests and lines, wire <-> model."""

from __future__ import annotations

from shoal.kit.clock import EPOCH
from shoal.model.service_logs import LogRequest, LogSelector, ServiceLogLine
from shoal.wire.basics import from_timestamp, to_timestamp
from shoal.wire.pb import swarmkit_pb2 as pb


def selector_to_wire(selector: LogSelector) -> pb.LogSelector:
    """Whose logs."""
    return pb.LogSelector(service_ids=selector.service_ids, node_ids=selector.node_ids, task_ids=selector.task_ids)


def selector_from_wire(selector: pb.LogSelector) -> LogSelector:
    """The counterpart of `selector_to_wire`."""
    return LogSelector(
        service_ids=list(selector.service_ids), node_ids=list(selector.node_ids), task_ids=list(selector.task_ids)
    )


def request_to_wire(request: LogRequest) -> pb.LogSubscriptionOptions:
    """How much of them. The last n lines are -(n + 1) on the wire, everything is 0."""
    return pb.LogSubscriptionOptions(
        streams=[
            stream
            for stream, wanted in (("LOG_STREAM_STDOUT", request.stdout), ("LOG_STREAM_STDERR", request.stderr))
            if wanted
        ],
        follow=request.follow,
        tail=0 if request.tail is None else -request.tail - 1,
        since=to_timestamp(request.since),
    )


def request_from_wire(options: pb.LogSubscriptionOptions) -> LogRequest:
    """The counterpart of `request_to_wire`; no stream named means both, a positive tail is a plain number."""
    streams = set(options.streams)
    tail = options.tail
    return LogRequest(
        follow=options.follow,
        tail=None if tail == 0 else -tail - 1 if tail < 0 else tail,
        since=from_timestamp(options, "since"),
        stdout=not streams or pb.LOG_STREAM_STDOUT in streams,
        stderr=not streams or pb.LOG_STREAM_STDERR in streams,
    )


def line_to_wire(line: ServiceLogLine) -> pb.LogMessage:
    """One line."""
    return pb.LogMessage(
        context=pb.LogContext(service_id=line.service_id, node_id=line.node_id, task_id=line.task_id),
        timestamp=to_timestamp(line.moment),
        stream="LOG_STREAM_STDERR" if line.stream == 2 else "LOG_STREAM_STDOUT",
        data=line.data,
        attrs=[pb.LogAttr(key=key, value=value) for key, value in line.attrs.items()],
    )


def line_from_wire(message: pb.LogMessage) -> ServiceLogLine:
    """The counterpart of `line_to_wire`."""
    context = message.context
    return ServiceLogLine(
        service_id=context.service_id,
        node_id=context.node_id,
        task_id=context.task_id,
        moment=from_timestamp(message, "timestamp") or EPOCH,
        stream=2 if message.stream == pb.LOG_STREAM_STDERR else 1,
        data=message.data,
        attrs={attr.key: attr.value for attr in message.attrs},
    )
