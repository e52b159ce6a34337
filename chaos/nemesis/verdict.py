"""The verdict: what people heard is held against what the mesh remembers, Kafka carries and the provider wrote down."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import LiteralString

import psycopg

from auditor.mesh import audit
from chaos.nemesis.arena import Arena
from chaos.nemesis.history import History, Json, Operation, Outcome
from chaos.nemesis.people import Person, Shopper, patiently
from chaos.recording import Record, records
from mercato.local.table import SERVICES
from mercato.postgres import Database
from mercato.rights import WARM_UP
from services.order.projections import projections
from shop.rest import Refused, cents

PICKED = frozenset({"PICKING", "PAYMENT_DUE", "READY", "OUT_FOR_DELIVERY", "DELIVERED", "DELIVERY_FAILED", "CANCELLED"})
# A request that is well formed, by somebody signed in, is never told one of these.
NEVER = frozenset({400, 401, 403, 415, 422, 428, 500})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold: its invariant, how much was looked at, and what does not hold."""

    invariant: str
    holds: str
    looked_at: int
    findings: Sequence[str]
    rule: bool = False
    """Whether it is one of the auditor's many."""


@dataclass(slots=True)
class Memory:
    """What the mesh remembers in the end, as those who may see it see it."""

    orders: dict[str, Json] = field(default_factory=dict)
    payments: dict[str, Json] = field(default_factory=dict)
    owned: dict[str, set[str]] = field(default_factory=dict)
    """The orders that each shopper is shown."""


def remember(people: Sequence[Person], finance: Person) -> Memory:
    """Ask the mesh for everything, through the gateway."""
    memory = Memory(payments={each["id"]: each for each in _all(finance, "payments")})
    for person in people:
        if isinstance(person, Shopper):
            orders = _all(person, "orders")
            memory.owned[person.name] = {order["id"] for order in orders}
            memory.orders |= {order["id"]: order for order in orders}
    return memory


def _all(person: Person, what: str) -> list[Json]:
    found: list[Json] = []
    token = ""
    while True:
        page = patiently(partial(person.visitor.get, f"/v1/{what}", pageSize=200, pageToken=token)) or {}
        found += page[what]
        if not (token := page.get("nextPageToken", "")):
            return found


# What people heard.

Finder = Callable[[History, Memory], Iterator[str]]


def durable(history: History, memory: Memory) -> Iterator[str]:
    """An order that somebody was told of exists, with what was ordered."""
    for each in history.of("place"):
        if each.decided and each.order_id:
            order = memory.orders.get(each.order_id)
            if order is None or order["id"] not in memory.owned.get(each.who, ()):
                yield f"{each.who} was told of {each.order_id} by {each.status} {each.reason}; it is not there"
            elif _units(order["lines"]) != _units(each.body["lines"]):
                yield f"{each.order_id} holds {_units(order['lines'])}, ordered was {_units(each.body['lines'])}"


def no_effect(history: History, memory: Memory) -> Iterator[str]:
    """Nobody has an order that they were not told of: a definite no left nothing behind."""
    told = defaultdict[str, set[str]](set)
    undecided = Counter(each.who for each in history.undecided if each.what == "place")
    for each in history.of("place"):
        told[each.who].add(each.order_id)
    for who, orders in memory.owned.items():
        # What nobody has heard the end of may have made one.
        if len(surplus := orders - told[who]) > undecided[who]:
            yield f"{who} has {sorted(surplus)}, which no answer named, and {undecided[who]} questions open"


def once(history: History, _: Memory) -> Iterator[str]:
    """One key is one order, however often it was asked for."""
    made = defaultdict[tuple[str, str], set[str]](set)
    for each in history.of("place"):
        if each.decided and each.order_id:
            made[each.who, each.key].add(each.order_id)
    yield from (f"{who}'s key {key} made {sorted(ids)}" for (who, key), ids in made.items() if len(ids) > 1)


def done(history: History, memory: Memory) -> Iterator[str]:
    """What was acknowledged is to be seen: cancelled, picked, delivered, refunded."""
    yield from _states(history, memory, "cancel", frozenset({"CANCELLED"}))
    yield from _states(history, memory, "startPicking", PICKED)
    yield from _states(history, memory, "finishPicking", PICKED - {"PICKING"})
    for each in history.of("finishPicking", Outcome.OK):
        yield from _picked(each, memory.orders.get(each.target, {}))
    refunds = Counter[str]()
    for each in history.of("refund", Outcome.OK):
        refunds[each.target] += cents(each.body["amount"])
    for payment_id, amount in refunds.items():
        refunded = cents(memory.payments[payment_id].get("refunded") or {})
        if refunded < amount:
            yield f"payment {payment_id}: {amount} were refunded, {refunded} are remembered"


def _states(history: History, memory: Memory, what: str, states: frozenset[str]) -> Iterator[str]:
    for each in history.of(what, Outcome.OK):
        order = memory.orders.get(each.target)
        if order is None or order["state"] not in states:
            yield f"{what} of {each.target} was acknowledged; it is {order['state'] if order else 'gone'}"


def _picked(operation: Operation, order: Json) -> Iterator[str]:
    found = {line["sku"]: int(line.get("pickedQuantity") or 0) for line in order.get("lines", ())}
    for line in operation.body.get("lines", ()):
        if found.get(line["sku"]) != line["pickedQuantity"] and order.get("state") != "CANCELLED":
            yield f"{operation.target}: picked were {line}, remembered is {found.get(line['sku'])}"


def wanted(history: History, memory: Memory) -> Iterator[str]:
    """No more money goes back than somebody decided: a return that was approved, a refund of finance's."""
    decided = Counter[str]()
    for each in history.of("refund"):
        decided[each.target] += cents(each.body["amount"]) if each.outcome is not Outcome.FAIL else 0
    for order in memory.orders.values():
        paid = [each for each in memory.payments.values() if each.get("orderId") == order["id"]]
        given = order.get("return") or {}
        approved = cents(given.get("refund") or {}) if given.get("state") == "APPROVED" else 0
        due = approved + sum(decided[each["id"]] for each in paid)
        refunded = sum(cents(each.get("refunded") or {}) for each in paid)
        if refunded > due and order["state"] != "CANCELLED":
            yield f"order {order['id']}: {refunded} went back, {due} were decided"


def monotone(history: History, _: Memory) -> Iterator[str]:
    """Whoever saw an order in a version never sees an earlier one."""
    for (who, order_id), versions in history.reads.items():
        if versions != sorted(versions):
            yield f"{who} saw {order_id} in the versions {versions}"


def understood(history: History, _: Memory) -> Iterator[str]:
    """Faults are no excuse: nobody is told that a good request was bad, or that nobody knows why it failed."""
    counted = Counter((each.what, each.status, each.reason) for each in history.operations if each.status in NEVER)
    yield from (f"{times} times {what}: {status} {reason}" for (what, status, reason), times in counted.items())


def _units(lines: Sequence[Json]) -> dict[str, int]:
    return {line["sku"]: int(line["quantity"]) for line in lines}


HEARD: Mapping[str, tuple[str, Finder]] = {
    "acknowledged orders": ("I4", durable),
    "definite refusals": ("I4", no_effect),
    "acknowledged changes": ("I4", done),
    "refunds": ("I1", wanted),
    "keys": ("I5", once),
    "reads": ("I20", monotone),
    "answers": ("B", understood),
}


def heard(history: History, memory: Memory) -> Iterator[Check]:
    """The checks of what people heard."""
    for name, (invariant, finder) in HEARD.items():
        holds = (finder.__doc__ or name).strip()
        yield Check(invariant, holds, _looked_at(history, name), [*finder(history, memory)])


def _looked_at(history: History, name: str) -> int:
    match name:
        case "reads":
            return sum(map(len, history.reads.values()))
        case "acknowledged changes":
            return sum(each.outcome is Outcome.OK and each.what != "place" for each in history.operations)
        case "answers":
            return len(history.operations)
        case _:
            return sum(1 for _ in history.of("place"))


# What Kafka carries.

COMMITTED: LiteralString = (
    "select event_id::text from {schema}.outbox union all select event_id::text from {schema}.outbox_journal"
)

# How far each aggregate has come: what is told of a later version never happened.
REACHED: Mapping[str, LiteralString] = {
    "mercato.order.v1": "select stream_id::text, max(version) from orders.events group by stream_id",
    "mercato.payment.v1": "select id::text, version from payments.payment",
}


# At rest nothing is on its way: what the catalogue was told last is how it is. A change may be followed by two events
# of borders that it crossed, which have numbers of their own and tell the catalogue nothing.
STALE: LiteralString = """
    select format('%s@%s', sku, warehouse_id) from catalog.level l join inventory.stock s using (sku, warehouse_id)
    where l.available <> s.available or l.sequence not between s.sequence - 2 and s.sequence
"""


def carried(arena: Arena) -> Iterator[Check]:
    """Every committed event is in Kafka, nothing else is, and each aggregate's come in the order of their versions."""
    lying = [each for each in records(arena.mesh.bootstrap) if each.topic != WARM_UP]
    with closing(psycopg.connect(arena.database_url)) as connection:
        queries = [COMMITTED.replace("{schema}", each.schema).encode() for each in SERVICES]
        committed = {row[0] for query in queries for row in connection.execute(query)}
        reached: dict[str, dict[str, int]] = {
            topic: dict(connection.execute(query.encode()).fetchall()) for topic, query in REACHED.items()
        }
        stale = [f"the catalogue is behind at {place}" for (place,) in connection.execute(STALE)]
    published = {each.headers.get("ce_id", "") for each in lying}
    dead = {each.headers.get("ce_id", "") for each in lying if each.topic.endswith(".dlq")}
    lost = [f"event {each} is committed, and not in Kafka" for each in committed - published]
    phantom = [f"event {each} is in Kafka, and was never committed" for each in published - dead - committed]
    yield Check("I8", "What is committed is in Kafka.", len(committed), lost)
    yield Check("I8", "What is in Kafka is committed.", len(lying), phantom)
    yield Check("I8", "What is told of orders and payments has happened.", len(lying), [*invented(lying, reached)])
    yield Check("I11", "What the catalogue says of stock is what there is.", len(lying), stale)
    yield Check("I9", "First occurrences come in the order of their versions.", len(lying), [*disorder(lying)])


def invented(lying: Sequence[Record], reached: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What is told of a version that an aggregate never came to."""
    for each in lying:
        version = int(each.headers.get("version") or 0)
        if each.topic in reached and version > reached[each.topic].get(each.key, 0):
            yield f"{each.topic} tells of {each.key} in version {version}, which there never was"


def disorder(lying: Sequence[Record]) -> Iterator[str]:
    """What comes for the first time after a later version of the same aggregate."""
    highest: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, str]] = set()
    for each in lying:
        event, key = (each.topic, each.headers.get("ce_id", "")), (each.topic, each.key)
        version = int(each.headers.get("version") or 0)
        if event not in seen and version < highest.get(key, 0):
            yield f"{each.topic} {each.key}: version {version} came after {highest[key]}"
        seen.add(event)
        highest[key] = max(highest.get(key, 0), version)


# What the databases say.


def audited(arena: Arena) -> Iterator[Check]:
    """Every rule of the auditor over all schemas and the provider's log, with nothing left to wait for."""
    report = audit(
        arena.database_url,
        provider=arena.provider_url,
        provider_key=arena.provider_key,
        bootstrap=arena.mesh.bootstrap,
        grace=timedelta(0),
    )
    for verdict in report.verdicts:
        invariant, _, rule = verdict.rule.partition("_")
        found = [str(finding) for finding in verdict.findings]
        if verdict.missing:
            found.append(f"could not be checked: {verdict.missing}")
        yield Check(invariant, f"{verdict.schema}: {rule.replace('_', ' ')}", 0, found, rule=True)


def replayed(arena: Arena) -> Iterator[Check]:
    """Every row of the order service's projections is what a replay of its stream makes."""
    database = Database(arena.url_of("orders"), "orders", size=2)
    with closing(database):
        read_models = projections(database)
        for name in read_models.names():
            verified = read_models.verify(name)
            found = [f"{name}: the rows of order {each} are not what its events make" for each in verified.examples]
            yield Check("I11", f"The projection {name} is a replay.", verified.streams, found)


def judge(arena: Arena, history: History, people: Sequence[Person], finance: Person) -> list[Check]:
    """Everything that is checked, by invariant."""
    checks = [*_answered(lambda: heard(history, remember(people, finance)))]
    checks += [*_answered(lambda: carried(arena)), *_answered(lambda: replayed(arena)), *audited(arena)]
    return sorted(checks, key=lambda check: (len(check.invariant), check.invariant))


def _answered(doing: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from doing()
    except (Refused, psycopg.Error) as trouble:
        yield Check("I6", "What is asked in the end is answered.", 1, [f"{type(trouble).__name__}: {trouble}"])
