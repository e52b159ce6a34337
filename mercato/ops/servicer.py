"""The servicer of operations."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from grpc import ServicerContext

from mercato.api.ops.v1 import ops_pb2 as pb
from mercato.consumer import Consumer
from mercato.errors import FailedPrecondition, NotFound
from mercato.kafka import Kafka
from mercato.lag import backlog, lags
from mercato.ops.messages import (
    audit_to_pb,
    lag_to_pb,
    letter_to_pb,
    outbox_to_pb,
    projection_to_pb,
    stuck_to_pb,
    told_letter_to_pb,
)
from mercato.ops.rebuilding import Rebuilding
from mercato.ops.stuck import NothingStuck, StuckWork
from mercato.pagination import PageTokens
from mercato.parking import Parked, ParkedEvents, Redriven, Redriver
from mercato.postgres import Database
from mercato.projection import Projections
from mercato.reports import M, Reports
from mercato.rpc.call import current_call
from mercato.self_audit import SelfAudit


class NoSuchConsumer(FailedPrecondition):
    """The reader that parked it is not part of this service any more."""


@dataclass(frozen=True, slots=True)
class Overseen:
    """What is overseen of a service."""

    service: str
    database: Database
    kafka: Callable[[], Kafka]
    page_tokens: PageTokens
    consumers: Mapping[str, Consumer[Any]] = field(default_factory=dict)
    stuck: StuckWork = field(default_factory=NothingStuck)
    projections: Projections | None = None


class OpsServicer:
    """Answers for one service."""

    contract = pb.DESCRIPTOR.services_by_name["OpsService"]

    def __init__(self, overseen: Overseen) -> None:
        self._overseen = overseen
        self._parked = ParkedEvents(overseen.database)
        self._audit = SelfAudit(overseen.database)
        self._rebuilding = Rebuilding(overseen.projections)
        self._reports = Reports(overseen.database)

    def GetOperations(self, request: pb.GetOperationsRequest, context: ServicerContext) -> pb.Operations:
        self._check(request)
        seen = self._overseen
        return pb.Operations(
            service=seen.service,
            outbox=outbox_to_pb(backlog(seen.database)),
            consumers=self._lags(),
            dead_letters=self._parked.count(),
            projections=[projection_to_pb(*each) for each in self._rebuilding.status()],
            in_flight=seen.stuck.in_flight(),
            stuck=seen.stuck.count(),
            last_audit=self._last_audit(),
        )

    def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: ServicerContext
    ) -> pb.ListDeadLettersResponse:
        self._check(request)
        page = self._overseen.page_tokens.page(request)
        found = page.of(self._parked.find(page.after[0] if page.after else 0, page.most), lambda each: [each.id])
        return pb.ListDeadLettersResponse(
            dead_letters=map(letter_to_pb, found.items), next_page_token=found.next_page_token
        )

    def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: ServicerContext) -> pb.DeadLetter:
        self._check(request)
        parked = self._parked.get(int(request.id))
        if parked is None:
            raise NotFound
        return told_letter_to_pb(parked)

    def RedriveDeadLetter(self, request: pb.RedriveDeadLetterRequest, context: ServicerContext) -> pb.Redriven:
        return self._once(pb.Redriven, lambda: self._drive(request, Redriver.redrive))

    def DiscardDeadLetter(self, request: pb.DiscardDeadLetterRequest, context: ServicerContext) -> pb.Redriven:
        return self._once(pb.Redriven, lambda: self._drive(request, Redriver.discard))

    def RebuildProjection(self, request: pb.RebuildProjectionRequest, context: ServicerContext) -> pb.Projection:
        self._check(request)
        begun = self._once(pb.Projection, lambda: projection_to_pb(*self._rebuilding.begin(request.name)))
        if not current_call().replayed:
            return begun
        now = (projection_to_pb(*each) for each in self._rebuilding.status() if each[0].name == request.name)
        return next(now, begun)

    def AuditService(self, request: pb.AuditServiceRequest, context: ServicerContext) -> pb.Audit:
        self._check(request)
        return self._once(pb.Audit, lambda: audit_to_pb(self._audit.run()))

    def ListStuck(self, request: pb.ListStuckRequest, context: ServicerContext) -> pb.ListStuckResponse:
        self._check(request)
        page = self._overseen.page_tokens.page(request)
        after = (datetime.fromisoformat(page.after[0]), page.after[1]) if page.after else None
        stuck = self._overseen.stuck.find(after, page.most)
        found = page.of(stuck, lambda each: [each.since.isoformat(), each.id])
        return pb.ListStuckResponse(stuck=map(stuck_to_pb, found.items), next_page_token=found.next_page_token)

    def RetryStuck(self, request: pb.RetryStuckRequest, context: ServicerContext) -> pb.RetryStuckResponse:
        self._check(request)
        stuck = self._overseen.stuck
        return self._once(pb.RetryStuckResponse, lambda: pb.RetryStuckResponse(retried=stuck.retry(request.id)))

    def _once(self, kind: type[M], do: Callable[[], M]) -> M:
        return self._reports.once(current_call().key, kind, do)

    def _check(self, request: Any) -> None:
        """Whoever asks here for another service has been led astray."""
        if request.service != self._overseen.service:
            raise NotFound(f"this is {self._overseen.service}, not {request.service}")

    def _last_audit(self) -> pb.Audit | None:
        last = self._audit.last()
        return audit_to_pb(last) if last else None

    def _lags(self) -> Iterable[pb.ConsumerLag]:
        groups = self._overseen.consumers
        return map(lag_to_pb, lags(self._overseen.database, self._overseen.kafka(), groups) if groups else ())

    def _drive(self, request: Any, way: Callable[[Redriver[Any], Parked], Redriven]) -> pb.Redriven:
        self._check(request)
        parked = self._parked.get(int(request.id))
        if parked is None:
            return pb.Redriven()
        consumer = self._overseen.consumers.get(parked.consumer)
        if consumer is None:
            raise NoSuchConsumer(f"{self._overseen.service} has no reader {parked.consumer}", group=parked.consumer)
        done = way(consumer.redriver, parked)
        return pb.Redriven(applied=done.applied, remaining=done.remaining)
