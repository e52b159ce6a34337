"""What an event demands of the neighbours, and who is doing it: the rows of the process table.

Decisions are persisted, not steps: the row names the event, and whoever picks it up asks every step of it again, from
the first, with the same ids.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from mercato.ids import derive
from services.order.domain import Order
from services.order.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPicked,
    OrderPlaced,
    OrderRejected,
    OrderReturnApproved,
    PaymentRetried,
    RedeliveryPlanned,
    State,
)
from services.order.holding import NO_CLAIM, Claim

# The payment service remembers it: the same refund is asked for again under another id, or never done.
REFUND_FAILED = "REFUND_FAILED"


class Kind(StrEnum):
    """What there is to do."""

    CHECK_OUT = "CHECK_OUT"
    SHIP = "SHIP"
    COMPENSATE = "COMPENSATE"
    FINISH = "FINISH"
    REDELIVER = "REDELIVER"
    SETTLE = "SETTLE"
    TAKE_BACK = "TAKE_BACK"


@dataclass(frozen=True, slots=True)
class Task:
    """What the event of an order at a version demands, leased to whoever holds the token."""

    order_id: UUID
    version: int
    kind: Kind
    lease_token: int
    attempt: int = 0
    overdue: bool = False
    refunds_refused: int = 0
    request_id: str = ""
    event: Event | None = None

    def refund_id(self, namespace: UUID, name: str) -> UUID:
        """The id of a refund that this demands: the same in every try, another one once the provider has refused it.

        The payment service answers a refund that was refused as the first time, for ever; so it is asked for anew.
        """
        tried = f":{self.refunds_refused}" if self.refunds_refused else ""
        return derive(namespace, f"refund:{name}{tried}")


@dataclass(frozen=True, slots=True)
class Demand:
    """A task that is to be done: within a time if it has one, leased to whoever demands it and sees to it at once.

    `claim`: what somebody holds for as long as it is not done.
    """

    task: Task
    lease: timedelta
    deadline: timedelta | None = None
    claim: Claim = NO_CLAIM

    @property
    def columns(self) -> dict[str, object]:
        """Its columns, as JSON holds them; times in seconds from now."""
        task, claim = self.task, self.claim
        return {
            "order_id": task.order_id,
            "version": task.version,
            "kind": task.kind,
            "lease": self.lease.total_seconds(),
            "deadline": self.deadline and self.deadline.total_seconds(),
            "request_id": task.request_id,
            "holder": claim.holder,
            "units": claim.units,
        }


def demanded_by(event: Event, order: Order) -> Kind | None:
    """What has to be done because of an event that made the order what it is."""
    match event:
        case OrderPlaced():
            return Kind.CHECK_OUT
        case OrderConfirmed():
            return Kind.SHIP
        case OrderRejected() | OrderCancelled():
            return Kind.COMPENSATE
        case OrderPicked() | PaymentRetried():
            return Kind.FINISH
        case RedeliveryPlanned():
            return Kind.REDELIVER
        case OrderDelivered() if event.cash_collected and order.cash_due:
            return Kind.SETTLE
        case OrderReturnApproved():
            return Kind.TAKE_BACK
        case _:
            return None


def ends_the_way_forward(event: Event) -> bool:
    """Whether what somebody may be doing to bring the order about is to be dropped."""
    return isinstance(event, OrderCancelled)


def owed(order: Order) -> Kind | None:
    """What somebody must be doing about an order that stands like this; None if it waits for nobody of us."""
    match order.state:
        case State.PENDING:
            return Kind.CHECK_OUT
        case State.REJECTED | State.CANCELLED:
            return Kind.COMPENSATE
        case State.CONFIRMED if order.shipment_id is None:
            return Kind.SHIP
        case State.PICKING if order.picked is not None:
            return Kind.FINISH
        case _:
            return None
