"""How an order changes: the only place that loads, decides, appends, and tries again when somebody was faster."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from mercato import log
from mercato.clock import Clock
from mercato.errors import NotFound
from mercato.event_store import NEW, WrongExpectedVersion
from services.order.awaiting import awaited
from services.order.decisions import Events
from services.order.domain import Order, evolve
from services.order.events import Event, OrderPlaced
from services.order.holding import Claim
from services.order.public_events import public_event
from services.order.store import OrderWork
from services.order.tasks import Kind, Task, demanded_by, ends_the_way_forward, owed

Decide = Callable[[Order], Events]
# What happened, and the order after it.
Step = tuple[Event, Order]

TRIES = 3
NOBODY_YET = timedelta(0)
_FORWARD = (Kind.CHECK_OUT, Kind.SHIP)


@dataclass(frozen=True, slots=True)
class Change:
    """An order after a decision, and what the decision demands, leased to whoever made it."""

    order: Order
    tasks: tuple[Task, ...] = ()


class Changes:
    """Changes orders."""

    def __init__(self, clock: Clock, *, give_up: timedelta) -> None:
        self._clock = clock
        self._give_up = give_up

    def place(self, work: OrderWork, placed: OrderPlaced, lease: timedelta) -> Change:
        """Begin an order."""
        with log.bound(order_id=str(placed.order_id)):
            return self._record(work, None, [(placed, evolve(None, placed))], lease)

    def decide(self, work: OrderWork, order_id: UUID, decide: Decide, lease: timedelta = NOBODY_YET) -> Change:
        """Load, decide, append; when somebody was faster, look at what they did, and decide again. NotFound."""
        for _ in range(TRIES - 1):
            try:
                return self._decide_once(work, order_id, decide, lease)
            except WrongExpectedVersion:
                continue
        return self._decide_once(work, order_id, decide, lease)

    def _decide_once(self, work: OrderWork, order_id: UUID, decide: Decide, lease: timedelta) -> Change:
        order = self.load(work, order_id)
        steps = _steps(order, decide(order))
        if not steps:
            return Change(order)
        with log.bound(order_id=str(order_id)):
            return self._record(work, order, steps, lease)

    def load(self, work: OrderWork, order_id: UUID) -> Order:
        """The order as its events make it."""
        order = work.streams.load(order_id)
        if order is None:
            raise NotFound
        return order

    def _record(self, work: OrderWork, before: Order | None, steps: Sequence[Step], lease: timedelta) -> Change:
        """Append, and all that goes with it: the view, what others are told, what is to be done."""
        order = steps[-1][1]
        # First: a version that somebody else has taken must be found out here, not when it is told a second time.
        work.streams.append(order.id, [event for event, _ in steps], before.version if before else NEW)
        work.view.put(order, self._clock.now())
        if (decision := awaited(order)) is not awaited(before):
            work.awaited.put(order.id, decision, order.decline_code)
        for event, then in steps:
            if told := public_event(then, event):
                work.publish(told, aggregate_id=str(then.id), version=then.version)
        return Change(order, self._demand(work, steps, lease))

    def _demand(self, work: OrderWork, steps: Sequence[Step], lease: timedelta) -> tuple[Task, ...]:
        """Have done what the events demand: by whoever made them, if they lease it, else by whoever comes first."""
        if any(ends_the_way_forward(event) for event, _ in steps):
            work.process.drop(steps[-1][1].id, _FORWARD)
        request_id = log.context().get("request_id", "")
        tasks = tuple(
            Task(then.id, then.version, kind, lease_token=1, request_id=request_id, event=event)
            for event, then in steps
            if (kind := demanded_by(event, then))
        )
        for task in tasks:
            if task.kind is Kind.CHECK_OUT:
                work.process.add(task, lease, self._give_up, _claim(steps[0][1]))
            else:
                work.process.add(task, lease)
        return tasks if lease else ()

    def demand_again(self, work: OrderWork, order_id: UUID) -> int:
        """Have done what an order waits for when nobody is at it any more; how many things that is. NotFound."""
        wanted, order, steps = owed(self.load(work, order_id)), None, list[Step]()
        for recorded in work.streams.read(order_id):
            order = evolve(order, recorded.event)
            steps.append((recorded.event, order))
        lost = [step for step in steps if wanted and demanded_by(*step) is wanted][-1:]
        self._demand(work, lost, NOBODY_YET)
        return len(lost)


def _claim(order: Order) -> Claim:
    return Claim(order.customer_id, sum(line.quantity for line in order.lines))


def _steps(order: Order, events: Events) -> list[Step]:
    steps = []
    for event in events:
        order = evolve(order, event)
        steps.append((event, order))
    return steps
