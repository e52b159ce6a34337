"""How an order changes: the only place that loads, decides, appends, and tries again when somebody was faster."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from mercato import log
from mercato.clock import Clock
from mercato.errors import NotFound
from mercato.event_store import NEW, Append, WrongExpectedVersion
from services.order.awaiting import awaited
from services.order.decisions import Events
from services.order.domain import Order, evolve
from services.order.events import Event, OrderPlaced
from services.order.holding import Claim
from services.order.messages import document
from services.order.public_events import public_event
from services.order.store import OrderWork, appended
from services.order.tasks import Demand, Kind, Task, demanded_by, ends_the_way_forward, owed

Decide = Callable[[Order], Events]
# What happened, and the order after it.
Step = tuple[Event, Order]

TRIES = 3
NOBODY_YET = timedelta(0)
_FORWARD = (Kind.CHECK_OUT, Kind.SHIP)


@dataclass(frozen=True, slots=True)
class Change:
    """An order after a decision, and what the decision demands, leased to whoever made it.

    `document` is the order as it is shown from then on; empty if nothing was written.
    """

    order: Order
    tasks: tuple[Task, ...] = ()
    document: bytes = b""


@dataclass(frozen=True, slots=True)
class Draft:
    """A decision that is not written yet: what happens to an order, if anything does, and what that demands."""

    before: Order | None
    order: Order
    steps: Sequence[Step]
    demands: tuple[Demand, ...]
    context: Context
    """Whose decision it is: what others are told of it bears that call's ids."""

    def written(self, document: bytes = b"") -> Change:
        """What it is once it is written."""
        return Change(self.order, tuple(demand.task for demand in self.demands if demand.lease), document)

    @property
    def append(self) -> Append:
        """Its events, to follow those that it was decided by."""
        return appended(self.order.id, [event for event, _ in self.steps], self.before.version if self.before else NEW)

    def tell(self, work: OrderWork) -> None:
        """Have others hear of it."""
        for event, then in self.steps:
            if told := public_event(then, event):
                self.context.run(work.publish, told, str(then.id), then.version)


class Changes:
    """Changes orders."""

    def __init__(self, clock: Clock, *, give_up: timedelta) -> None:
        self._clock = clock
        self._give_up = give_up

    def begin(self, placed: OrderPlaced, lease: timedelta) -> Draft:
        """How an order begins."""
        order = evolve(None, placed)
        return self._draft(None, order, [(placed, order)], lease)

    def decide(self, work: OrderWork, order_id: UUID, decide: Decide, lease: timedelta = NOBODY_YET) -> Change:
        """Load, decide, append; when somebody was faster, look at what they did, and decide again. NotFound."""
        for _ in range(TRIES - 1):
            try:
                return self._decide_once(work, order_id, decide, lease)
            except WrongExpectedVersion:
                continue
        return self._decide_once(work, order_id, decide, lease)

    def _decide_once(self, work: OrderWork, order_id: UUID, decide: Decide, lease: timedelta) -> Change:
        draft = self.draft(self.load(work, order_id), decide, lease)
        return self.write(work, [draft])[0]

    def load(self, work: OrderWork, order_id: UUID) -> Order:
        """The order as its events make it."""
        order = work.streams.load(order_id)
        if order is None:
            raise NotFound
        return order

    def draft(self, order: Order, decide: Decide, lease: timedelta) -> Draft:
        """What is decided about an order as it is at some version."""
        steps = _steps(order, decide(order))
        return self._draft(order, steps[-1][1] if steps else order, steps, lease)

    def _draft(self, before: Order | None, after: Order, steps: Sequence[Step], lease: timedelta) -> Draft:
        with log.bound(order_id=str(after.id)):
            return Draft(before, after, steps, self._demands(steps, lease), copy_context())

    def write(self, work: OrderWork, drafts: Sequence[Draft]) -> list[Change]:
        """Append what is decided about orders, and all that goes with it. WrongExpectedVersion.

        Of one draft nothing is written then; of several, some are.
        """
        decided, now = [each for each in drafts if each.steps], self._clock.now()
        documents = {each.order.id: document(each.order, now) for each in decided}
        if decided:
            self._write(work, decided, documents, now)
        return [each.written(documents.get(each.order.id, b"")) for each in drafts]

    def _write(self, work: OrderWork, drafts: Sequence[Draft], documents: Mapping[UUID, bytes], now: datetime) -> None:
        # First: a version that somebody else has taken must be found out here, not when it is told a second time.
        work.streams.append([each.append for each in drafts])
        work.view.put([(each.order, documents[each.order.id]) for each in drafts], now)
        for each in drafts:
            if (decision := awaited(each.order)) is not awaited(each.before):
                work.awaited.put(each.order.id, decision, each.order.decline_code)
            if any(ends_the_way_forward(event) for event, _ in each.steps):
                work.process.drop(each.order.id, _FORWARD)
            each.tell(work)
        work.process.add([demand for each in drafts for demand in each.demands])

    def _demands(self, steps: Iterable[Step], lease: timedelta) -> tuple[Demand, ...]:
        """What the events demand: of whoever made them, if they lease it, else of whoever comes first."""
        found = ((event, then, demanded_by(event, then)) for event, then in steps)
        return tuple(self._demand(kind, event, then, lease) for event, then, kind in found if kind)

    def _demand(self, kind: Kind, event: Event, order: Order, lease: timedelta) -> Demand:
        request_id = log.context().get("request_id", "")
        task = Task(order.id, order.version, kind, lease_token=1, request_id=request_id, event=event)
        if kind is Kind.CHECK_OUT:
            return Demand(task, lease, self._give_up, _claim(order))
        return Demand(task, lease)

    def demand_again(self, work: OrderWork, order_id: UUID) -> int:
        """Have done what an order waits for when nobody is at it any more; how many things that is. NotFound."""
        wanted, order, steps = owed(self.load(work, order_id)), None, list[Step]()
        for recorded in work.streams.read(order_id):
            order = evolve(order, recorded.event)
            steps.append((recorded.event, order))
        lost = [step for step in steps if wanted and demanded_by(*step) is wanted][-1:]
        work.process.add(self._demands(lost, NOBODY_YET))
        return len(lost)


def _claim(order: Order) -> Claim:
    return Claim(order.customer_id, sum(line.quantity for line in order.lines))


def _steps(order: Order, events: Events) -> list[Step]:
    steps = []
    for event in events:
        order = evolve(order, event)
        steps.append((event, order))
    return steps
