"""The provider as one object: routes, idempotency, faults, and the log behind every change."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, islice
from typing import Any, TypeVar

from simulator.account import Account, Declined
from simulator.card import CARDS, Card
from simulator.config import SimulatorConfig
from simulator.form import Form, whole
from simulator.journal import Journal
from simulator.keys import Keys, Outcome
from simulator.problem import InvalidRequest, NoSuchObject, Problem, ProviderFailure, Unauthorized
from simulator.record import Charge, Intent, Json, Record, Refund, restore
from simulator.rendering import render

R = TypeVar("R", Intent, Charge, Refund)
Change = Callable[..., Sequence[Record]]


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

    def __init__(self, config: SimulatorConfig, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._account = Account()
        self._keys = Keys()
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        for line in journal.replay():
            self._restore(line)

    def answer(self, request: Request) -> Reply:
        """What the provider says to a call."""
        try:
            self._authenticate(request)
            for method, pattern, handle in _ROUTES:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    return handle(self, request, *match.groups())
            raise _unknown_route(request)
        except Problem as problem:
            return Reply(problem.status, {"error": problem.error})

    def _authenticate(self, request: Request) -> None:
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
        return replace(self._reply(outcome, request), lost=request.card.hangs)

    def _carry_out(self, operation: Change, request: Request, ids: Sequence[str]) -> Outcome:
        """Do it, and return once it is on the disk."""
        self._fail_first(request)
        with self._lock:
            outcome, changes = self._decide(operation, request, ids)
            self._account.apply(changes)
            if request.key:
                self._keys.settle(request.key, request.fingerprint, outcome)
            number = self._journal.append(_line(request, outcome, changes))
        self._journal.wait(number)
        return outcome

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
        """The faults that strike before anything is done."""
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
        with self._lock:
            records = list(self._account.all(kind))
        after = form.text("starting_after")
        if after:
            records = list(dropwhile(lambda r: r.id != after, records))[1:]
        return self._page((r for r in records if _created_within(r, form) and _of_payment(r, form)), request)

    def search(self, request: Request) -> Reply:
        """Payments by their labels."""
        with self._lock:
            found = list(self._account.search(request.form.required("query")))
        return self._page(found, request)

    def _page(self, records: Iterable[Record], request: Request) -> Reply:
        limit = request.form.number("limit") or 10
        if not 1 <= limit <= 100:
            raise InvalidRequest("Invalid limit: must be between 1 and 100", param="limit")
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
    return {
        "time": time.time(),
        "operation": f"{request.method} {request.path}",
        "key": request.key,
        "fingerprint": request.fingerprint,
        "status": outcome.status,
        "error": outcome.error,
        "changes": changes,
    }


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
