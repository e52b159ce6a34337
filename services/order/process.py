"""The process that does what events demand: with leases and tokens, again and again, until it is done.

An event's demand is a row, written with the event. Whoever holds its lease asks the neighbours outside of any
transaction; the decision that comes of it and the end of the row are one transaction, which somebody whose lease was
taken over cannot commit. What gave no answer is put off and asked again, later and later, for ever.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import timedelta

from mercato import log
from mercato.convoy import Convoy, Convoys
from mercato.errors import Conflict, Internal, MercatoError, NotFound
from mercato.event_store import StoredEvent, WrongExpectedVersion
from mercato.failpoint import UseCase
from mercato.group_commit import GroupCommit, Turn
from mercato.rpc import Call, current_call, on_behalf_of
from services.order.changes import NOBODY_YET, TRIES, Change, Changes, Decide, Draft
from services.order.checkout import Checkout
from services.order.domain import Order, replay
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
)
from services.order.fulfilment import Fulfilment
from services.order.store import OrderWork
from services.order.stored import decode
from services.order.tasks import Task

FIRST_PAUSE = timedelta(milliseconds=250)
LONGEST_PAUSE, LONGEST_AFTER_A_NO = timedelta(seconds=20), timedelta(minutes=5)
# Tasks that are done side by side, and threads for all that do.
TOGETHER, CREW = 8, 32
ANSWER_IN = 0.3  # seconds kept back of the caller's time, to put off what is not done and to answer
_log = log.get(__name__)


class Fenced(Conflict):
    """Somebody else has taken the task over, or it is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one may hold a task, how long a caller waits for it, and how many callers may wait at once."""

    lease: timedelta = timedelta(seconds=5)
    patience: timedelta = timedelta(seconds=2.5)
    at_once: int = 8


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What came of a task: the decision about its order, as that was when the task was begun."""

    task: Task
    order: Order
    decide: Decide


@dataclass(frozen=True, slots=True)
class Taken:
    """A task that somebody left, and what lies in its order's stream."""

    task: Task
    stream: Sequence[StoredEvent]

    def read(self) -> tuple[Order, Event]:
        """The order, and the event that demands the task. Raises whatever is wrong with what was kept."""
        events = [decode(each.type, each.schema, each.payload) for each in self.stream]
        order = replay(events)
        if order is None:
            raise NotFound
        return order, events[self.task.version - 1]


class ProcessManager:
    """Does what events demand."""

    def __init__(
        self,
        changes: Changes,
        work: Callable[[], OrderWork],
        checkout: Checkout,
        fulfilment: Fulfilment,
        pace: Pace,
    ) -> None:
        self._changes = changes
        self._work = work
        self._checkout = checkout
        self._fulfilment = fulfilment
        self._pace = pace
        self.convoys = Convoys()
        self._crew = ThreadPoolExecutor(CREW, "process")
        self.concluding = GroupCommit(self._conclude, self._conclude_together)
        self._lanes = threading.Semaphore(pace.at_once)
        self._lock = threading.Lock()
        self._at_work = 0
        self.wake = threading.Event()

    @contextmanager
    def lane(self) -> Iterator[timedelta]:
        """The lease for a caller who sees to it at once; none when so many do that reads would lack threads."""
        free = self._lanes.acquire(blocking=False)
        try:
            yield self._pace.lease if free else NOBODY_YET
        finally:
            if free:
                self._lanes.release()
            else:
                self.wake.set()

    def see_through(self, change: Change) -> Change:
        """Do what a change demands and what follows from that, as far as it comes while the caller waits.

        The last change that came of it.
        """
        call, patience = current_call(), self._pace.patience.total_seconds()
        if call.remaining is not None:
            patience = min(patience, call.remaining - ANSWER_IN)
        with _about(change.order, patience) as inner:
            # What is written is this caller's, whoever it is done for.
            inner.written = call.written
            last, unfinished = self._do_all(change)
        self._put_off(unfinished)
        # What could not be done may be in the way of somebody who changed the order meanwhile.
        return Change(last.order) if unfinished else last

    @property
    def at_work(self) -> int:
        """How many do a task that nobody waits for."""
        return self._at_work

    def run_once(self) -> bool:
        """Do some of what is due, side by side; False if there is nothing."""
        with self._work() as work:
            taken = self._take(work)
        if not taken:
            return False
        with self._working():
            self._do_round(taken)
        return True

    def _take(self, work: OrderWork) -> "list[Taken]":
        """Tasks of which we have the lease now, and what lies in the streams of their orders."""
        tasks = work.process.claim(self._pace.lease, TOGETHER)
        happened = work.streams.read_all({task.order_id for task in tasks})
        return [Taken(task, happened[task.order_id]) for task in tasks]

    def _do_round(self, taken: "Sequence[Taken]") -> None:
        """Each in a thread of its own, for most of the time they wait for neighbours; this one's if it is alone."""
        convoy = Convoy(len(taken))
        if len(taken) == 1:
            self._take_up(taken[0], convoy)
            return
        done = wait([self._crew.submit(copy_context().run, self._take_up, each, convoy) for each in taken]).done
        for each in done:
            each.result()

    def _take_up(self, taken: "Taken", convoy: Convoy) -> None:
        with UseCase(f"order.process.{taken.task.kind.lower()}"), convoy.member():
            self._put_off(self._gone_on_with(taken))

    def _gone_on_with(self, taken: "Taken") -> "list[Unfinished]":
        """Do what somebody left, as if its event had just happened."""
        task = taken.task
        try:
            order, event = taken.read()
        except Exception as trouble:  # noqa: BLE001  one that cannot even be read must not keep the others waiting
            return [_unfinished(task, trouble)]
        with _about(order, self._pace.lease.total_seconds() * 0.9, task.request_id):
            return self._do_all(Change(order, (replace(task, event=event),)))[1]

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._lock:
            self._at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1

    def _do_all(self, last: Change) -> "tuple[Change, list[Unfinished]]":
        """Do what a change demands, and the tasks that come of that; the last change, and what could not be done."""
        waiting, unfinished = list(last.tasks), list[Unfinished]()
        while waiting:
            task = waiting.pop(0)
            try:
                change = self._do(task, last.order)
            except Fenced:
                _log.info("process.fenced", kind=task.kind, version=task.version)
                last = Change(self._reread(last.order))
            except Exception as trouble:  # noqa: BLE001  a defect too is put off: it is mended, and asked again
                unfinished.append(_unfinished(task, trouble))
            else:
                if change.order.version != last.order.version:
                    last = change
                waiting += change.tasks
        return last, unfinished

    def _do(self, task: Task, order: Order) -> Change:
        # The order may have changed meanwhile: neighbours refuse what was given up, and the decision looks again.
        return self.concluding.do(Conclusion(task, order, self._ask(task, order)))

    def _conclude(self, conclusion: Conclusion) -> Change:
        for _ in range(TRIES - 1):
            try:
                return self._conclude_together([Turn.of(conclusion)])[0]
            except WrongExpectedVersion:
                conclusion = replace(conclusion, order=self._reread(conclusion.order))
        return self._conclude_together([Turn.of(conclusion)])[0]

    def _conclude_together(self, turns: Sequence[Turn[Conclusion]]) -> list[Change]:
        """Write what came of tasks. Fenced, WrongExpectedVersion: nothing is written then."""
        with self._work() as work:
            drafts = [self._drafted(work, turn) for turn in turns]
            # In this order, as in every change: events first, then the process. The other way round this and a cancel
            # would wait for each other.
            changes = self._changes.write(work, drafts)
            if not work.process.end([turn.item.task for turn in turns]):
                raise Fenced
            return changes

    def _drafted(self, work: OrderWork, turn: Turn[Conclusion]) -> Draft:
        about = turn.item
        draft = turn.run(self._changes.draft, about.order, about.decide, self._pace.lease)
        if draft.steps:
            return draft  # if it is about an order that has gone on, it cannot be written
        now = self._changes.load(work, about.task.order_id)
        return turn.run(self._changes.draft, now, about.decide, self._pace.lease)

    def _ask(self, task: Task, order: Order) -> Decide:
        match task.event:
            case OrderPlaced():
                return self._checkout.check_out(order, overdue=task.overdue)
            case OrderRejected() | OrderCancelled():
                return self._checkout.compensate(order, task)
            case OrderConfirmed():
                return self._fulfilment.ship(order)
            case OrderPicked() | PaymentRetried():
                return self._fulfilment.finish(order, task)
            case RedeliveryPlanned() as planned:
                return self._fulfilment.redeliver(order, planned)
            case OrderDelivered() as delivered:
                return self._fulfilment.settle(order, delivered)
            case OrderReturnApproved() as approved:
                return self._fulfilment.take_back(order, approved, task)
            case other:
                raise ValueError(f"{type(other).__name__} demands nothing")

    def _reread(self, order: Order) -> Order:
        with self._work() as work:
            return self._changes.load(work, order.id)

    def _put_off(self, unfinished: "list[Unfinished]") -> None:
        for task, why in unfinished:
            # A definite no changes when somebody has mended something; silence ends by itself.
            longest = LONGEST_AFTER_A_NO if why.definite else LONGEST_PAUSE
            with self._work() as work:
                work.process.postpone(task, min(FIRST_PAUSE * 2 ** min(task.attempt, 15), longest), why)


Unfinished = tuple[Task, MercatoError]
"""What could not be done, and why."""


@contextmanager
def _about(order: Order, seconds: float, request_id: str = "") -> Iterator[Call]:
    # For the customer, whoever asked: neighbours recognise a repeat by the principal too, and the worker that repeats a
    # call knows nobody else. It shows what that customer agreed to.
    customer_id, grant = str(order.customer_id), order.grant
    with (
        log.bound(order_id=str(order.id)),
        on_behalf_of(customer_id, seconds=seconds, request_id=request_id, grant=grant) as call,
    ):
        yield call


def _unfinished(task: Task, trouble: Exception) -> Unfinished:
    if not isinstance(trouble, MercatoError):
        _log.error("process.defect", order_id=str(task.order_id), kind=task.kind, exc_info=trouble)
        return task, Internal()
    say = _log.error if trouble.definite else _log.warning
    say("process.put_off", kind=task.kind, attempt=task.attempt, reason=trouble.reason, why=trouble.message)
    return task, trouble
