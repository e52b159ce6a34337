"""What is overseen, on the wire."""

from datetime import timedelta

from google.protobuf import symbol_database
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError

from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.lag import Backlog, Lag
from mercato.ops.rebuilding import Course
from mercato.ops.stuck import Stuck
from mercato.parking import Parked
from mercato.projection import ProjectionStatus
from mercato.self_audit import Outcome
from mercato.wire import time_to_pb


def outbox_to_pb(waiting: Backlog) -> pb.Outbox:
    """What waits to be published."""
    outbox = pb.Outbox(depth=waiting.depth)
    if waiting.age is not None:
        outbox.age.FromTimedelta(waiting.age)
    return outbox


def lag_to_pb(lag: Lag) -> pb.ConsumerLag:
    """How far a reader has come."""
    return pb.ConsumerLag(
        group=lag.group, topic=lag.topic, partition=lag.partition, position=lag.position, lag=lag.behind
    )


def told_letter_to_pb(parked: Parked) -> pb.DeadLetter:
    """A parked event with its content."""
    shown = letter_to_pb(parked)
    shown.headers.update(parked.headers)
    shown.content = _content(parked)
    return shown


def letter_to_pb(parked: Parked) -> pb.DeadLetter:
    """A parked event as lists show it."""
    return pb.DeadLetter(
        id=str(parked.id),
        group=parked.consumer,
        record=parked.record.label,
        type=parked.type,
        aggregate_id=parked.aggregate_id,
        version=parked.version,
        reason=parked.reason,
        create_time=time_to_pb(parked.create_time),
        behind=str(parked.behind or ""),
    )


def _content(parked: Parked) -> str:
    """What it says, if its contract is known here; else its bytes."""
    try:
        message = symbol_database.Default().GetSymbol(parked.type).FromString(bytes(parked.payload))
    except (KeyError, DecodeError):
        return bytes(parked.payload).hex()
    return MessageToJson(message, indent=None, ensure_ascii=False)


def projection_to_pb(status: ProjectionStatus, course: Course) -> pb.Projection:
    """How a projection does, on the wire."""
    shown = pb.Projection(
        name=status.name,
        state=pb.Projection.State.Value(status.state),
        position=status.position,
        lag=status.lag,
        generation=status.generation,
        rebuilt=course.done,
        total=course.total,
        problem=course.problem,
    )
    if not course.ended:
        shown.state = pb.Projection.REBUILDING
    shown.age.FromTimedelta(timedelta(seconds=status.lag_seconds))
    return shown


def audit_to_pb(outcome: Outcome) -> pb.Audit:
    """What came of an audit, on the wire."""
    audit = pb.Audit(
        time=time_to_pb(outcome.time),
        rules=outcome.rules,
        total=outcome.total,
        findings=[pb.Finding(**finding) for finding in outcome.findings],
    )
    audit.took.FromTimedelta(timedelta(seconds=outcome.seconds))
    return audit


def stuck_to_pb(stuck: Stuck) -> pb.Stuck:
    """Something that waits for a person, on the wire."""
    return pb.Stuck(
        id=stuck.id,
        state=stuck.state,
        since=time_to_pb(stuck.since),
        waits_for=stuck.waits_for,
        attempts=stuck.attempts,
        last_reason=stuck.last_reason,
        advice=stuck.advice,
    )
