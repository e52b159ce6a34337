"""The provider as one object: routes, idempotency, faults, and the log behind every change."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Any, TypeVar

from simulator.account import Account, Declined
from simulator.audit import EXPIRY
from simulator.card import CARDS, Card
from simulator.config import SimulatorConfig
from simulator.event import Event, events_of
from simulator.faults import Dice
from simulator.form import Form, whole
from simulator.journal import Journal
from simulator.keys import Keys, Outcome
from simulator.problem import InvalidRequest, NoSuchObject, Problem, ProviderFailure, Unauthorized
from simulator.record import Charge, Intent, Json, Record, Refund, restore
from simulator.rendering import render

R = TypeVar("R", Intent, Charge, Refund)
Change = Callable[..., Sequence[Record]]
_MOST = 100  # of a page


@dataclass(frozen=True, slots=True)
class Request:
    """A call, taken off the wire."""

    method: str
    path: str
    form: Form
    body: str = ""
    key: str = ""
    authorization: str = ""

    @property
    def fingerprint(self) -> str:
        """What must be equal for a key to be used again."""
        return hashlib.sha256(f"{self.method} {self.path}\n{self.body}".encode()).hexdigest()[:32]

    @property
    def card(self) -> Card:
        """The card that the call charges, if it names one that is known."""
        return CARDS.get(self.form.text("payment_method") or "", Card())


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: JSON with its status; `lost` ones are never sent."""

    status: int
    body: Json
    replayed: bool = False
    lost: bool = False


class Provider:
    """Stripe, as far as the shop can tell."""

    def __init__(
        self, config: SimulatorConfig, journal: Journal, dice: Dice, tell: Callable[[Event], object] | None = None
    ) -> None:
        """`tell` is what a webhook is to be sent for."""
        self._config = config
        self._journal = journal
        self._dice = dice
        self._tell = tell
        self._account = Account()
        self._keys = Keys()
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        for line in journal.replay():
            self._restore(line)

    def answer(self, request: Request) -> Reply:
        """What the provider says to a call."""
        if self._dice.strikes("slow"):
            self.stopping.wait(self._config.slow.total_seconds())
        if self._dice.strikes("down"):
            return Reply(503, {"error": {"type": "api_error", "message": "The service is temporarily unavailable."}})
        try:
            self.authenticate(request)
            for method, pattern, handle in _ROUTES:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    return handle(self, request, *match.groups())
            raise _unknown_route(request)
        except Problem as problem:
            return Reply(problem.status, {"error": problem.error})

    def authenticate(self, request: Request) -> None:
        """That the caller holds the key. Unauthorized."""
        if not request.authorization:
            raise Unauthorized("You did not provide an API key: send 'Authorization: Bearer YOUR_SECRET_KEY'.")
        if request.authorization != f"Bearer {self._config.key.reveal()}":
            raise Unauthorized(f"Invalid API Key provided: {request.authorization.removeprefix('Bearer ')[:8]}****")

    # --- changes

    def change(self, operation: Change, request: Request, *ids: str) -> Reply:
        """Do something once: again with the same key it is only told again."""
        key, fingerprint = request.key, request.fingerprint
        if not key:
            return self._reply(self._carry_out(operation, request, ids), request)
        with self._lock:
            earlier = self._keys.claim(key, fingerprint)
        if earlier:
            return replace(self._reply(earlier, request), replayed=True)
        try:
            outcome = self._carry_out(operation, request, ids)
        finally:
            with self._lock:
                self._keys.let_go(key)
        lost = request.card.hangs or self._dice.strikes("hang")
        return replace(self._reply(outcome, request), lost=lost)

    def _carry_out(self, operation: Change, request: Request, ids: Sequence[str]) -> Outcome:
        """Do it, and return once it is on the disk."""
        self._fail_first(request)
        with self._lock:
            outcome, changes = self._decide(operation, request, ids)
            self._account.apply(changes)
            if request.key:
                self._keys.settle(request.key, request.fingerprint, outcome)
            line = _line(request, outcome, changes)
            number = self._journal.append(line)
        self._make_known(number, line, changes)
        return outcome

    def _make_known(self, number: int, line: Json, changes: Sequence[Record]) -> None:
        """Wait until a line is on the disk; only then is anybody told."""
        self._journal.wait(number)
        if self._tell:
            for event in events_of(line, changes):
                self._tell(event)

    def expire_due(self) -> None:
        """End the authorizations that stood for too long."""
        now = int(time.time())
        with self._lock:
            due = [each.id for each in self._account.overdue(now - int(self._config.expiry.total_seconds()))]
        for given in due:
            self.expire(given)

    def expire(self, given: str) -> None:
        """End one authorization. Problem, if it does not stand."""
        with self._lock:
            changes = self._account.expire(int(time.time()), given)
            self._account.apply(changes)
            line = _line_of(EXPIRY, Outcome(200), changes)
            number = self._journal.append(line)
        self._make_known(number, line, changes)

    def _decide(self, operation: Change, request: Request, ids: Sequence[str]) -> tuple[Outcome, Sequence[Record]]:
        try:
            changes = operation(self._account, request.form, int(time.time()), *ids)
            return Outcome(200, changes[0]), changes
        except Declined as declined:
            return Outcome(declined.status, declined.intent, declined.error), declined.changes
        except Problem as problem:
            if not problem.remembered:
                raise
            return Outcome(problem.status, None, problem.error), ()

    def _fail_first(self, request: Request) -> None:
        """The faults of cards that strike before anything is done."""
        if request.card.slow:
            self.stopping.wait(self._config.slow.total_seconds())
        if request.card.flaky:
            with self._lock:
                self._keys.failures[request.key or request.fingerprint] += 1
                failures = self._keys.failures[request.key or request.fingerprint]
            if failures <= self._config.flaky:
                raise ProviderFailure

    def _reply(self, outcome: Outcome, request: Request) -> Reply:
        if outcome.error is None:
            assert outcome.record is not None
            return Reply(200, self._render(outcome.record, request.form.expands("latest_charge")))
        about = {"payment_intent": render(outcome.record)} if outcome.record else {}
        return Reply(outcome.status, {"error": outcome.error | about})

    # --- reads

    def one(self, kind: type[R], request: Request, given: str) -> Reply:
        """One record by its id."""
        with self._lock:
            record = self._account.find(kind, given)
        return self._settled(Reply(200, self._render(record, request.form.expands("latest_charge"))))

    def many(self, kind: type[R], request: Request) -> Reply:
        """A page of records, newest first, by creation time and payment."""
        form = request.form
        begin = _earliest(form)
        with self._lock:
            records = takewhile(
                lambda r: r.created >= begin, self._account.all(kind, form.text("starting_after") or "")
            )
            found = list(islice((r for r in records if _created_within(r, form) and _of_payment(r, form)), _MOST + 1))
        return self._page(found, request)

    def search(self, request: Request) -> Reply:
        """Payments by their labels."""
        with self._lock:
            found = list(self._account.search(request.form.required("query")))
        return self._page(found, request)

    def _page(self, records: Iterable[Record], request: Request) -> Reply:
        limit = request.form.number("limit") or 10
        if not 1 <= limit <= _MOST:
            raise InvalidRequest(f"Invalid limit: must be between 1 and {_MOST}", param="limit")
        page = list(islice(records, limit + 1))
        expand = request.form.expands("data.latest_charge")
        data = [self._render(record, expand) for record in page[:limit]]
        body = {"object": "list", "url": request.path, "has_more": len(page) > limit, "data": data}
        return self._settled(Reply(200, body))

    def _settled(self, reply: Reply) -> Reply:
        """Nobody reads what a power cut could still take back."""
        self._journal.wait(self._journal.appended)
        return reply

    def _render(self, record: Record, expand: bool) -> Json:
        body = render(record)
        if expand and isinstance(record, Intent):
            body["latest_charge"] = render(self._account.find(Charge, record.charge))
        return body

    # --- the log

    def _restore(self, line: Json) -> None:
        changes = [restore(fields) for fields in line["changes"]]
        self._account.apply(changes)
        if line["key"]:
            outcome = Outcome(line["status"], changes[0] if changes else None, line["error"])
            self._keys.settle(line["key"], line["fingerprint"], outcome)


def _line(request: Request, outcome: Outcome, changes: Sequence[Record]) -> Json:
    return _line_of(
        f"{request.method} {request.path}", outcome, changes, key=request.key, fingerprint=request.fingerprint
    )


def _line_of(operation: str, outcome: Outcome, changes: Sequence[Record], key: str = "", fingerprint: str = "") -> Json:
    return {
        "time": time.time(),
        "operation": operation,
        "key": key,
        "fingerprint": fingerprint,
        "status": outcome.status,
        "error": outcome.error,
        "changes": changes,
    }


def _earliest(form: Form) -> int:
    """Before when nothing is asked for: the way back through the records may end there."""
    bounds = form.nested.get("created", {})
    return max((whole(bounds[name], "created") for name in ("gte", "gt") if name in bounds), default=0)


def _created_within(record: Record, form: Form) -> bool:
    """Whether a record lies in the range that `created[gte]` and its like give."""
    tests: dict[str, Callable[[int, int], bool]] = {
        "gte": int.__ge__,
        "gt": int.__gt__,
        "lte": int.__le__,
        "lt": int.__lt__,
    }
    bounds = form.nested.get("created", {})
    return all(tests[name](record.created, whole(bound, "created")) for name, bound in bounds.items() if name in tests)


def _of_payment(record: Record, form: Form) -> bool:
    wanted = form.text("payment_intent")
    return wanted is None or isinstance(record, Intent) or record.intent == wanted


def _unknown_route(request: Request) -> NoSuchObject:
    problem = NoSuchObject("route", request.path)
    problem.error["message"] = f"Unrecognized request URL ({request.method}: {request.path})."
    return problem


def _change(operation: Change) -> Callable[..., Reply]:
    return lambda provider, request, *ids: provider.change(operation, request, *ids)


def _one(kind: type[Any]) -> Callable[..., Reply]:
    return lambda provider, request, given: provider.one(kind, request, given)


def _many(kind: type[Any]) -> Callable[..., Reply]:
    return lambda provider, request: provider.many(kind, request)


_ROUTES: tuple[tuple[str, re.Pattern[str], Callable[..., Reply]], ...] = (
    ("POST", re.compile(r"/v1/payment_intents"), _change(Account.create_intent)),
    ("POST", re.compile(r"/v1/payment_intents/([^/]+)/capture"), _change(Account.capture)),
    ("POST", re.compile(r"/v1/payment_intents/([^/]+)/cancel"), _change(Account.cancel)),
    ("POST", re.compile(r"/v1/refunds"), _change(Account.refund)),
    ("GET", re.compile(r"/v1/payment_intents"), _many(Intent)),
    ("GET", re.compile(r"/v1/payment_intents/search"), Provider.search),
    ("GET", re.compile(r"/v1/payment_intents/([^/]+)"), _one(Intent)),
    ("GET", re.compile(r"/v1/charges"), _many(Charge)),
    ("GET", re.compile(r"/v1/charges/([^/]+)"), _one(Charge)),
    ("GET", re.compile(r"/v1/refunds"), _many(Refund)),
    ("GET", re.compile(r"/v1/refunds/([^/]+)"), _one(Refund)),
)
